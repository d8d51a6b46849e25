"""SQLite keeps a value of any type in any column: rows that numbers do not reach are found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.processes import Site

RUNS = [(), ("--incremental",), ("--workers", "2"), ("--deep",)]
PUT_IN = """
INSERT INTO nucleus_ledger_entry (hash, sequence, record_id, timestamp, payload, meta, prev_hash,
serialized, stream_id)
SELECT randomblob(32), :sequence, 'hidden', timestamp, '{"n":1000}', meta, prev_hash, serialized,
:stream FROM nucleus_ledger_entry WHERE stream_id = 1 AND sequence = 5
"""


@pytest.fixture
def ledger(sqlite_site: Site) -> Site:
    """Two streams of ten entries, verified before anybody touches them."""
    sqlite_site.python(
        "for name in 'ab':\n"
        "    Entry.objects.append_batch([{'stream': name, 'payload': {'n': n}} for n in range(10)])"
    )
    assert sqlite_site.report()["exit_code"] == 0
    return sqlite_site


@contextmanager
def opened(site: Site) -> Iterator[sqlite3.Connection]:
    """A connection of somebody who takes the guards down, and puts them up as they were."""
    file = Path(site.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        guards = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _text in guards:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _name, text in guards:
            connection.execute(text)


def retype(site: Site, before: str, after: str) -> None:
    """Declare a column of the entries otherwise, and leave its rows as they are."""
    with opened(site) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'nucleus_ledger_entry'",
            [before, after],
        )
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")


def put_in(site: Site, column: str, **values: object) -> None:
    """Put a row in that has text for a number, under the declaration that the column had."""
    retype(site, f'"{column}" bigint', f'"{column}" blob')
    with opened(site) as connection:
        connection.execute(PUT_IN, values)
    retype(site, f'"{column}" blob', f'"{column}" bigint')


@pytest.mark.parametrize("run", RUNS)
def test_a_sequence_of_text_that_reads_as_a_number(ledger: Site, run: tuple[str, ...]) -> None:
    put_in(ledger, "sequence", sequence="5", stream=1)
    assert ledger.report(*run)["exit_code"] == 1


def test_a_sequence_of_text_hides_no_number_after_the_end(ledger: Site) -> None:
    put_in(ledger, "sequence", sequence="5", stream=1)
    with opened(ledger) as connection:
        connection.execute(PUT_IN.replace("'hidden'", "'another'"), {"sequence": 10, "stream": 1})
    assert ledger.report()["exit_code"] == 1


@pytest.mark.parametrize("stream", ["1", "999", "x"])
@pytest.mark.parametrize("run", RUNS)
def test_a_stream_of_text(ledger: Site, stream: str, run: tuple[str, ...]) -> None:
    """It is found, and the search for entries without a stream comes to an end."""
    put_in(ledger, "stream_id", sequence=5, stream=stream)
    report = ledger.report(*run)
    assert report["exit_code"] == 1
    kinds = {found["kind"] for each in report["streams"] for found in each["findings"]}
    assert "missing_stream" in kinds


# An incremental run does not read what earlier ones read.
@pytest.mark.parametrize("run", [run for run in RUNS if run != ("--incremental",)])
@pytest.mark.parametrize("value", [None, 6])
def test_a_column_that_takes_the_name_of_the_rowid(
    ledger: Site, value: int | None, run: tuple[str, ...]
) -> None:
    """Such a column is then what rows are joined by: no row may get out of the walk by it."""
    with opened(ledger) as connection:
        connection.execute("ALTER TABLE nucleus_ledger_entry ADD COLUMN rowid bigint")
        connection.execute("UPDATE nucleus_ledger_entry SET rowid = _rowid_")
        connection.execute(PUT_IN, {"sequence": 5.5, "stream": 1})
        connection.execute(
            "UPDATE nucleus_ledger_entry SET rowid = ? WHERE record_id = 'hidden'", [value]
        )
    assert ledger.report(*run)["exit_code"] == 1


def test_a_column_too_many_is_told(ledger: Site) -> None:
    with opened(ledger) as connection:
        connection.execute("ALTER TABLE nucleus_ledger_entry ADD COLUMN place bigint")
    report = ledger.report("--strict-guards")
    assert report["exit_code"] == 3
    assert "column place of nucleus_ledger_entry" in str(report["guards"])
