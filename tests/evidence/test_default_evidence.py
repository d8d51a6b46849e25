"""`verify_ledger` holds the ledger against the newest checkpoint of the sinks by itself."""

from __future__ import annotations

import io
import json
import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections

from nucleus_ledger import guards, startup, stepping
from nucleus_ledger.evidence import making
from nucleus_ledger.models import Entry
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.evidence.test_witnesses import honest, url
from tests.tamper import lay_bare, sql

__all__ = ["honest", "url"]  # fixtures


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    for stream in ("payments", "consents"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "payload": {"cents": n}} for n in range(5)
        )
    return site


def run(site: SigningSite, *streams: str, **options: Any) -> tuple[int, dict[str, Any], str]:
    out, code, said = io.StringIO(), 0, ""
    options = {"database": site.alias, "format": "json", "stdout": out, **options}
    try:
        call_command("verify_ledger", *streams, **options)
    except CommandError as exc:
        code, said = exc.returncode, str(exc)
    report = json.loads(out.getvalue()) if out.getvalue() else {}
    assert report.get("exit_code", code) == code
    return code, report, said


def text_of(site: SigningSite, **options: Any) -> str:
    out = io.StringIO()
    call_command("verify_ledger", database=site.alias, stdout=out, **options)
    return out.getvalue()


def rewrite(site: SigningSite) -> None:
    lay_bare(site.alias)
    history = attacker.documents(site.alias, "payments")
    attacker.rewrite(site.alias, "payments", [{**said, "payload": {}} for said in history])


def test_a_rewritten_stream_is_found_without_any_option(site: SigningSite) -> None:
    site.make(init=True)
    code, report, _said = run(site, "consents")
    assert (code, report["assurance"], report["result"]) == (0, "checkpoint", "intact")
    assert "checkpoint 1 of example.com/persistent-ledger" in report["evidence"][0]
    rewrite(site)
    code, report, _said = run(site, chain_only=True)
    assert (code, report["assurance"]) == (0, "chain")
    assert report["evidence"] == ["nothing but the chain itself (--chain-only)"]
    assert "held against nothing but the chain itself" in text_of(site, chain_only=True)
    code, report, _said = run(site)
    assert code == 1
    kinds = {each["kind"] for stream in report["streams"] for each in stream["findings"]}
    assert "checkpoint_mismatch" in kinds


def test_what_it_was_not_held_against_is_said(site: SigningSite) -> None:
    code, report, _said = run(site)
    assert (code, report["evidence"]) == (
        0, ["nothing but the chain itself: the sinks hold no checkpoint"]
    )  # fmt: skip
    site.make(init=True)
    shutil.rmtree(site.log)
    code, report, _said = run(site)
    assert code == 0
    assert (
        "the sinks hold no checkpoint, and the database says that 1 were made"
        in (report["warnings"][0])
    )
    site.configure(CHECKPOINT_SINKS=[], CHECKPOINT_KEY_FILES=[])
    _code, report, _said = run(site)
    assert report["evidence"] == ["nothing but the chain itself: there are no sinks"]


def test_a_sink_that_cannot_be_read_is_exit_2_unless_something_is_found(
    site: SigningSite, caplog: pytest.LogCaptureFixture
) -> None:
    site.make(init=True)
    site.note().write_text("nonsense", "utf-8")
    code, report, said = run(site)
    assert (code, report["result"]) == (2, "unknown")
    assert "no checkpoint could be read" in said
    assert report["evidence"] == ["nothing but the chain itself: no checkpoint could be read"]
    records = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [(each.name, each.levelname) for each in records] == [
        ("nucleus_ledger.evidence", "WARNING")
    ]
    assert "\n" not in records[0].getMessage()
    lay_bare(site.alias)
    sql(
        site.alias,
        "UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE sequence = 1 AND stream_id = "
        "(SELECT id FROM nucleus_ledger_stream WHERE name = 'payments')",
    )
    assert run(site)[0] == 1
    assert run(site, "consents")[0] == 2


@pytest.mark.parametrize("way", ["steps", "startup"])
def test_unreadable_evidence_is_logged_once_by_every_way(
    site: SigningSite, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.make(init=True)
    site.note().write_text("nonsense", "utf-8")
    if way == "steps":
        run_ = stepping.begin(site.alias)
        while not stepping.step(site.alias, run_.pk, 3).finished:
            pass
    else:
        with pytest.raises(OperationalError, match="no checkpoint could be read"):
            startup.check(site.alias)
    levels = [(each.name, each.levelname) for each in caplog.records if each.levelno > logging.INFO]
    assert levels == [("nucleus_ledger.evidence", "WARNING")]


def test_the_least_assurance(site: SigningSite) -> None:
    code, report, said = run(site, min_assurance="checkpoint")
    assert (code, report["result"]) == (2, "intact")
    assert "not met: assurance checkpoint is not reached by stream 'consents' (chain)" in said
    assert report["unmet"][0] in said
    site.make(init=True)
    assert run(site, min_assurance="checkpoint")[0] == 0
    code, _report, said = run(site, min_assurance="witnessed")
    assert (code, "'consents' (checkpoint)" in said) == (2, True)
    Entry.objects.using(site.alias).append("payments", {})
    assert run(site, min_assurance="checkpoint")[0] == 0
    Entry.objects.using(site.alias).append("new", {})
    code, report, _said = run(site, min_assurance="checkpoint")
    assert (code, report["unmet"][0].count("'")) == (2, 2)
    assert "stream 'new' (chain)" in report["unmet"][0]
    assert run(site, "payments", min_assurance="checkpoint")[0] == 0
    code, _report, said = run(site, "payments", min_assurance="checkpoint", incremental=True)
    assert (code, "leave --incremental out" in said) == (2, True)
    lines = text_of(site).splitlines()
    assert not [line for line in lines if line.startswith("not met")]


def test_a_note_whose_signature_nobody_checked_meets_no_demand(site: SigningSite) -> None:
    site.make(init=True)
    kept = [str(site.kept())]
    site.configure(CHECKPOINT_VKEYS=[])
    code, _report, said = run(site, against=kept, min_assurance="checkpoint")
    assert (code, "no vkey was given" in said) == (2, True)
    assert run(site, against=kept)[0] == 0
    vkey = [str(site.vkey)]
    assert run(site, against=kept, vkey=vkey, min_assurance="checkpoint", newer_than="1h")[0] == 0


class AnHourAgo(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(UTC) - timedelta(hours=1)


class InAYear(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(UTC) + timedelta(days=365)


def test_how_old_the_newest_checkpoint_is(
    site: SigningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _report, said = run(site, newer_than="7d")
    assert (code, "the ledger was held against none" in said) == (2, True)
    with monkeypatch.context() as patch:  # the signer's clock, and not that of the verifier
        patch.setattr(making, "datetime", AnHourAgo)
        site.make(init=True)
    assert run(site, newer_than="2h")[0] == 0
    code, report, said = run(site, newer_than="30m")
    assert (code, "longer ago than 0:30:00" in said) == (2, True)
    assert report["result"] == "intact"
    Entry.objects.using(site.alias).append("payments", {})
    site.make()
    assert run(site, newer_than="30m")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(making, "datetime", InAYear)
        Entry.objects.using(site.alias).append("payments", {})
        site.make()
    code, _report, said = run(site, newer_than="30m")
    assert (code, "dated ahead of now" in said) == (2, True)


@pytest.mark.parametrize(
    "options",
    [
        {"newer_than": "soon"},
        {"chain_only": True, "min_assurance": "checkpoint"},
        {"chain_only": True, "newer_than": "1h"},
        {"chain_only": True, "against": ["note"]},
        {"chain_only": True, "vkey": ["key"]},
        {"vkey": ["key"]},
        {"witness_vkey": ["key"]},
    ],
    ids=str,
)
def test_options_that_contradict_each_other(site: SigningSite, options: dict[str, Any]) -> None:
    code, report, said = run(site, **options)
    assert (code, report) == (2, {})
    assert "--" in said


def test_the_witnesses_of_the_settings_count(site: SigningSite, url: str) -> None:
    site.make(init=True, witnesses=[url])
    assert run(site, min_assurance="witnessed")[0] == 0


def test_copies_that_lead_nowhere_are_told_beside_what_the_sink_says(site: SigningSite) -> None:
    site.make(init=True)
    guards.remove(connections[site.alias])
    sql(site.alias, "DELETE FROM nucleus_ledger_recordedhead")
    code, report, _said = run(site, strict_guards=False)
    assert (code, report["assurance"]) == (0, "checkpoint")
    (told,) = [each for each in report["warnings"] if "copies do not lead to" in each]
    assert told.endswith("Read from the sink instead")
