"""Rows are read in windows that memory can hold, whatever stands in them."""

from __future__ import annotations

from django.db import connections

from nucleus_ledger import rowsource
from nucleus_ledger.models import Entry
from tests.tamper import lay_bare, sql

LARGE = 900_000


def append_sized(alias: str, *sizes: int) -> None:
    Entry.objects.using(alias).append_batch(
        {"stream": "s", "payload": {"text": "x" * size}} for size in sizes
    )


def windows(alias: str) -> list[rowsource.Window]:
    connection = connections[alias]
    (stored,) = rowsource.read_heads(connection)
    return list(rowsource.read_windows(connection, stored.id, 0, stored.head.length))


def test_large_entries_behind_small_ones_are_read_a_few_at_a_time(ledger_db: str) -> None:
    """A window is as large as the one before it lets expect, which nothing keeps true."""
    append_sized(ledger_db, *[1] * 2000, *[LARGE] * 40, 1, 1)
    read = windows(ledger_db)
    assert [number for window in read for number in window.sequence] == list(range(2042))
    held = [sum(map(len, window.serialized)) for window in read]
    assert sum(held) > 40 * LARGE
    assert max(held) < 18 * LARGE  # 16 MiB
    assert max(window.size for window in read) == 500
    assert Entry.objects.using(ledger_db).verify_integrity().intact


def test_an_entry_larger_than_any_window_is_read_by_itself(ledger_db: str) -> None:
    append_sized(ledger_db, *[1] * 40)
    lay_bare(ledger_db)
    huge = "y" * (17 << 20)
    sql(ledger_db, "UPDATE nucleus_ledger_entry SET serialized = %s WHERE sequence = 20", [huge])
    (large,) = [window for window in windows(ledger_db) if huge in window.serialized]
    assert large.size == 1
    report = Entry.objects.using(ledger_db).verify_integrity()
    assert [(f.kind, f.sequence) for f in report.findings] == [("hash_mismatch", 20)]
