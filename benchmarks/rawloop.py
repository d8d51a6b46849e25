"""The loop that verification is held against: driver rows, their hash and their link, no more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

WINDOW = 2000

_QUERY = (
    "SELECT hash, prev_hash, serialized FROM nucleus_ledger_entry "
    "WHERE stream_id = ? AND sequence >= ? AND sequence < ? ORDER BY sequence"
)


def windows(connection: Any, stream_id: int, low: int, high: int) -> Iterator[list[Any]]:
    """Yield the rows of a stream in windows of sequence, as a verification reads them."""
    query = _QUERY
    if not hasattr(connection, "executescript"):  # psycopg
        query = query.replace("?", "%s")
    cursor = connection.cursor()
    for start in range(low, high, WINDOW):
        cursor.execute(query, (stream_id, start, min(start + WINDOW, high)))
        yield cursor.fetchall()


def scan(connection: Any, stream_id: int, low: int, high: int) -> int:
    """Read the rows and look at none; return how many they were."""
    return sum(map(len, windows(connection, stream_id, low, high)))


def hash_and_link(connection: Any, stream_id: int, low: int, high: int) -> int:
    """Return how many rows have the hash of their text and name the one before them."""
    good = 0
    sha256 = hashlib.sha256
    before = None
    first = low
    for rows in windows(connection, stream_id, low, high):
        for stored, link, serialized in rows:
            if sha256(serialized.encode()).digest() == stored and (link == before or first):
                good += 1
            before, first = stored, 0
    return good
