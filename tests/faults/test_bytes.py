"""Bits flipped anywhere: a ledger whose rows changed is never shown as intact."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.recording import Recorder, database_of
from tests.faults.running import run
from tests.processes import Site

FLIPS = 100


def test_a_flipped_bit_is_never_green(site: Site, recorder: Recorder) -> None:
    site.python(
        "Entry.objects.append_batch([{'stream': 'abc'[n % 3], 'meta': {'by': 'u'} if n % 2 else "
        "None, 'payload': {'n': n, 'text': 'x' * 300}} for n in range(400)])"
    )
    _told, end = run(site, "flipping", str(FLIPS))
    verdicts = end["verdicts"]
    fault = "flip-file" if database_of(site.url) == "SQLite" else "flip-column"
    recorder.record(fault, database_of(site.url), attempts=FLIPS, outcomes=verdicts)
    assert end["missed"] == []
    assert sum(verdicts.values()) == FLIPS
    assert verdicts["found"] > FLIPS // 4


@pytest.mark.parametrize("column", ["sequence", "stream_id"])
def test_a_number_in_the_table_that_its_index_has_otherwise(sqlite_site: Site, column: str) -> None:
    """A query that goes by the table would be told a lie: SQLite's own index does not tell."""
    sqlite_site.python(
        "for name in 'abc':\n"
        "    Entry.objects.append_batch([{'stream': name, 'payload': {'n': n}} for n in range(40)])"
    )
    file = Path(sqlite_site.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = connection.execute(
            f"SELECT hash, serialized, {column} FROM nucleus_ledger_entry "
            "WHERE stream_id = 3 AND sequence = 24"
        ).fetchone()
    # A row holds its columns one after the other: the hash first, then the sequence, and the
    # stream's key after the text.
    before = {"sequence": row[0], "stream_id": row[1].encode()}[column]
    good = file.read_bytes()
    assert good.count(before + bytes([row[2]])) == 1
    place = good.index(before + bytes([row[2]])) + len(before)
    file.write_bytes(good[:place] + bytes([row[2] ^ 16]) + good[place + 1 :])
    with closing(sqlite3.connect(file)) as connection:
        (changed,) = connection.execute(
            f"SELECT {column} FROM nucleus_ledger_entry NOT INDEXED WHERE hash = ?", [row[0]]
        ).fetchone()
    assert changed == row[2] ^ 16
    report = sqlite_site.report()
    assert (report["exit_code"], report["result"]) == (1, "tampered")
    told = [each["name"] for each in report["streams"] if each["findings"]]
    assert told == ["c"]
