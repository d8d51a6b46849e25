"""Reads the rows that the oracle judges, by the databases' plain drivers."""

from __future__ import annotations

import sqlite3
from typing import Any

from tests.oracle.oracle import EntryRow, Ledger, StreamRow

_STREAMS = "SELECT {} FROM nucleus_ledger_stream"
_ENTRIES = "SELECT {} FROM nucleus_ledger_entry"


def read_sqlite(path: str) -> Ledger:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    # Text that is no UTF-8 is to be judged, not to stop the reading.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        return Ledger(
            [StreamRow(*row) for row in connection.execute(_select(_STREAMS, StreamRow))],
            [EntryRow(*row) for row in connection.execute(_select(_ENTRIES, EntryRow))],
            exact=True,
        )
    finally:
        connection.close()


def read_postgresql(url: str) -> Ledger:
    import psycopg

    with psycopg.connect(url) as connection:
        columns = _select(_ENTRIES, EntryRow)
        for name in ("payload", "meta"):
            columns = columns.replace(f'"{name}"', f'"{name}"::text')
        return Ledger(
            [StreamRow(*row) for row in connection.execute(_select(_STREAMS, StreamRow))],
            [EntryRow(*row) for row in connection.execute(columns)],
            exact=False,
        )


def _select(statement: str, row: Any) -> str:
    return statement.format(", ".join(f'"{name}"' for name in row._fields))
