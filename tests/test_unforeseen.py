"""Tampered rows never stop a verification: what cannot be read is an error beside the findings."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections

from nucleus_ledger import acknowledgements, appending, incidents, rowsource, stepping, workers
from nucleus_ledger.checking import Plan, check_stream
from nucleus_ledger.core import hashing
from nucleus_ledger.core.record import Record
from nucleus_ledger.errors import InvalidData
from nucleus_ledger.models import Entry
from nucleus_ledger.modules import Module
from nucleus_ledger.workers import ranges
from tests import walkers
from tests.tamper import edit_payload, lay_bare, sql

ENTRY = "UPDATE nucleus_ledger_entry SET"
DEEP = "[" * 980 + "]" * 980


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Forty entries in each of two streams, and one in the record of incidents."""
    for stream in ("broken", "other"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "record_id": f"r{n}", "payload": {"n": n}} for n in range(40)
        )
    return ledger_db


def kinds(alias: str) -> list[tuple[str, str, Any]]:
    found = walkers.check_all_alike(alias, sizes=(7, 30))
    return [(f.kind, f.stream, f.sequence) for f in found]


def exit_code(alias: str, tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command as a shell does."""
    file = tmp_path / "report.json"
    code = 0
    try:
        call_command("verify_ledger", "--format", "json", "--output", str(file), "--database",
                     alias, *options)  # fmt: skip
    except SystemExit as exc:
        code = int(exc.code or 0)
    except Exception as exc:  # a CommandError has the code that the shell gets
        code = int(getattr(exc, "returncode", 2))
    return code, json.loads(file.read_text("utf-8"))


@pytest.mark.parametrize("payload", [DEEP, f'{{"a":{DEEP}}}', '{"a":' * 980 + "1" + "}" * 980])
@pytest.mark.parametrize("where", ["column", "text"])
def test_deep_documents(ledger: str, where: str, payload: str) -> None:
    lay_bare(ledger)
    cast = "::jsonb" if ledger == "postgres" else ""
    at = "record_id = 'r20' AND stream_id = (SELECT MIN(stream_id) FROM nucleus_ledger_entry)"
    if where == "column":
        sql(ledger, f"{ENTRY} payload = %s{cast} WHERE {at}", [payload])
        assert kinds(ledger) == [("field_mismatch", "broken", 20)]
        return
    old = Entry.objects.using(ledger).get(stream__name="broken", sequence=20).serialized
    text = old.replace('{"n":20}', payload)
    digest = bytes.fromhex(hashing.hash_text(text))
    sql(ledger, f"{ENTRY} payload = %s{cast}, serialized = %s, hash = %s WHERE {at}",
        [payload, text, digest])  # fmt: skip
    found = kinds(ledger)
    assert ("link_broken", "broken", 21) in found
    assert {stream for _kind, stream, _sequence in found} == {"broken"}


UNSTORED = {
    "default": {
        "no key left": "UPDATE sqlite_sequence SET seq = 9223372036854775807 "
        "WHERE name = 'nucleus_ledger_verification'",
        "refused": "CREATE TRIGGER t BEFORE INSERT ON nucleus_ledger_verification "
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
        "ignored": "CREATE TRIGGER t BEFORE INSERT ON nucleus_ledger_verification "
        "BEGIN SELECT RAISE(IGNORE); END",
    },
    "postgres": {
        # A position of a sequence is not rolled back: one of its own, in this transaction.
        "no key left": "ALTER SEQUENCE nucleus_ledger_verification_id_seq "
        "MAXVALUE 2 START 1 RESTART 2",
        "refused": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no'; END $$",
        "ignored": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$",
    },
}


@pytest.mark.parametrize("how", UNSTORED["default"])
def test_a_run_that_cannot_be_stored_is_made_all_the_same(
    ledger: str, how: str, tmp_path: Path
) -> None:
    exit_code(ledger, tmp_path)
    sql(ledger, UNSTORED[ledger][how])
    if ledger == "postgres" and how != "no key left":
        sql(ledger, "CREATE TRIGGER t BEFORE INSERT ON nucleus_ledger_verification "
            "FOR EACH ROW EXECUTE FUNCTION f()")  # fmt: skip
    elif ledger == "postgres":
        sql(ledger, "SELECT nextval('nucleus_ledger_verification_id_seq')")
    code, report = exit_code(ledger, tmp_path)
    assert (code, report["result"]) == (2, "unknown")
    assert "could not be stored" in report["errors"][0]
    edit_payload(ledger, "r20")
    code, report = exit_code(ledger, tmp_path)
    assert (code, report["result"]) == (1, "tampered")
    with pytest.raises((InvalidData, DatabaseError)):  # which the page shows; it waited for ever
        stepping.begin(ledger)


GOOD = {
    "type": acknowledgements.TYPE,
    "stream": "broken",
    "ledger": "persistent-ledger",
    "length": 40,
    "head_hash": "ab" * 32,
    "head_timestamp": 5,
    "beyond": False,
    "digest": "cd" * 32,
}
WRONG: list[tuple[str, Any]] = [
    ("stream", 5), ("stream", ["broken"]), ("stream", {}), ("stream", None),
    ("ledger", 5), ("ledger", {}),
    ("length", "x"), ("length", None), ("length", 1.5), ("length", -1), ("length", []),
    ("length", 2**53 - 1),
    ("head_hash", 5), ("head_hash", {}), ("head_hash", "x"),
    ("head_timestamp", "x"), ("head_timestamp", {}), ("head_timestamp", 1.5),
    ("beyond", "x"), ("beyond", None), ("digest", 5), ("digest", None), ("digest", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_acknowledgements_of_other_types(ledger: str, name: str, value: Any) -> None:
    appending.append_records(
        [Record("nucleus.incidents", GOOD | {name: value})], using=ledger, reserved=True
    )
    lay_bare(ledger)
    sql(ledger, f"{ENTRY} record_id = 'x' WHERE record_id = 'r20'")
    found = [(kind, stream, n) for kind, stream, n in kinds(ledger) if kind != "head_mismatch"]
    assert found == [("field_mismatch", "broken", 20), ("field_mismatch", "other", 20)]


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize(
    "payload", ["'no JSON'", "x'ff00'", "CAST(x'7b22ff' AS TEXT)", "NULL", "5", "'[]'", f"'{DEEP}'"]
)
def test_the_record_of_incidents_is_no_json(ledger: str, payload: str) -> None:
    appending.append_records([Record("nucleus.incidents", GOOD)], using=ledger, reserved=True)
    lay_bare(ledger)
    sql(ledger, f"{ENTRY} payload = {payload} WHERE serialized LIKE '%nucleus.incidents%'")
    sql(ledger, f"{ENTRY} record_id = 'x' WHERE record_id = 'r20'")
    found = [each for each in kinds(ledger) if each[0] != "head_mismatch"]
    assert found == [
        ("field_mismatch", "broken", 20),
        ("field_mismatch", "nucleus.incidents", 0),
        ("field_mismatch", "other", 20),
    ]


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize("text", ["'no JSON'", "x'ff00'", "CAST(x'7b22ff' AS TEXT)"])
def test_the_texts_of_incidents_cannot_be_read(ledger: str, text: str) -> None:
    appending.append_records([Record("nucleus.incidents", GOOD)], using=ledger, reserved=True)
    lay_bare(ledger)
    sql(ledger, f"{ENTRY} serialized = {text} WHERE serialized LIKE '%nucleus.incidents%'")
    assert kinds(ledger) == [("hash_mismatch", "nucleus.incidents", 0)]


def test_an_acknowledgement_counts_by_its_text(ledger: str) -> None:
    """Its column is for queries; what the hash covers is the text."""
    edit_payload(ledger, "r20")
    incidents.acknowledge(ledger, "broken", reason="known")
    assert Entry.objects.using(ledger).verify_integrity("broken").result == "acknowledged"
    lay_bare(ledger)
    sql(ledger, f"{ENTRY} payload = NULL WHERE serialized LIKE '%nucleus.incidents%'")
    assert Entry.objects.using(ledger).verify_integrity("broken").result == "acknowledged"
    (finding,) = Entry.objects.using(ledger).verify_integrity("nucleus.incidents").findings
    assert (finding.kind, finding.fields) == ("field_mismatch", ("payload",))


class Stumbling(Module):
    """Stands for any fault of ours that a row can bring out: its own are not caught before."""

    id = "stumbling"
    version = "1"
    streams = ("broken",)

    def validate(self, entry: Entry) -> list[Any]:
        if entry.record_id == "r20":
            raise ZeroDivisionError("nobody thought of this")
        return []


@pytest.fixture
def stumbling(ledger: str, settings: Any) -> str:
    settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, "MODULES": [Stumbling]}
    return ledger


def edit(alias: str, stream: str, record: str) -> None:
    key = Entry.objects.using(alias).filter(stream__name=stream)[0].stream_id
    sql(alias, f"{ENTRY} prev_hash = hash WHERE record_id = %s AND stream_id = %s", [record, key])


LOGGER = "nucleus_ledger.verification"


def test_what_is_unforeseen_is_an_error_beside_the_findings_of_the_rest(
    stumbling: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code, report = exit_code(stumbling, tmp_path, "--validate")
    assert (code, report["result"], report["intact"]) == (2, "unknown", None)
    (error,) = report["errors"]
    assert error == (
        "stream 'broken': not checked beyond 16 entries: ZeroDivisionError: nobody thought of this"
    )
    results = {stream["name"]: stream["intact"] for stream in report["streams"]}
    assert results == {"broken": None, "other": True}
    (record,) = [r for r in caplog.records if r.name == LOGGER and r.levelno == logging.ERROR]
    assert record.exc_info is not None
    lay_bare(stumbling)
    edit(stumbling, "other", "r30")
    code, report = exit_code(stumbling, tmp_path, "--validate")
    assert (code, report["result"], report["findings_total"]) == (1, "tampered", 1)
    assert len(report["errors"]) == 1


def test_findings_before_what_is_unforeseen_are_told(stumbling: str, tmp_path: Path) -> None:
    lay_bare(stumbling)
    edit(stumbling, "broken", "r5")
    code, report = exit_code(stumbling, tmp_path, "--validate")
    assert (code, report["findings_total"], len(report["errors"])) == (1, 1, 1)


def test_a_range_that_cannot_be_read_is_an_error_too(
    stumbling: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = replace(walkers.OPTIONS, validate=True)
    for stored in rowsource.read_heads(connections[stumbling]):
        plan = Plan(stored.id, stored.head)
        parts = ranges(plan, 7)
        pieces: list[Any] = [workers._check(stumbling, plan, options, part)[0] for part in parts]
        report, _problems = check_stream(stumbling, plan, options, pieces=pieces)
        if stored.head.stream == "broken":
            assert (report.result, report.intact) == ("unknown", None)
            assert "not checked beyond 14 entries" in report.error
        else:
            assert (report.result, report.error) == ("intact", "")


def test_in_steps_too(stumbling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "options", lambda _using: replace(walkers.OPTIONS, validate=True))
    run = stepping.begin(stumbling)
    for _ in range(100):
        if stepping.step(stumbling, run.pk).finished:
            break
    run.refresh_from_db(using=stumbling)
    assert run.result == "unknown"
    assert any("nobody thought of this" in warning for warning in run.warnings)
