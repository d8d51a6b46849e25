"""A break that a checkpoint found is lifted by as much evidence, and by nothing less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from nucleus_ledger import guards, incidents, startup, stepping, stored_breaks, verification
from nucleus_ledger.conf import INCIDENTS
from nucleus_ledger.core.report import Report
from nucleus_ledger.errors import IntegrityFailed, LedgerError
from nucleus_ledger.evidence import against
from nucleus_ledger.models import Checkpoint, Entry, StreamStatus, Verification
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.tamper import sql


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    """A ledger with two checkpoints, of which payments has a state in each."""
    site = SigningSite.build(ledger_db, tmp_path, settings)
    for init in (True, False):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": "payments", "payload": {"cents": n}} for n in range(10)
        )
        site.make(init=init)
    return site


def verify(site: SigningSite, *paths: Path, **options: Any) -> Report:
    evidence = None
    if paths:
        evidence = against.load(site.alias, list(map(str, paths)), [site.vkey], [])
    return verification.verify(site.alias, evidence=evidence, **options)


def status(site: SigningSite) -> StreamStatus:
    return StreamStatus.objects.using(site.alias).get(stream__name="payments")


def append(site: SigningSite) -> Entry:
    return Entry.objects.using(site.alias).append("payments", {})


def rewrite(site: SigningSite) -> list[attacker.Document]:
    """Rewrite the stream so that the chain alone does not show it; return the true history."""
    guards.remove(connections[site.alias])
    sql(site.alias, "DELETE FROM nucleus_ledger_streamstatus")
    true = attacker.documents(site.alias, "payments")
    forged = [dict(each) for each in true]
    forged[5]["payload"] = {"cents": 1_000_000}
    attacker.rewrite(site.alias, "payments", forged)
    return true


def steps(site: SigningSite, **options: Any) -> Verification:
    run = stepping.begin(site.alias, **options)
    for _ in range(200):
        progress = stepping.step(site.alias, run.pk, 7)
        if progress.finished:
            return progress.run
    raise AssertionError("it does not end")


def test_a_plain_run_does_not_lift_what_a_checkpoint_found(site: SigningSite) -> None:
    assert verify(site).result == "intact"
    rewrite(site)
    found = verify(site, site.note())
    assert [f.kind for f in found.findings] == ["checkpoint_mismatch"]
    said = site.said()
    assert (status(site).evidence_size, status(site).evidence_root) == (said.size, said.root.hex())
    for options in ({}, {"mode": "incremental"}, {"store": False}, {"workers": 1}):
        plain = verify(site, **options)
        assert (plain.result, plain.exit_code()) == ("tampered", 1), options
        assert [f.kind for f in plain.findings] == ["checkpoint_mismatch"]
        assert any(
            f"verification {found.verification} found it broken" in warning
            for warning in plain.warnings
        )
        assert status(site).run == found.verification
    assert any(
        f"checkpoint {said.size} (root {said.root.hex()})" in w for w in verify(site).warnings
    )
    with pytest.raises(IntegrityFailed, match="payments"):
        append(site)
    with pytest.raises(LedgerError):
        site.make()


def test_the_command_says_so_with_exit_1(site: SigningSite, capsys: Any) -> None:
    rewrite(site)
    verify(site, site.note())
    for options in ({}, {"incremental": True}):
        with pytest.raises(CommandError) as ended:
            call_command("verify_ledger", database=site.alias, **options)
        assert ended.value.returncode == 1
    assert "checkpoint_mismatch" in capsys.readouterr().out


def test_steps_and_startup_do_not_lift_it_either(site: SigningSite) -> None:
    rewrite(site)
    verify(site, site.note())
    site.configure(CHECKPOINT_SINKS=[])
    run = steps(site)
    assert run.result == "tampered"
    assert [f.kind for f in stored_breaks.stored_findings(site.alias, run.pk)] == [
        "checkpoint_mismatch"
    ]
    assert status(site).result == "tampered"
    with pytest.raises(IntegrityFailed, match="checkpoint_mismatch"):
        startup.check(site.alias)


@pytest.mark.parametrize("how", ["note", "folder", "sink", "steps"])
def test_restored_rows_and_the_same_evidence_lift_it(site: SigningSite, how: str) -> None:
    true = rewrite(site)
    verify(site, site.note())
    attacker.rewrite(site.alias, "payments", true)
    assert verify(site).result == "tampered"  # true again, and nobody knows
    if how == "steps":
        assert steps(site).result == "intact"
    else:
        where = {"note": [site.note()], "folder": [site.log], "sink": []}[how]
        evidence = against.newest(site.alias) if how == "sink" else None
        report = (
            verification.verify(site.alias, evidence=evidence) if evidence else verify(site, *where)
        )
        assert report.result == "intact"
    assert status(site).result == "intact"
    append(site)


def test_an_older_checkpoint_does_not_lift_it_and_a_newer_one_does(site: SigningSite) -> None:
    true = rewrite(site)
    verify(site, site.note(2))
    attacker.rewrite(site.alias, "payments", true)
    report = verify(site, site.note(1))
    assert report.result == "tampered"
    assert status(site).evidence_size == 2
    assert verify(site, site.note(2)).result == "intact"
    assert (status(site).result, status(site).evidence_size) == ("intact", None)


@pytest.mark.parametrize("how", ["note", "sink"])
def test_a_newer_checkpoint_covers_an_older_ones_root(site: SigningSite, how: str) -> None:
    """Of an older size the root must be in the log of the newer one."""
    true = rewrite(site)
    verify(site, site.note(1))
    assert status(site).evidence_size == 1
    attacker.rewrite(site.alias, "payments", true)
    sql(
        site.alias,
        "UPDATE nucleus_ledger_checkpoint SET manifest = %s WHERE number = 0",
        ["{}"],
    )
    if how == "sink":  # copies that do not lead there prove nothing
        assert verification.verify(site.alias, evidence=against.newest(site.alias)).result == (
            "tampered"
        )
        site_sink = against.load(site.alias, [str(site.log)], [site.vkey], [])
        assert verification.verify(site.alias, evidence=site_sink).result == "intact"
    else:
        assert verify(site, site.note(2)).result == "tampered"
        assert verify(site, site.log).result == "intact"


@pytest.mark.parametrize("found_by", ["note", "sink", "nothing"])
def test_it_can_be_put_on_record_whatever_evidence_is_at_hand(
    site: SigningSite, found_by: str
) -> None:
    rewrite(site)
    verify(site, site.note())
    if found_by == "nothing":  # the note is lost, or with the auditor
        site.configure(CHECKPOINT_SINKS=[])
    note = [str(site.note())] if found_by == "note" else []
    call_command(
        "acknowledge_findings", "payments", reason="known", against=note, database=site.alias
    )
    assert Entry.objects.using(site.alias).filter(stream__name=INCIDENTS).count() == 1
    assert status(site).result == "acknowledged"
    append(site)
    for _ in range(2):
        plain = verify(site)
        assert (plain.result, plain.exit_code()) == ("acknowledged", 1)
        append(site)
    again = verify(site, site.note())
    if found_by == "note":
        assert again.result == "acknowledged"
    else:  # the older state that this log records too was not looked at then
        assert again.result == "tampered"
        site.configure(CHECKPOINT_SINKS=["storage:evidence"])
        kept = against.load(site.alias, [str(site.note())], [site.vkey], [])
        incidents.acknowledge(site.alias, "payments", reason="with the note", evidence=kept)
    assert verify(site, site.log).result == "acknowledged"
    assert verify(site, site.note()).result == "acknowledged"
    site.make(accept_restore="on record")
    append(site)
    assert verify(site, site.note()).result == "intact"
    assert status(site).result == "intact"


def test_what_an_earlier_run_saw_is_evidence_too(ledger_db: str) -> None:
    """It found the rewriting once, and the second run forgot it."""
    for n in range(6):
        Entry.objects.using(ledger_db).append("s", {"n": n})
    assert verification.verify(ledger_db).result == "intact"
    guards.remove(connections[ledger_db])
    true = attacker.documents(ledger_db, "s")
    forged = [dict(each) for each in true]
    forged[2]["payload"] = {"n": 1000}
    attacker.rewrite(ledger_db, "s", forged)
    for _ in range(3):
        report = verification.verify(ledger_db)
        assert [(f.kind, f.sequence) for f in report.findings] == [("head_mismatch", 5)]
    incidents.acknowledge(ledger_db, "s", reason="known")
    for _ in range(2):
        assert verification.verify(ledger_db).result == "acknowledged"
    attacker.rewrite(ledger_db, "s", true)
    assert verification.verify(ledger_db).result == "tampered"  # not what is on record


@pytest.mark.parametrize("left", [3, 0])
def test_a_stream_that_was_cut_to_what_is_whole_stays_broken(ledger_db: str, left: int) -> None:
    for n in range(6):
        Entry.objects.using(ledger_db).append("s", {"n": n})
    guards.remove(connections[ledger_db])
    true = attacker.documents(ledger_db, "s")
    sql(ledger_db, "UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE sequence = 4")
    assert verification.verify(ledger_db).result == "tampered"
    attacker.rewrite(ledger_db, "s", true[:left])
    report = verification.verify(ledger_db)
    assert report.result == "tampered"
    assert [f.kind for f in report.findings] == ["field_mismatch"]
    attacker.rewrite(ledger_db, "s", true)
    assert verification.verify(ledger_db).result == "intact"


@pytest.mark.parametrize("how", ["run", "steps"])
def test_a_deleted_stream_is_not_forgotten_by_a_plain_run(site: SigningSite, how: str) -> None:
    """Nothing is stored beside a stream that is gone: the run that missed it says so."""
    guards.remove(connections[site.alias])
    true = attacker.documents(site.alias, "payments")
    attacker.delete(site.alias, "payments")
    found = verify(site, site.note())
    assert [(f.kind, f.stream) for f in found.findings] == [("checkpoint_mismatch", "payments")]
    site.configure(CHECKPOINT_SINKS=[])
    for _ in range(2):
        if how == "steps":
            run = steps(site)
            assert (run.result, run.findings_total) == ("tampered", 1)
            said = run.warnings
            assert any("--accept-restore" in each for each in said)
            assert not any("acknowledge_findings" in each for each in said)
        else:
            for mode in ("full", "incremental"):
                plain = verify(site, mode=mode)
                assert (plain.result, plain.exit_code()) == ("tampered", 1), mode
                assert [f.stream for f in plain.findings] == ["payments"]
                said = list(plain.warnings)
        assert any(f"verification {found.verification} found it broken" in each for each in said)
    assert verify(site, streams=["nucleus.keys"]).result == "intact"  # not asked about
    assert verify(site, site.note(1)).result == "tampered"
    attacker.rewrite(site.alias, "payments", true)
    assert verify(site).result == "tampered"
    assert verify(site, site.note()).result == "intact"
    assert verify(site).result == "intact"


def test_a_fork_of_the_log_is_not_forgotten_either(site: SigningSite, tmp_path: Path) -> None:
    verify(site)
    manifest = "UPDATE nucleus_ledger_checkpoint SET manifest = replace(manifest, %s, %s)"
    made = Checkpoint.objects.using(site.alias).get(number=1).manifest
    stamp = json.loads(made)["created_at"]
    other = str(int(stamp[:4]) + 1) + stamp[4:]
    sql(site.alias, f"{manifest} WHERE number = 1", [stamp, other])
    found = verify(site, site.kept())
    assert [f.stream for f in found.findings] == ["nucleus.checkpoints"]
    site.configure(CHECKPOINT_SINKS=[])
    assert verify(site).result == "tampered"
    sql(site.alias, f"{manifest} WHERE number = 1", [other, stamp])
    assert verify(site).result == "tampered"
    assert verify(site, site.kept()).result == "intact"
    assert verify(site).result == "intact"


def lose_payments(site: SigningSite) -> None:
    """Put a backup of before the stream back; that is found, accepted and verified."""
    guards.remove(connections[site.alias])
    attacker.delete(site.alias, "payments")
    assert verification.verify(site.alias, evidence=against.newest(site.alias)).exit_code() == 1
    with pytest.raises(IntegrityFailed, match="checkpoint_ledger --accept-restore"):
        startup.check(site.alias)
    site.make(accept_restore="backup of 2 May")
    if connections[site.alias].vendor == "postgresql":
        sql(site.alias, "SET CONSTRAINTS ALL IMMEDIATE")
    guards.install(connections[site.alias])


@pytest.mark.parametrize("how", ["run", "steps"])
def test_a_stream_that_was_lost_begins_again(site: SigningSite, how: str) -> None:
    lose_payments(site)
    if how == "steps":
        assert steps(site).result == "intact"
    else:
        report = verification.verify(site.alias, evidence=against.newest(site.alias))
        assert report.result == "intact"
    append(site)
    assert stored_breaks.known_breaks(site.alias) == []
    startup.check(site.alias)
    site.make()
    append(site)
    assert verify(site, mode="incremental").exit_code() == 0
    assert verify(site).result == "intact"


def test_a_stream_that_was_lost_stops_no_start_under_another_key(site: SigningSite) -> None:
    """Which runs lifted the break is not known any more, but the checkpoint still says why."""
    lose_payments(site)
    assert verification.verify(site.alias, evidence=against.newest(site.alias)).exit_code() == 0
    site.settings.SECRET_KEY = "another key, without a fallback"
    newest = against.newest(site.alias)
    assert verification.verify(site.alias, evidence=newest, mode="incremental").exit_code() == 0
    startup.check(site.alias)
    assert verify(site, mode="incremental").exit_code() == 1  # nothing is known of it without one


def test_a_run_that_stopped_early_lifts_nothing(site: SigningSite) -> None:
    Entry.objects.using(site.alias).append("a", {"n": 1})
    rewrite(site)
    assert verify(site, site.note()).exit_code() == 1
    sql(site.alias, "DELETE FROM nucleus_ledger_streamstatus")
    sql(
        site.alias,
        "UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE stream_id ="
        " (SELECT id FROM nucleus_ledger_stream WHERE name = 'a')",
    )
    found = verify(site, site.note(), fail_fast=True)
    assert [each.stream for each in found.findings] == ["a"]
    assert "payments" in {each.stream for each in stored_breaks.known_breaks(site.alias)}
