"""Finds a time in a stream without an index of times.

Time never goes back in a stream, so a bisection over its sequence finds it in log2(length) steps,
which the database takes by itself in one statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_MIDDLE = "(search.low + search.high) / 2"
_IS_BEFORE = f"""(
  SELECT entry.timestamp FROM nucleus_ledger_entry entry
  WHERE entry.stream_id = search.stream_id AND entry.sequence = {_MIDDLE}
) < search.wanted"""
# A bigint from the start: the recursive part must give the same type.
_BISECTION = f"""
WITH RECURSIVE search(stream_id, wanted, low, high) AS (
  SELECT id, CAST(%s AS bigint), CAST(0 AS bigint), length
  FROM nucleus_ledger_stream WHERE name = %s
  UNION ALL
  SELECT stream_id, wanted,
    CASE WHEN {_IS_BEFORE} THEN {_MIDDLE} + 1 ELSE low END,
    CASE WHEN {_IS_BEFORE} THEN high ELSE {_MIDDLE} END
  FROM search WHERE low < high
)
SELECT low FROM search WHERE low >= high
"""


def first_at_or_after(connection: BaseDatabaseWrapper, stream: str, timestamp: int) -> int:
    """Return the first sequence whose time, in ms since 1970, is not before `timestamp`.

    That is the stream's length where there is none, and 0 where there is no such stream.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BISECTION, [timestamp, stream])
        row = cursor.fetchone()
    return int(row[0]) if row else 0
