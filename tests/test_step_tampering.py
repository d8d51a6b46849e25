"""Somebody edits the table of steps between two steps: the run says so, and is never green."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from nucleus_ledger import stepping
from nucleus_ledger.models import Entry, StreamStatus, Verification, VerificationStep
from tests.tamper import edit_payload, sql

STEPS, RUNS = "nucleus_ledger_verificationstep", "nucleus_ledger_verification"
CHANGED = "changed in the database"


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Four streams, of which the first is tampered with."""
    for stream in ("assets", "consents", "payments", "proofs"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"n": n}} for n in range(5)
        )
    edit_payload(ledger_db, "assets-2")
    return ledger_db


def begun(alias: str, steps: int = 4) -> Verification:
    """A run that has made so many steps, and has some to make."""
    run = stepping.begin(alias)
    for _ in range(steps):
        assert not stepping.step(alias, run.pk, 4).finished
    return run


def end(alias: str, run: Verification) -> Verification:
    for _ in range(50):
        progress = stepping.step(alias, run.pk, 4)
        if progress.finished:
            return progress.run
    raise AssertionError("it does not end")


def rows(alias: str, run: Verification) -> list[VerificationStep]:
    return list(VerificationStep.objects.using(alias).filter(verification=run).order_by("number"))


def assert_not_green(run: Verification) -> None:
    assert run.result == "tampered"  # what it found before is stored elsewhere too
    assert CHANGED in str(run.warnings)


def test_without_an_edit_it_finds_what_there_is(ledger: str) -> None:
    run = end(ledger, begun(ledger))
    assert (run.result, run.findings_total) == ("tampered", 1)
    assert CHANGED not in str(run.warnings)


def test_any_steps_deleted(ledger: str) -> None:
    """Also where the tampered stream's own findings and status are deleted with them."""
    for count in (1, 2, 3):
        for numbers in combinations(range(5), count):
            run = begun(ledger)
            assert [step.number for step in rows(ledger, run)] == [0, 1, 2, 3, 4]
            for number in numbers:
                sql(ledger, f"DELETE FROM {STEPS} WHERE number = %s", [number])
            sql(ledger, "DELETE FROM nucleus_ledger_finding")
            sql(ledger, "DELETE FROM nucleus_ledger_streamstatus")
            ended = end(ledger, run)
            assert ended.result == "unknown", numbers
            assert CHANGED in str(ended.warnings), numbers
            assert not StreamStatus.objects.using(ledger).filter(result="intact").exists() or (
                4 not in numbers
            )


def _swapped(alias: str, run: Verification) -> None:
    one, other = rows(alias, run)[1:3]
    for step, text in ((one, other.found), (other, one.found)):
        sql(alias, f"UPDATE {STEPS} SET found = %s WHERE number = %s", [text, step.number])


def _renumbered(alias: str, run: Verification) -> None:
    sql(alias, f"UPDATE {STEPS} SET number = 99 WHERE number = 1")
    sql(alias, f"UPDATE {STEPS} SET number = 1 WHERE number = 2")


def _emptied(alias: str, run: Verification) -> None:
    sql(alias, f"UPDATE {STEPS} SET found = '' WHERE number = 2")


def _cut(alias: str, run: Verification) -> None:
    sql(alias, f"UPDATE {STEPS} SET found = substr(found, 1, length(found) - 1) WHERE number = 2")


def _repeated(alias: str, run: Verification) -> None:
    first = rows(alias, run)[0]
    sql(alias, f"UPDATE {STEPS} SET found = %s WHERE number = 2", [first.found])


def _one_more(alias: str, run: Verification) -> None:
    last = rows(alias, run)[-1]
    sql(
        alias,
        f"INSERT INTO {STEPS} (verification_id, number, standing, found) VALUES (%s, 99, '', %s)",
        [run.pk, last.found],
    )


@pytest.mark.parametrize(
    "edit", [_swapped, _renumbered, _emptied, _cut, _repeated, _one_more], ids=lambda e: e.__name__
)
def test_any_step_edited(ledger: str, edit: Callable[[str, Verification], None]) -> None:
    run = begun(ledger)
    edit(ledger, run)
    assert_not_green(end(ledger, run))


def test_a_step_of_another_run_in_its_place(ledger: str) -> None:
    """Of the same streams as they were before: nothing was found then."""
    edit_payload(ledger, "assets-2", '{"n":2}')
    clean = begun(ledger)
    kept = {step.number: step for step in rows(ledger, clean)}
    stepping.cancel(ledger, clean.pk, "boss")
    edit_payload(ledger, "assets-2")
    run = begun(ledger)
    for step in rows(ledger, run):
        sql(
            ledger,
            f"UPDATE {STEPS} SET found = %s WHERE number = %s",
            [kept[step.number].found, step.number],
        )
    assert_not_green(end(ledger, run))


def test_an_older_state_of_the_run_only_reads_again(ledger: str) -> None:
    """All of it put back as it was two steps ago: what was read since is read once more."""
    run = begun(ledger, 2)
    before = list(VerificationStep.objects.using(ledger).filter(verification=run).values())
    stepping.step(ledger, run.pk, 4)
    stepping.step(ledger, run.pk, 4)
    VerificationStep.objects.using(ledger).filter(verification=run).delete()
    for values in before:
        VerificationStep.objects.using(ledger).create(**values)
    ended = end(ledger, run)
    assert ended.result == "tampered"
    assert (ended.entries, ended.streams) == (20, 4)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=40_000)], ids=str)
def test_a_lease_that_ends_in_the_future_holds_nobody_up(ledger: str, ahead: timedelta) -> None:
    """A process took it while the clock was ahead, and died."""
    run = begun(ledger, 1)
    later = datetime(2026, 1, 1, tzinfo=UTC) + ahead if ahead.days else datetime.now(UTC) + ahead
    Verification.objects.using(ledger).filter(pk=run.pk).update(lease_until=later)
    assert stepping.step(ledger, run.pk, 4).moved
    assert end(ledger, run).result == "tampered"


def test_a_run_left_in_the_future_is_ended_and_begun_anew(ledger: str) -> None:
    run = begun(ledger, 1)
    Verification.objects.using(ledger).filter(pk=run.pk).update(
        lease_until=datetime(2100, 1, 1, tzinfo=UTC)
    )
    again = stepping.begin(ledger)
    assert again.pk != run.pk
    run.refresh_from_db(using=ledger)
    assert run.result in ("unknown", "tampered")


def test_a_lease_that_is_held_is_held(ledger: str) -> None:
    run = begun(ledger, 1)
    Verification.objects.using(ledger).filter(pk=run.pk).update(
        lease_until=datetime.now(UTC) + timedelta(seconds=30)
    )
    assert not stepping.step(ledger, run.pk, 4).moved
