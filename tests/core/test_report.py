from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.registration import Notice
from nucleus_ledger.core.report import (
    Mode,
    Problem,
    Report,
    Result,
    StreamReport,
    notice_lines,
)

FINDING = Finding("hash_mismatch", "proofs", 2, "r2", (), "a" * 64, "b" * 64, "words")
GUARDS = {"ok": True, "version": 1, "missing": [], "disabled": [], "altered": [], "foreign": []}


def make_stream(result: Result = "intact", **changes: Any) -> StreamReport:
    facts: dict[str, Any] = {
        "name": "proofs",
        "length": 3,
        "head_hash": "c" * 64,
        "checked_from": 0,
        "checked_to": 2,
        "entries_checked": 3,
        "result": result,
    }
    if result == "tampered":
        facts |= {"findings": (FINDING,), "findings_total": 1}
    return StreamReport(**facts | changes)


def make_report(*results: Result, **changes: Any) -> Report:
    facts: dict[str, Any] = {
        "mode": "full",
        "database": "default",
        "ledger": "persistent-ledger",
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:06+00:00",
        "streams": [make_stream(result, name=f"s{n}") for n, result in enumerate(results)],
        "guards": GUARDS,
    }
    return Report(**facts | changes)


@pytest.mark.parametrize(
    ("results", "changes", "result", "intact", "code"),
    [
        (["intact"], {}, "intact", True, 0),
        (["intact", "intact"], {}, "intact", True, 0),
        (["intact", "unknown"], {}, "intact", True, 0),  # an empty stream beside a full one
        ([], {}, "unknown", None, 2),
        (["unknown"], {}, "unknown", None, 2),
        (["intact"], {"errors": ["gone"]}, "unknown", None, 2),
        (["intact", "tampered"], {}, "tampered", False, 1),
        (["acknowledged", "tampered"], {}, "tampered", False, 1),
        (["tampered"], {"errors": ["gone"]}, "tampered", False, 1),
        (["tampered"], {"mode": "incremental"}, "tampered", False, 1),
        (["acknowledged"], {}, "acknowledged", False, 1),
        (["intact", "acknowledged"], {}, "acknowledged", False, 1),
        (["acknowledged", "intact_since"], {"mode": "incremental"}, "acknowledged", False, 1),
        (["acknowledged"], {"errors": ["gone"]}, "unknown", None, 2),
        (["intact_since"], {"mode": "incremental"}, "intact_since", None, 0),
    ],
)
def test_the_report_is_as_bad_as_its_worst_stream(
    results: list[Result], changes: dict[str, Any], result: str, intact: bool | None, code: int
) -> None:
    report = make_report(*results, **changes)
    assert (report.result, report.intact, report.exit_code()) == (result, intact, code)


def test_a_report_is_never_better_than_a_stream_of_it() -> None:
    """Every mix of stream results, against the order of badness written out."""
    results: list[Result] = ["intact", "intact_since", "acknowledged", "tampered", "unknown"]
    modes: list[Mode] = ["full", "incremental", "range"]
    for size in (1, 2, 3):
        for mix in itertools.product(results, repeat=size):
            for mode in modes:
                report = make_report(*mix, mode=mode)
                if "tampered" in mix:
                    assert report.result == "tampered"
                elif set(mix) == {"unknown"}:
                    assert report.result == "unknown"
                elif "acknowledged" in mix:
                    assert report.result == "acknowledged"
                else:
                    assert report.result in ("intact", "intact_since")
                assert report.result in get_args(Result)
                if report.intact:
                    assert "intact_since" not in mix, (mix, mode)
                assert (report.exit_code() == 0) == (report.result in ("intact", "intact_since"))


@pytest.mark.parametrize(
    ("result", "intact"),
    [
        ("intact", True),
        ("tampered", False),
        ("acknowledged", False),
        ("intact_since", None),
        ("unknown", None),
    ],
)
def test_a_stream_is_intact_only_when_all_was_read(result: Result, intact: bool | None) -> None:
    assert make_stream(result).intact is intact
    assert make_stream(result).as_dict()["intact"] is intact


STANDING, LOWERED = GUARDS, {**GUARDS, "ok": False, "missing": ["nucleus_ledger_entry_rows_v1"]}
PROBLEM = Problem("no subject").at(module="proof", stream="s0", sequence=1, record_id="r1")


@pytest.mark.parametrize(
    ("result", "changes", "options", "code"),
    [
        ("acknowledged", {}, {"accept_acknowledged": True}, 0),
        ("tampered", {}, {"accept_acknowledged": True}, 1),
        ("intact", {"guards": LOWERED}, {}, 0),
        ("intact", {"guards": LOWERED}, {"strict_guards": True}, 3),
        ("intact", {"guards": STANDING}, {"strict_guards": True}, 0),
        ("intact", {"guards": {}}, {"strict_guards": True}, 3),
        ("intact", {"validated": True, "problems": [PROBLEM]}, {}, 0),
        ("intact", {"validated": True, "problems": [PROBLEM]}, {"strict_validate": True}, 3),
        ("intact", {"validated": True}, {"strict_validate": True}, 0),
        ("intact", {"validated": False}, {"strict_validate": True}, 3),
        ("tampered", {"guards": LOWERED}, {"strict_guards": True}, 1),
        ("unknown", {"guards": LOWERED}, {"strict_guards": True}, 2),
        ("acknowledged", {"guards": LOWERED}, {"strict_guards": True}, 1),
        (
            "acknowledged",
            {"guards": LOWERED},
            {"strict_guards": True, "accept_acknowledged": True},
            3,
        ),
    ],
)
def test_exit_codes(
    result: Result, changes: dict[str, Any], options: dict[str, bool], code: int
) -> None:
    assert make_report(result, **changes).exit_code(**options) == code


NOTICE = Notice("s0", 3, 2, 90_000, 1_795_478_400_000)


@pytest.mark.parametrize(
    ("result", "changes", "code"),
    [
        ("intact", {"times_from": 0}, 0),
        ("intact", {"times_from": 0, "notices": (NOTICE,), "late_entries": 2}, 3),
        ("intact", {"times_from": None}, 3),  # no checkpoint tells
        ("intact", {"times_from": 1}, 3),  # the newest manifest alone tells of what is after it
        ("intact", {"times_from": 1, "checked_from": 1}, 0),
        ("intact", {"times_from": None, "checked_from": None}, 0),
        ("unknown", {"times_from": None}, 2),
        ("tampered", {"times_from": 0, "notices": (NOTICE,), "late_entries": 2}, 1),
    ],
)
def test_late_entries_change_an_exit_code_only_when_asked(
    result: Result, changes: dict[str, Any], code: int
) -> None:
    report = make_report(result)
    streams = [replace(each, **changes) for each in report.streams]
    report = replace(report, streams=streams)
    assert report.exit_code() == (0 if code == 3 else code)
    assert report.exit_code(strict_times=True) == code
    assert report.result == result
    document = report.as_dict(code)
    assert document["late_entries"] == changes.get("late_entries", 0)
    assert document["notices"] == [each.as_dict() for each in changes.get("notices", ())]


def test_notices_as_lines() -> None:
    streams = [
        replace(each, notices=(NOTICE,), late_entries=7) for each in make_report("intact").streams
    ]
    report = replace(make_report("intact"), streams=streams)
    assert list(notice_lines(report)) == [
        f"notice: registered_late in s0: {NOTICE.message}",
        "notice: … and 5 more entries registered_late that are counted and not kept",
    ]


def test_problems_never_make_a_chain_tampered() -> None:
    report = make_report("intact", validated=True, problems=[PROBLEM])
    assert (report.result, report.intact, report.findings) == ("intact", True, [])


def test_the_json_form() -> None:
    report = make_report(
        "intact",
        "tampered",
        deep=True,
        validated=True,
        warnings=["guards: missing"],
        problems=[PROBLEM],
        verification=7,
    )
    document = report.as_dict(1)
    assert json.loads(json.dumps(document)) == document
    streams = document.pop("streams")
    assert document == {
        "schema": "nucleus-ledger/report/v1",
        "result": "tampered",
        "intact": False,
        "exit_code": 1,
        "mode": "full",
        "deep": True,
        "validated": True,
        "assurance": "chain",
        "database": "default",
        "ledger": "persistent-ledger",
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:06+00:00",
        "entries": 6,
        "guards": GUARDS,
        "warnings": ["guards: missing"],
        "errors": [],
        "evidence": [],
        "unmet": [],
        "problems": [
            {
                "module": "proof",
                "stream": "s0",
                "sequence": 1,
                "record_id": "r1",
                "message": "no subject",
            }
        ],
        "notices": [],
        "late_entries": 0,
        "times_judged": False,
        "findings_total": 1,
        "findings_truncated": False,
        "verification": 7,
    }
    assert streams[1] == {
        "name": "s1",
        "intact": False,
        "length": 3,
        "checked_from": 0,
        "checked_to": 2,
        "entries_checked": 3,
        "head_hash": "c" * 64,
        "assurance": "chain",
        "assured_through": 2,
        "based_on": None,
        "times_judged_from": None,
        "late_entries": 0,
        "findings": [FINDING.as_dict()],
    }


def test_a_cut_list_of_findings_says_so() -> None:
    whole = make_stream("tampered", findings=(FINDING,) * 3, findings_total=3)
    cut = make_stream("tampered", findings=(FINDING,) * 3, findings_total=5000)
    assert make_report(streams=[whole]).as_dict(1)["findings_truncated"] is False
    document = make_report(streams=[whole, cut]).as_dict(1)
    assert document["findings_truncated"] is True
    assert document["findings_total"] == 5003
    assert len(make_report(streams=[whole, cut]).findings) == 6


def test_fields_stand_only_where_the_kind_has_them() -> None:
    mismatch = Finding("field_mismatch", "s", 1, "r", ("meta", "payload"), {}, {}, "words")
    assert mismatch.as_dict()["fields"] == ["meta", "payload"]
    assert "fields" not in FINDING.as_dict()
