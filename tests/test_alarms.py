"""Tampering is logged once at ERROR, by whatever way it was found."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from nucleus_ledger import startup, stepping
from nucleus_ledger.alarms import place
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry
from tests.tamper import lay_bare, sql


def by_command(alias: str) -> None:
    with pytest.raises(CommandError):
        call_command("verify_ledger", database=alias, stdout=io.StringIO())


def by_incremental(alias: str) -> None:
    with pytest.raises(CommandError):
        call_command("verify_ledger", database=alias, stdout=io.StringIO(), incremental=True)


def by_startup(alias: str) -> None:
    with pytest.raises(IntegrityFailed):
        startup.check(alias)


def by_steps(alias: str) -> None:
    run = stepping.begin(alias)
    while not stepping.step(alias, run.pk, 3).finished:
        pass


def by_cancelled_steps(alias: str) -> None:
    run = stepping.begin(alias)
    stepping.step(alias, run.pk, 100)
    stepping.cancel(alias, run.pk, "somebody")


def by_code(alias: str) -> None:
    Entry.objects.using(alias).verify_integrity("s")


WAYS = [by_command, by_incremental, by_startup, by_steps, by_code]


def fill(alias: str) -> None:
    for stream in ("s", "t"):
        Entry.objects.using(alias).append_batch(
            {"stream": stream, "payload": {"n": n}, "record_id": f"{stream}{n}"} for n in range(9)
        )


def alarms(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[tuple[str, str]]:
    return [
        (record.name, record.getMessage())
        for record in caplog.records
        if record.levelno >= level and record.name.startswith("nucleus_ledger")
    ]


@pytest.mark.parametrize("way", WAYS)
def test_tampering_is_logged_once(
    ledger_db: str, way: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(ledger_db)
    lay_bare(ledger_db)
    sql(ledger_db, "UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE record_id = 's4'")
    way(ledger_db)
    ((name, message),) = alarms(caplog)
    assert name == "nucleus_ledger.verification"
    assert [record.levelname for record in caplog.records if record.name == name] == ["ERROR"]
    assert "TAMPERING in ledger 'persistent-ledger'" in message
    assert f"database {ledger_db!r}: 1 finding(s) in 1 stream(s) (field_mismatch 1)" in message
    assert "stream 's' at #4: field_mismatch" in message


@pytest.mark.parametrize("way", [by_steps, by_code, by_cancelled_steps])
def test_nothing_is_logged_of_a_ledger_that_is_right(
    ledger_db: str, way: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    fill(ledger_db)
    way(ledger_db)
    assert alarms(caplog, logging.WARNING) == []


def test_a_known_break_that_keeps_a_server_from_starting_is_logged(
    ledger_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(ledger_db)
    lay_bare(ledger_db)
    sql(ledger_db, "UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE record_id = 's4'")
    by_code(ledger_db)
    caplog.clear()
    by_startup(ledger_db)
    ((name, message),) = alarms(caplog)
    assert name == "nucleus_ledger.startup"
    assert "stream 's' at sequence 4: field_mismatch" in message


def test_the_message_is_bounded_and_of_one_line(
    ledger_db: str, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    fill(ledger_db)
    name = "a" * 90_000 + "\n\x1b[2J"
    lay_bare(ledger_db)
    if ledger_db == "postgres":
        sql(ledger_db, "ALTER TABLE nucleus_ledger_stream ALTER COLUMN name TYPE text")
        name = name[:5000]  # an index of PostgreSQL holds no more
    sql(ledger_db, "UPDATE nucleus_ledger_stream SET name = %s WHERE name = 's'", [name])
    sql(ledger_db, "UPDATE nucleus_ledger_entry SET record_id = sequence || 'x'")
    report = Entry.objects.using(ledger_db).verify_integrity()
    assert report.findings_total > 9
    ((_name, message),) = alarms(caplog)
    assert len(message) < 1500
    assert "\n" not in message
    assert "\x1b" not in message


def test_a_finding_without_a_sequence_is_of_its_stream() -> None:
    finding = Finding("missing_stream", "s", None, None, (), None, None, "")
    assert place(finding) == "stream 's': missing_stream"
