"""Entries that claim an earlier time than they were registered: told everywhere alike, and never
called tampering. Nothing that is stored in the database takes the notice back."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from nucleus_ledger import startup, stepping, verification
from nucleus_ledger.core import canonical
from nucleus_ledger.core.report import Report
from nucleus_ledger.evidence import against, making
from nucleus_ledger.models import Entry, Verification
from nucleus_ledger.verify.__main__ import main
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.tamper import lay_bare
from tests.transfer.test_nucleusimport import record
from tests.transfer.test_nucleusimport import write as write_nucleus

HOUR = 3_600_000
Runs = list[tuple[str, int, int]]  # stream, first sequence, count


class Clock(datetime):
    """The clock of a signer's host, which may be wrong."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def site(
    ledger_db: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> SigningSite:
    monkeypatch.setattr(making, "datetime", Clock)
    monkeypatch.setattr(Clock, "ahead", timedelta())
    return build(ledger_db, tmp_path, settings)


def build(alias: str, folder: Path, settings: Any) -> SigningSite:
    """A log of two checkpoints; `slow` is written by a host whose clock is an hour behind."""
    site = SigningSite.build(alias, folder, settings)
    append(alias, "payments", 3)
    append(alias, "slow", 2, -HOUR)
    site.make(init=True)
    append(alias, "payments", 2)
    site.make()
    return site


def append(alias: str, stream: str, count: int, ahead: int | None = None) -> None:
    """Append entries; `ahead` is by how many ms the writer's clock is."""
    now = int(time.time() * 1000)
    given = {} if ahead is None else {"timestamp": now + ahead}
    Entry.objects.using(alias).append_batch(
        {"stream": stream, "payload": {"n": n}, **given} for n in range(count)
    )


def honest(site: SigningSite) -> Runs:
    append(site.alias, "payments", 2)
    append(site.alias, "new", 2)
    return []


def a_slow_host(site: SigningSite) -> Runs:
    append(site.alias, "slow", 2, -HOUR)
    site.make()
    append(site.alias, "slow", 3, -HOUR)
    return [("slow", 2, 5)]


def a_slow_host_that_is_put_right(site: SigningSite) -> Runs:
    append(site.alias, "slow", 2, -HOUR)
    append(site.alias, "slow", 3)
    site.make()
    append(site.alias, "slow", 1)
    return [("slow", 2, 2)]


def times_that_are_given(site: SigningSite) -> Runs:
    append(site.alias, "flights/a", 2, -90 * HOUR)
    append(site.alias, "flights/b", 1, -HOUR)
    site.make()
    return [("flights/a", 0, 2), ("flights/b", 0, 1)]


def an_import(site: SigningSite) -> Runs:
    file = write_nucleus(site.folder / "ledger.db", [record(n) for n in range(10)])
    call_command("import_nucleus", str(file), database=site.alias, stdout=io.StringIO())
    return [("s/0", 0, 5), ("s/1", 0, 5)]


def a_fast_signer(site: SigningSite) -> Runs:
    append(site.alias, "payments", 1)
    Clock.ahead = timedelta(hours=1)
    site.make()
    Clock.ahead = timedelta()
    append(site.alias, "payments", 2)
    site.make()
    return [("payments", 6, 2)]


def a_slow_signer(site: SigningSite) -> Runs:
    Clock.ahead = timedelta(hours=-1)
    append(site.alias, "payments", 2)
    site.make()
    append(site.alias, "payments", 2)
    return []


def rows_put_in_with_an_import_on_record(site: SigningSite) -> Runs:
    """What once made a stream with false dates pass: the same database says that it is so."""
    lay_bare(site.alias)
    (first, *_) = attacker.documents(site.alias, "payments")
    attacker.rewrite(site.alias, "agreements", [{**first, "timestamp": 1_600_000_000_000}])
    span = {"from": 0, "to": 0}
    record = {"type": "nucleus_imported", "streams": {"agreements": span}, "records": 1}
    attacker.rewrite(
        site.alias, "nucleus.imports", [{**first, "payload": record, "timestamp": now()}]
    )
    return [("agreements", 0, 1)]


def now() -> int:
    return int(time.time() * 1000)


SCENARIOS: list[Callable[[SigningSite], Runs]] = [
    honest,
    a_slow_host,
    a_slow_host_that_is_put_right,
    times_that_are_given,
    an_import,
    a_fast_signer,
    a_slow_signer,
    rows_put_in_with_an_import_on_record,
]


def runs(report: Report) -> Runs:
    return [(each.stream, each.first_sequence, each.count) for each in report.notices]


def verdicts(document: dict[str, Any]) -> list[Any]:
    """What a report says of each stream, whoever made it."""
    names = ("name", "intact", "assurance", "assured_through", "late_entries", "times_judged_from")
    return [
        document["result"],
        document["notices"],
        document["late_entries"],
        document["times_judged"],
        *([each[name] for name in names] for each in document["streams"]),
    ]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_the_same_ledger_gets_the_same_verdict_everywhere(
    site: SigningSite,
    scenario: Callable[[SigningSite], Runs],
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = scenario(site)
    report = site.verify(site.kept())
    assert (report.result, report.exit_code(), report.findings) == ("intact", 0, [])
    assert runs(report) == expected
    assert report.exit_code(strict_times=True) == (3 if expected else 0)
    bundle = site.folder / "bundle.jsonl"
    call_command("export_ledger", str(bundle), database=site.alias)
    for options, code in (([], 0), (["--strict-times"], 3 if expected else 0)):
        assert main([str(bundle), "--vkey", str(site.vkey), *options]) == code
    said = capsys.readouterr().out
    for notice in report.notices:
        assert f"notice: registered_late in {notice.stream}: {notice.message}" in said
    assert main([str(bundle), "--vkey", str(site.vkey), "--format", "json"]) == 0
    offline = verdicts(json.loads(capsys.readouterr().out))
    assert offline == verdicts(report.as_dict(0))
    assert offline == verdicts(site.verify(site.log).as_dict(0))  # the folder of the sink


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_nothing_is_blocked(
    site: SigningSite, scenario: Callable[[SigningSite], Runs], settings: Any
) -> None:
    expected = scenario(site)
    evidence = against.load(site.alias, [str(site.kept())], [site.vkey], [])
    out = io.StringIO()
    call_command(
        "verify_ledger", against=[str(site.kept())], database=site.alias, stdout=out
    )  # no CommandError: exit 0
    assert out.getvalue().count("notice: registered_late") == len(expected)
    assert evidence.findings == []
    startup.check(site.alias)
    for stream in {stream for stream, _first, _count in expected}:
        if not stream.startswith("nucleus."):
            Entry.objects.using(site.alias).append(stream, {"after": True})
    assert site.make().number is not None or not expected


def test_a_checkpoint_that_is_dated_ahead_of_now_is_told(
    site: SigningSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Notices say that entries were registered after its time, which has not come."""
    told = "the newest checkpoint is dated ahead of now"

    def said() -> list[bool]:
        bundle = site.folder / "bundle.jsonl"
        call_command("export_ledger", str(bundle), database=site.alias)
        capsys.readouterr()
        assert main([str(bundle), "--vkey", str(site.vkey)]) == 0
        offline = capsys.readouterr().out
        sinks = against.newest(site.alias)
        assert sinks
        reports = [site.verify(site.kept()).warnings, sinks.warnings, drive(site, 7).warnings]
        return [told in offline, *(any(told in each for each in some) for some in reports)]

    assert said() == [False] * 4
    a_fast_signer(site)
    assert said() == [True] * 4


def test_strict_times_on_the_command_line(site: SigningSite) -> None:
    a_slow_host(site)
    options = {"against": [str(site.kept())], "database": site.alias, "stdout": io.StringIO()}
    with pytest.raises(CommandError, match="a strict option is not met: see the report") as refused:
        call_command("verify_ledger", strict_times=True, **options)
    assert refused.value.returncode == 3
    del options["against"]  # the sinks of the settings tell the same
    with pytest.raises(CommandError, match="a strict option is not met: see the report"):
        call_command("verify_ledger", strict_times=True, **options)
    with pytest.raises(CommandError, match="were not all held against checkpoints") as refused:
        call_command(
            "verify_ledger",
            strict_times=True,
            chain_only=True,
            database=site.alias,
            stdout=io.StringIO(),
        )
    assert refused.value.returncode == 3


def test_the_bounds_are_the_times_of_the_signers_manifests(site: SigningSite) -> None:
    a_slow_host(site)
    made = [
        Clock.fromisoformat(json.loads((site.log / name).read_text("utf-8"))["created_at"])
        for name in ("manifests/000/000/001.json", "manifests/000/000/002.json")
    ]
    (notice,) = site.verify(site.kept()).notices
    assert notice.registered_after == round(made[0].timestamp() * 1000)
    assert notice.registered_by is None  # the last of them is under no checkpoint yet
    assert notice.greatest_lag + 60_000 > HOUR
    site.make()
    document = site.verify(site.kept()).as_dict(0)
    (said,) = document["notices"]
    assert said["registered_after"] == made[0].isoformat(timespec="milliseconds")[:-6] + "Z"
    assert said["registered_by"] > made[1].isoformat(timespec="milliseconds")[:-6]


def drive(site: SigningSite, entries: int) -> Verification:
    run = stepping.begin(site.alias)
    for _ in range(200):
        progress = stepping.step(site.alias, run.pk, entries)
        if progress.finished:
            return progress.run
    raise AssertionError("it does not end")


@pytest.mark.parametrize("entries", [1, 3, 1000])
def test_steps_tell_of_what_came_after_the_newest_checkpoint(
    site: SigningSite, entries: int
) -> None:
    """Of older entries the newest manifest alone says nothing, and so nothing is said."""
    append(site.alias, "slow", 2, -HOUR)
    site.make()
    append(site.alias, "slow", 7, -HOUR)
    append(site.alias, "flights", 4, -HOUR)
    run = drive(site, entries)
    assert run.result == "intact"
    found = [(each["stream"], each["first_sequence"], each["count"]) for each in run.notices]
    assert found == [("flights", 0, 4), ("slow", 4, 7)]


def test_workers_find_the_same(
    ledger_db_committed: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connections[ledger_db_committed].vendor == "sqlite":
        pytest.skip("a new process has a file of its own for the tests' SQLite database")
    site = build(ledger_db_committed, tmp_path, settings)
    a_slow_host(site)
    monkeypatch.setattr("nucleus_ledger.workers.SMALLEST_RANGE", 1)
    single = site.verify(site.kept())
    several = site.verify(site.kept(), workers=2)
    assert several.errors == []
    assert verdicts(several.as_dict(0)) == verdicts(single.as_dict(0))
    assert single.notices


def test_an_incremental_run_tells_of_what_it_reads(site: SigningSite) -> None:
    append(site.alias, "slow", 2, -HOUR)
    evidence = against.load(site.alias, [str(site.kept())], [site.vkey], [])
    verification.verify(site.alias, evidence=evidence)
    append(site.alias, "slow", 2, -HOUR)
    report = verification.verify(site.alias, mode="incremental", evidence=evidence)
    assert runs(report) == [("slow", 3, 3)]  # the last entry of the base is read again
    assert report.times_judged


def test_a_transaction_that_stays_open(
    ledger_db_committed: str, tmp_path: Path, settings: Any
) -> None:
    """An entry whose transaction ends after a checkpoint was made is late by all of that time."""
    alias = ledger_db_committed
    if connections[alias].vendor == "sqlite":
        pytest.skip("SQLite has one writer: the signer waits for it")
    site = SigningSite.build(alias, tmp_path, settings)
    append(alias, "payments", 1)
    site.make(init=True)
    append(alias, "payments", 1)
    appended, signed = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic(using=alias):
            append(alias, "patient", 1)
            appended.set()
            signed.wait(60)
        connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    appended.wait(60)
    site.make()
    signed.set()
    writer.join()
    assert runs(site.verify(site.kept())) == []  # within the skew of clocks
    site.configure(MAX_CLOCK_SKEW_MS=0)
    report = site.verify(site.kept())
    assert (report.result, runs(report)) == ("intact", [("patient", 0, 1)])


def test_the_entry_of_an_import_stays_a_record(site: SigningSite) -> None:
    an_import(site)
    (entry,) = (
        Entry.objects.using(site.alias)
        .in_chain_order("nucleus.imports")
        .filter(payload__type="nucleus_imported")
    )
    assert canonical.loads(entry.serialized)["payload"]["records"] == 10
