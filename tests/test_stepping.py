"""A verification in steps: taken up again, joined, cancelled, and never green for the unread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from nucleus_ledger import guards, statuses, stepping, stored_breaks, verification
from nucleus_ledger.core.report import Report
from nucleus_ledger.errors import InvalidData, NotFound
from nucleus_ledger.models import (
    Entry,
    Finding,
    Stream,
    StreamStatus,
    Verification,
    VerificationStep,
)
from nucleus_ledger.signals import verification_finished
from tests.tamper import edit_payload, sql

Result = Verification.Result


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Three streams of ten entries each."""
    for stream in ("assets", "payments", "proofs"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"n": n}} for n in range(10)
        )
    return ledger_db


@pytest.fixture
def reports() -> Iterator[list[Report]]:
    """What is announced when a verification ends."""
    heard: list[Report] = []

    def listen(report: Report, **_: Any) -> None:
        heard.append(report)

    verification_finished.connect(listen)
    yield heard
    verification_finished.disconnect(listen)


def finish(alias: str, run: Verification, entries: int = 60) -> Verification:
    for _ in range(100):
        if stepping.step(alias, run.pk, entries).finished:
            break
    run.refresh_from_db(using=alias)
    return run


def status_of(alias: str, stream: str) -> StreamStatus | None:
    return StreamStatus.objects.using(alias).filter(stream__name=stream).first()


def test_each_step_reads_a_bounded_number_of_entries_and_stores_where_it_is(ledger: str) -> None:
    run = stepping.begin(ledger, user="boss")
    seen = [stepping.progress(ledger, run.pk)]
    while not seen[-1].finished:
        seen.append(stepping.step(ledger, run.pk, entries=4))
    done = [progress.done for progress in seen]
    assert done == [0, 4, 8, 10, 14, 18, 20, 24, 28, 30, 30]
    assert {progress.total for progress in seen} == {30}
    run.refresh_from_db(using=ledger)
    assert (run.result, run.entries, run.streams) == (Result.INTACT, 30, 3)
    assert (run.origin, run.user, run.mode, run.lease) == ("admin", "boss", "full", None)
    assert {status.length for status in StreamStatus.objects.using(ledger).all()} == {10}
    assert not VerificationStep.objects.using(ledger).exists()


def test_what_is_announced_is_what_one_walk_would_report(
    ledger: str, reports: list[Report]
) -> None:
    edit_payload(ledger, "payments-7")
    whole = verification.verify(ledger, store=False)
    finish(ledger, stepping.begin(ledger), entries=3)
    assert len(reports) == 2
    one, other = (report.as_dict(1) for report in reports)
    for different in ("started_at", "finished_at", "verification"):
        del one[different], other[different]
    assert one == other
    assert whole.findings_total == 1


def test_the_same_verification_is_joined_and_another_is_not(ledger: str) -> None:
    run = stepping.begin(ledger)
    assert stepping.begin(ledger).pk == run.pk
    assert stepping.begin(ledger, ["proofs", "assets", "assets"]).pk != run.pk
    assert stepping.begin(ledger, ["assets", "proofs"]).pk == run.pk + 1
    assert stepping.begin(ledger, mode="incremental").pk == run.pk + 2
    finish(ledger, run)
    assert stepping.begin(ledger).pk == run.pk + 3


def test_a_step_under_way_elsewhere_is_left_alone_until_it_has_had_its_time(ledger: str) -> None:
    run = stepping.begin(ledger)
    rows = Verification.objects.using(ledger).filter(pk=run.pk)
    rows.update(lease_until=datetime.now(UTC) + timedelta(seconds=30))
    waiting = stepping.step(ledger, run.pk, entries=4)
    assert (waiting.moved, waiting.done, waiting.finished) == (False, 0, False)
    rows.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))  # its process died
    assert stepping.step(ledger, run.pk, entries=4).done == 4


def test_a_step_that_was_overtaken_stores_nothing(
    ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stepping.begin(ledger)
    read = stepping._read

    def slow(*args: Any) -> bool:
        """While this step reads, its time runs out, and another does the same work."""
        monkeypatch.setattr(stepping, "_read", read)
        rows = Verification.objects.using(ledger).filter(pk=run.pk)
        rows.update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
        assert stepping.step(ledger, run.pk, entries=100).moved
        return read(*args)

    monkeypatch.setattr(stepping, "_read", slow)
    late = stepping.step(ledger, run.pk, entries=100)
    assert (late.moved, late.done) == (False, 20)
    finish(ledger, run)
    assert (run.result, run.entries, run.streams) == (Result.INTACT, 30, 3)


def test_a_run_that_is_cancelled_is_never_intact(ledger: str, reports: list[Report]) -> None:
    run = stepping.begin(ledger)
    stepping.step(ledger, run.pk, entries=14)
    stepping.cancel(ledger, run.pk, "boss")
    run.refresh_from_db(using=ledger)
    assert (run.result, run.streams) == (Result.UNKNOWN, 1)
    assert run.warnings == ["cancelled by boss, after 10 of 30 entries"]
    assert [report.result for report in reports] == ["unknown"]
    assert status_of(ledger, "assets") is not None
    assert status_of(ledger, "payments") is None
    after = stepping.step(ledger, run.pk)
    assert (after.finished, after.moved) == (True, False)
    assert stepping.cancel(ledger, run.pk, "boss").warnings == run.warnings


def test_cancelling_while_a_step_reads_wins(ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stepping.begin(ledger)
    read = stepping._read

    def slow(*args: Any) -> bool:
        stepping.cancel(ledger, run.pk, "boss")
        return read(*args)

    monkeypatch.setattr(stepping, "_read", slow)
    assert stepping.step(ledger, run.pk).finished
    run.refresh_from_db(using=ledger)
    assert (run.result, run.streams) == (Result.UNKNOWN, 0)
    assert not StreamStatus.objects.using(ledger).exists()


def test_a_finding_outlives_a_cancelled_run(ledger: str) -> None:
    edit_payload(ledger, "assets-1")
    run = stepping.begin(ledger)
    stepping.step(ledger, run.pk, entries=4)
    stepping.cancel(ledger, run.pk, "boss")
    run.refresh_from_db(using=ledger)
    assert (run.result, run.findings_total) == (Result.TAMPERED, 1)
    status = status_of(ledger, "assets")
    assert status is not None
    assert status.result == "tampered"


def test_a_run_left_for_a_day_is_ended_and_begun_anew(ledger: str) -> None:
    run = stepping.begin(ledger)
    stepping.step(ledger, run.pk, entries=4)
    long_ago = datetime.now(UTC) - timedelta(days=1, minutes=1)
    Verification.objects.using(ledger).filter(pk=run.pk).update(lease_until=long_ago)
    assert stepping.begin(ledger).pk == run.pk + 1
    run.refresh_from_db(using=ledger)
    assert run.result == Result.UNKNOWN
    assert run.warnings == ["left unfinished, after 4 of 30 entries"]


@pytest.mark.parametrize("column", ["standing", "found"])
def test_where_it_stands_cannot_be_edited_in_the_database(ledger: str, column: str) -> None:
    """Somebody puts there that the tampered stream was read already, or found to be good."""
    edit_payload(ledger, "assets-1")
    run, other = stepping.begin(ledger), stepping.begin(ledger, ["payments", "proofs"])
    stepping.step(ledger, run.pk, entries=100)
    stepping.step(ledger, other.pk, entries=100)
    steps = VerificationStep.objects.using(ledger)
    good = steps.filter(verification=other).order_by("-number").values_list(column, flat=True)[0]
    steps.filter(verification=run, number=1).update(**{column: good})
    finish(ledger, run)
    assert run.result == Result.TAMPERED
    assert any("changed in the database" in warning for warning in run.warnings)
    assert run.findings_total == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("scope", None),
        ("scope", ["assets"]),
        ("mode", "incremental"),
        ("started_at", datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_a_run_was_asked_cannot_be_edited_on_its_way(
    ledger: str, column: str, value: Any
) -> None:
    """As if a run over some streams had been one over all, or had begun at another time."""
    run = stepping.begin(ledger, ["assets", "payments"])
    stepping.step(ledger, run.pk, entries=4)
    Verification.objects.using(ledger).filter(pk=run.pk).update(**{column: value})
    finish(ledger, run)
    assert run.result == Result.UNKNOWN
    assert any("changed in the database" in warning for warning in run.warnings)
    assert not StreamStatus.objects.using(ledger).exists()


def test_the_steps_of_an_older_run_of_the_same_key_are_not_taken(ledger: str) -> None:
    """Somebody keeps them, sets the table's counter back, and puts them below a new run."""
    old = stepping.begin(ledger)
    stepping.step(ledger, old.pk, entries=70)  # behind the first stream
    fields = ("verification_id", "number", "standing", "found")
    steps = VerificationStep.objects.using(ledger).filter(verification=old)
    kept = steps.order_by("number").values(*fields).last()
    assert kept is not None
    key = old.pk
    old.delete()
    edit_payload(ledger, "assets-1")
    run = stepping.begin(ledger)
    VerificationStep.objects.using(ledger).all().delete()
    rows = Verification.objects.using(ledger).filter(pk=run.pk)
    rows.update(id=key)
    VerificationStep.objects.using(ledger).create(**kept)
    run = Verification.objects.using(ledger).get(pk=key)
    assert finish(ledger, run).result == Result.UNKNOWN


def test_an_incremental_run_reads_what_is_new_and_hides_no_finding(ledger: str) -> None:
    finish(ledger, stepping.begin(ledger))
    edit_payload(ledger, "assets-1")
    finish(ledger, stepping.begin(ledger, ["assets"]))
    sql(ledger, "UPDATE nucleus_ledger_stream SET length = length WHERE name = 'assets'")
    Entry.objects.using(ledger).append("proofs", {"n": 10})
    edit_payload(ledger, "assets-1", '{"n":1}')  # mended; but only a full run may say so
    run = stepping.begin(ledger, mode="incremental")
    assert stepping.progress(ledger, run.pk).total == 1
    finish(ledger, run, entries=3)
    assert (run.result, run.findings_total) == (Result.TAMPERED, 1)
    assert run.entries == 10 + 1 + 2
    finish(ledger, stepping.begin(ledger, ["assets"]))
    run = finish(ledger, stepping.begin(ledger, mode="incremental"))
    assert run.result == Result.INTACT_SINCE


@pytest.mark.parametrize("entries", [1, 3, 60, 1000])
def test_findings_on_record_stay_acknowledged(ledger: str, entries: int) -> None:
    edit_payload(ledger, "assets-1")
    edit_payload(ledger, "assets-8")
    verification.verify(ledger)
    call_command("acknowledge_findings", "assets", database=ledger, reason="a migration")
    Entry.objects.using(ledger).append("assets", {"n": 10})
    run = finish(ledger, stepping.begin(ledger), entries)
    whole = verification.verify(ledger, store=False)
    assert run.result == whole.result == Result.ACKNOWLEDGED
    assert stored_breaks.stored_findings(ledger, run.pk) == whole.findings
    edit_payload(ledger, "assets-5")
    assert finish(ledger, stepping.begin(ledger), entries).result == Result.TAMPERED


def test_more_findings_than_are_kept_end_the_reading_of_a_stream(
    ledger: str, settings: Any
) -> None:
    settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, "MAX_STORED_FINDINGS": 3}
    for n in range(10):
        edit_payload(ledger, f"assets-{n}")
    edit_payload(ledger, "proofs-9")
    run = finish(ledger, stepping.begin(ledger), entries=4)
    assert run.result == Result.TAMPERED
    assert run.findings_total >= 5
    assert Finding.objects.using(ledger).count() == 3
    assert any("reading stopped after" in warning for warning in run.warnings)
    for stream in ("assets", "proofs"):
        status = status_of(ledger, stream)
        assert status is not None
        assert status.result == "tampered"


def test_too_many_findings_on_record_are_not_told_to_be_good_or_bad(
    ledger: str, settings: Any
) -> None:
    for n in range(10):
        edit_payload(ledger, f"assets-{n}")
    verification.verify(ledger)
    call_command("acknowledge_findings", "assets", database=ledger, reason="a migration")
    settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, "MAX_STORED_FINDINGS": 3}
    run = finish(ledger, stepping.begin(ledger), entries=4)
    assert run.result == Result.UNKNOWN
    assert any("too many to compare" in warning for warning in run.warnings)


def test_entries_without_their_stream_are_found(ledger: str) -> None:
    guards.remove(connections[ledger])
    if ledger == "postgres":
        sql(ledger, "SET session_replication_role = replica")
    else:
        sql(ledger, "PRAGMA defer_foreign_keys = ON")
    kept = (
        Stream.objects.using(ledger)
        .values_list("pk", "name", "ledger", "length")
        .get(name="payments")
    )
    sql(ledger, "DELETE FROM nucleus_ledger_stream WHERE name = 'payments'")
    run = finish(ledger, stepping.begin(ledger))
    assert run.result == Result.TAMPERED
    assert [f.kind for f in stored_breaks.stored_findings(ledger, run.pk)] == ["missing_stream"]
    head = Entry.objects.using(ledger).filter(stream_id=kept[0]).order_by("-sequence")[0]
    sql(
        ledger,
        "INSERT INTO nucleus_ledger_stream (id, name, ledger, length, head_hash, head_timestamp) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        [*kept, bytes.fromhex(head.hash), head.timestamp],
    )
    if ledger == "postgres":
        sql(ledger, "SET session_replication_role = DEFAULT")


def test_bad_input_is_refused(ledger: str) -> None:
    with pytest.raises(NotFound, match="no stream named 'nothing'"):
        stepping.begin(ledger, ["assets", "nothing"])
    with pytest.raises(InvalidData, match="mode"):
        stepping.begin(ledger, mode="quick")  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match="5001 streams"):
        stepping.begin(ledger, [f"stream-{n}" for n in range(5001)])
    with pytest.raises(NotFound, match="no verification 987654"):
        stepping.step(ledger, 987654)
    run = statuses.begin(
        ledger, started_at=datetime.now(UTC), origin="command", user="", mode="full"
    )
    assert run is not None
    assert not stepping.step(ledger, run.pk).moved  # a command's run is the command's
    assert stepping.cancel(ledger, run.pk, "boss").result == Result.RUNNING


def test_an_empty_ledger_is_not_intact(ledger_db: str) -> None:
    assert finish(ledger_db, stepping.begin(ledger_db)).result == Result.UNKNOWN


def test_the_number_of_statements_of_a_step_does_not_grow_with_the_stream(
    ledger: str, django_assert_max_num_queries: Any
) -> None:
    for _ in range(4):
        Entry.objects.using(ledger).append_batch(
            {"stream": "assets", "payload": {"n": n}} for n in range(100)
        )
    run = stepping.begin(ledger, ["assets"])
    stepping.step(ledger, run.pk, entries=100)
    with django_assert_max_num_queries(30, connection=connections[ledger]):
        assert stepping.step(ledger, run.pk, entries=100).done == 200


def test_several_drive_one_run_at_once(ledger_db_committed: str) -> None:
    """As tabs of several people do: no step is done twice, and nothing is left out."""
    alias = ledger_db_committed
    for stream in ("assets", "payments", "proofs"):
        Entry.objects.using(alias).append_batch(
            {"stream": stream, "payload": {"n": n}} for n in range(100)
        )

    def drive(_: int) -> int:
        try:
            run = stepping.begin(alias)
            moved = 0
            while not (progress := stepping.step(alias, run.pk, 10)).finished:
                moved += progress.moved
            return int(run.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        keys = set(threads.map(drive, range(4)))
    runs = Verification.objects.using(alias).filter(pk__in=keys)
    assert {(run.result, run.entries, run.streams) for run in runs} == {(Result.INTACT, 300, 3)}
    assert not VerificationStep.objects.using(alias).exists()
