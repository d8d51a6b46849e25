"""The newest checkpoint in startup, in the admin's steps, and in its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from nucleus_ledger import startup, stepping
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.evidence import against
from nucleus_ledger.models import Checkpoint, Entry, RecordedHead, StreamStatus, Verification
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.tamper import lay_bare, sql


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    for stream in ("payments", "consents"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "payload": {"cents": n}} for n in range(30)
        )
    site.make(init=True)
    return site


def drive(site: SigningSite, entries: int = 7, mode: Any = "full") -> Verification:
    run = stepping.begin(site.alias, mode=mode)
    for _ in range(200):
        progress = stepping.step(site.alias, run.pk, entries)
        if progress.finished:
            return progress.run
    raise AssertionError("it does not end")


def rewrite(site: SigningSite) -> None:
    lay_bare(site.alias)
    history = attacker.documents(site.alias, "payments")
    history[20]["payload"] = {"cents": 1_000_000}
    attacker.rewrite(site.alias, "payments", history)


def test_steps_hold_the_ledger_against_the_newest_checkpoint(site: SigningSite) -> None:
    run = drive(site)
    assert (run.result, run.assurance) == ("intact", "checkpoint")
    statuses = StreamStatus.objects.using(site.alias).filter(stream__name="payments")
    assert statuses.values_list("assurance", "assured").get() == ("checkpoint", 30)
    rewrite(site)
    run = drive(site)
    assert run.result == "tampered"
    assert {f.kind for f in run.findings.all()} == {"head_mismatch", "checkpoint_mismatch"}


def test_a_checkpoint_made_between_two_steps_changes_nothing(site: SigningSite) -> None:
    run = stepping.begin(site.alias)
    stepping.step(site.alias, run.pk, 7)
    Entry.objects.using(site.alias).append("payments", {})
    site.make()
    while not (progress := stepping.step(site.alias, run.pk, 7)).finished:
        pass
    assert (progress.run.result, progress.run.assurance) == ("intact", "checkpoint")


def test_a_deleted_stream_is_missed_at_the_end_of_the_steps(site: SigningSite) -> None:
    lay_bare(site.alias)
    attacker.delete(site.alias, "consents")
    run = drive(site)
    assert run.result == "tampered"
    assert [(f.kind, f.stream) for f in run.findings.all()] == [("checkpoint_mismatch", "consents")]


def test_copies_that_do_not_lead_to_the_checkpoint_are_never_green(site: SigningSite) -> None:
    RecordedHead.objects.using(site.alias).filter(stream="payments").update(text="{}")
    run = drive(site)
    assert run.result == "unknown"
    assert "do not lead to checkpoint 1" in run.warnings[-1]


def test_startup_finds_a_rewritten_suffix(site: SigningSite) -> None:
    startup.check(site.alias)
    assert Verification.objects.using(site.alias).latest("pk").assurance == "checkpoint"
    rewrite(site)
    site.settings.NUCLEUS_LEDGER["STARTUP_MAX_AGE"] = 0.001
    with pytest.raises(IntegrityFailed, match="'payments' at sequence 29"):
        startup.check(site.alias)


def test_startup_from_copies_that_were_emptied_reads_the_sink(site: SigningSite) -> None:
    sql(site.alias, "DELETE FROM nucleus_ledger_recordedhead")
    evidence = against.newest(site.alias)
    assert evidence is not None
    assert evidence.errors == []
    assert evidence.names() == {"payments", "consents", "nucleus.keys"}
    rewrite(site)
    with pytest.raises(IntegrityFailed, match="checkpoint_mismatch"):
        startup.check(site.alias)


def test_startup_without_a_sink_in_reach_is_not_told(site: SigningSite) -> None:
    site.note().write_text("nonsense", "utf-8")
    evidence = against.newest(site.alias)
    assert evidence is not None
    assert "no checkpoint could be read" in evidence.errors[0]


@pytest.mark.parametrize(
    "wrong", [{"CHECKPOINT_SINKS": ["storage:nowhere"]}, {"CHECKPOINT_ORIGIN": "another"}], ids=str
)
def test_settings_that_cannot_be_used_are_told_and_nothing_is_green(
    site: SigningSite, wrong: dict[str, Any]
) -> None:
    site.configure(**wrong)
    run = drive(site)
    assert run.result == "unknown"
    assert "no checkpoint could be read" in run.warnings[-1]


def test_nothing_is_held_against_nothing(ledger_db: str) -> None:
    assert against.newest(ledger_db) is None


@pytest.mark.parametrize("field", ["manifest", "note", "undelivered"])
def test_the_pages_show_checkpoints_whatever_stands_in_the_table(
    site: SigningSite, client: Client, field: str
) -> None:
    if site.alias != "default":
        site.settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    drive(site)
    client.force_login(User.objects.create_superuser("boss"))
    address = "/admin/nucleus_ledger/checkpoint/"
    assert b"to all sinks" in client.get(address).content
    stream = StreamStatus.objects.using(site.alias).get(stream__name="payments").stream_id
    page = client.get(f"/admin/nucleus_ledger/stream/{stream}/change/").content
    assert b"The first 30 entries were held against a signed checkpoint" in page
    Checkpoint.objects.using(site.alias).update(
        **{field: {"x": 1} if field == "undelivered" else "<b>\u202e"}
    )
    for path in (address, f"{address}0/change/"):
        response = client.get(path)
        assert response.status_code == 200
        assert b"<b>" not in response.content.replace(b"<br>", b"")
