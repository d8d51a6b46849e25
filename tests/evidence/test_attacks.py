"""Attacks of somebody who can write the whole database and leaves a chain that is whole: each is
intact without a checkpoint, and found with nothing but the newest note in hand. A false date is no
tampering; when the entry was registered is known all the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nucleus_ledger.core.manifest import parse_manifest
from nucleus_ledger.errors import CheckpointRefused, IntegrityFailed
from nucleus_ledger.evidence import sinks
from nucleus_ledger.models import Entry
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.tamper import lay_bare, sql


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    """Two streams under two checkpoints, one of them grown since, with every guard gone."""
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(ledger_db, "payments", 0, 7)
    append(ledger_db, "consents", 0, 3)
    site.make(init=True)
    append(ledger_db, "payments", 7, 12)
    site.make()
    append(ledger_db, "payments", 12, 14)
    lay_bare(ledger_db)
    site.kept()
    return site


def append(alias: str, stream: str, low: int, high: int) -> None:
    Entry.objects.using(alias).append_batch(
        {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"cents": n}}
        for n in range(low, high)
    )


def edit(history: list[attacker.Document], sequence: int) -> list[attacker.Document]:
    history[sequence] = {**history[sequence], "payload": {"cents": 1_000_000}}
    return history


def rewrite_suffix(alias: str) -> None:
    attacker.rewrite(alias, "payments", edit(attacker.documents(alias, "payments"), 9))


def edit_last_recorded(alias: str) -> None:
    attacker.rewrite(alias, "consents", edit(attacker.documents(alias, "consents"), 2))


def cut_tail(alias: str) -> None:
    attacker.rewrite(alias, "payments", attacker.documents(alias, "payments")[:10])


def delete_stream(alias: str) -> None:
    attacker.delete(alias, "consents")


def put_yesterday_back_and_go_on(alias: str) -> None:
    history = attacker.documents(alias, "payments")[:7]
    now = int(time.time() * 1000)
    more = [{**history[0], "id": f"other-{n}", "timestamp": now} for n in range(9)]
    attacker.rewrite(alias, "payments", [*history, *more])


def rebuild_everything(alias: str) -> None:
    for stream in ("payments", "consents", "nucleus.keys"):
        history = attacker.documents(alias, stream)
        for document in history:
            document["payload"] = {"rebuilt": document["sequence"]}
        attacker.rewrite(alias, stream, history)


def add_backdated_stream(alias: str) -> None:
    (first, *_) = attacker.documents(alias, "payments")
    attacker.rewrite(alias, "agreements", [{**first, "timestamp": 1_600_000_000_000}])


def add_backdated_entry(alias: str) -> None:
    """Append to a stream that has not grown, at a time before the checkpoint that says so."""
    history = attacker.documents(alias, "consents")
    late = {**history[-1], "id": "late"}
    attacker.rewrite(alias, "consents", [*history, late])


ATTACKS: list[Callable[[str], None]] = [
    rewrite_suffix,
    edit_last_recorded,
    cut_tail,
    delete_stream,
    put_yesterday_back_and_go_on,
    rebuild_everything,
]
ADDITIONS: list[Callable[[str], None]] = [add_backdated_stream, add_backdated_entry]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("forge", [False, True], ids=["copies left", "copies forged"])
def test_found_with_the_newest_note_alone(
    site: SigningSite, attack: Callable[[str], None], forge: bool
) -> None:
    before = site.verify(site.kept())
    assert (before.result, before.assurance) == ("intact", "checkpoint")
    attack(site.alias)
    if forge:
        attacker.forge_checkpoints(site.alias)
    assert site.verify().result == "intact", "the chain alone sees nothing"
    report = site.verify(site.folder / "kept.txt")
    assert report.result == "tampered"
    assert {finding.kind for finding in report.findings} == {"checkpoint_mismatch"}
    assert report.exit_code() == 1
    for finding in report.findings:  # it proves itself: the note, and the one that stands there
        assert finding.expected["note"] == (site.folder / "kept.txt").read_text("utf-8")
        assert finding.actual["note"].startswith("example.com/persistent-ledger\n2\n")


def test_an_emptied_ledger(site: SigningSite) -> None:
    for stream in ("payments", "consents", "nucleus.keys"):
        attacker.delete(site.alias, stream)
    report = site.verify(site.folder / "kept.txt")
    assert report.result == "tampered"
    assert [finding.stream for finding in report.findings] == [
        "consents", "nucleus.keys", "payments",
    ]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_copies_removed_too(site: SigningSite, attack: Callable[[str], None]) -> None:
    """With the note alone nothing can be told then, and it is not called intact; with the folder
    of a sink all is there."""
    attack(site.alias)
    attacker.forget_checkpoints(site.alias)
    report = site.verify(site.folder / "kept.txt")
    assert (report.result, report.exit_code()) == ("unknown", 2)
    assert "does not have manifest 0" in report.errors[0]
    assert site.verify(site.log).result == "tampered"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_signer_signs_none_of_it(site: SigningSite, attack: Callable[[str], None]) -> None:
    attack(site.alias)
    size, before = site.said().size, site.note().read_text("utf-8")
    for forge in (False, True):
        if forge:
            attacker.forge_checkpoints(site.alias)
        try:
            made = site.make()
        except (IntegrityFailed, CheckpointRefused):
            assert (site.said().size, site.note().read_text("utf-8")) == (size, before)
        else:  # a suffix that is linked to the entry as it was: found by any full reading
            assert made.number is not None
            assert attack is rewrite_suffix
            assert not forge


def test_an_entry_edited_behind_an_unchanged_frontier(site: SigningSite) -> None:
    """The signer reads what is new and cannot see it; the note it signs still tells."""
    text = Entry.objects.using(site.alias).get(record_id="payments-3").serialized
    sql(
        site.alias,
        "UPDATE nucleus_ledger_entry SET hash = %s WHERE record_id = 'payments-3'",
        [b"\7" * 32],
    )
    made = site.make()
    assert made.number == 2
    assert text
    report = site.verify(site.kept())
    assert {finding.kind for finding in report.findings} == {
        "hash_mismatch", "checkpoint_mismatch",
    }  # fmt: skip


def test_a_fork_shows_both_notes(site: SigningSite) -> None:
    rebuild_everything(site.alias)
    attacker.forge_checkpoints(site.alias)
    (finding,) = [f for f in site.verify(site.kept()).findings if f.stream == "nucleus.checkpoints"]
    assert finding.expected["note"] == site.note().read_text("utf-8")
    assert finding.actual["note"].startswith("example.com/persistent-ledger\n2\n")
    assert finding.actual["note"] != finding.expected["note"]


@pytest.mark.parametrize("attack", ADDITIONS, ids=lambda attack: attack.__name__)
def test_a_false_date_is_told_and_no_tampering(
    site: SigningSite, attack: Callable[[str], None]
) -> None:
    site.configure(MAX_CLOCK_SKEW_MS=0)
    attack(site.alias)
    report = site.verify(site.kept())
    (notice,) = report.notices
    assurance = "chain" if attack is add_backdated_stream else "checkpoint"
    made = parse_manifest(sinks.folder(site.log).manifest(1)).milliseconds
    assert (report.result, report.assurance, report.exit_code()) == ("intact", assurance, 0)
    assert report.exit_code(strict_times=True) == 3
    assert (notice.count, notice.registered_after, notice.registered_by) == (1, made, None)
    claim = attacker.documents(site.alias, notice.stream)[notice.first_sequence]["timestamp"]
    assert notice.greatest_lag == made - claim


def test_a_false_entry_of_the_application_is_found_by_nothing(site: SigningSite) -> None:
    """Integrity is not truth."""
    Entry.objects.using(site.alias).append("payments", {"cents": 5, "true": False})
    site.make()
    assert site.verify(site.kept()).result == "intact"
