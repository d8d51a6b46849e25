"""Other ways to send the statements of an append: what each would bring.

All append the same ready rows in an open transaction, so that nothing but the sending differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.db import connections

from benchmarks import streams
from benchmarks.figures import Figure, cost
from benchmarks.harness import ALIAS, Run, in_turn, undone_with
from benchmarks.statements import INSERT, LOCK, MOVE_HEAD, ReadyRow, append_ready, ready_rows

_ROWS = 100
BASE = "lock, insert, move the head: three statements"
_INSERT_AND_MOVE = f"WITH entry AS ({INSERT['postgresql']}) {MOVE_HEAD}"
# Only a writer whose idea of the head still holds gets a row back.
_COMPARE_AND_INSERT = """
WITH head AS (
  UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s
  WHERE id = %s AND length = %s RETURNING id
)
INSERT INTO nucleus_ledger_entry (hash, stream_id, sequence, record_id, timestamp, payload, meta,
  prev_hash, serialized)
SELECT %s, id, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s FROM head
"""
# The server hashes, so that one statement can lock, look where it stands, and insert.
_ALL = """
WITH head AS (
  SELECT id, ledger, length, head_hash, head_timestamp,
    (SELECT status.result FROM nucleus_ledger_streamstatus status
     WHERE status.stream_id = stream.id)
  FROM nucleus_ledger_stream stream WHERE name = %s FOR NO KEY UPDATE
), text AS (
  SELECT id, length, head_hash, %s::text || encode(head_hash, 'hex') || %s::text || length::text
    || %s::text AS serialized
  FROM head WHERE result IS DISTINCT FROM 'tampered'
), entry AS (
  INSERT INTO nucleus_ledger_entry (hash, stream_id, sequence, record_id, timestamp, payload, meta,
    prev_hash, serialized)
  SELECT sha256(convert_to(serialized, 'UTF8')), id, length, %s, %s, %s::jsonb, %s::jsonb,
    head_hash, serialized
  FROM text ON CONFLICT DO NOTHING
  RETURNING stream_id, sequence, hash, timestamp, prev_hash
)
UPDATE nucleus_ledger_stream
SET length = sequence + 1, head_hash = hash, head_timestamp = timestamp
FROM entry WHERE id = stream_id RETURNING hash
"""
_ASK_LENGTH = "SELECT length FROM nucleus_ledger_stream WHERE name = %s"

Way = Callable[[Any, str, ReadyRow], object]


def _head(row: ReadyRow) -> tuple[Any, ...]:
    return (row[2] + 1, row[0], row[4], row[1])


def _lock(cursor: Any, name: str, **options: Any) -> None:
    cursor.execute(LOCK[connections[ALIAS].vendor], [name], **options)
    cursor.fetchall()


def _two(cursor: Any, name: str, row: ReadyRow) -> None:
    _lock(cursor, name)
    cursor.execute(_INSERT_AND_MOVE, row + _head(row))


def _pipelined(cursor: Any, name: str, row: ReadyRow) -> None:
    _lock(cursor, name)
    with connections[ALIAS].connection.pipeline():
        cursor.execute(INSERT["postgresql"], row)
        cursor.execute(MOVE_HEAD, _head(row))


def _prepared(cursor: Any, name: str, row: ReadyRow) -> None:
    _lock(cursor, name, prepare=True)
    cursor.execute(_INSERT_AND_MOVE, row + _head(row), prepare=True)


def _cached(cursor: Any, name: str, row: ReadyRow) -> None:
    cursor.execute(_COMPARE_AND_INSERT, (*_head(row), row[2], row[0], *row[2:]))
    if cursor.rowcount != 1:
        raise RuntimeError("the head moved")


def _all(cursor: Any, name: str, row: ReadyRow) -> None:
    before, _, rest = row[8].rpartition(row[7].hex())
    between, _, behind = rest.partition(f'"sequence":{row[2]}')
    cursor.execute(_ALL, (name, before, f'{between}"sequence":', behind, *row[3:7]))
    if bytes(cursor.fetchone()[0]) != row[0]:
        raise RuntimeError("the server made another text")


def _asked(cursor: Any, name: str, row: ReadyRow) -> None:
    """Without RETURNING: what an older SQLite would need."""
    cursor.execute("UPDATE nucleus_ledger_stream SET length = length WHERE name = %s", [name])
    cursor.execute(_ASK_LENGTH, [name])
    cursor.fetchall()
    cursor.execute(INSERT["sqlite"], row)
    cursor.execute(MOVE_HEAD, _head(row))


WAYS: dict[str, dict[str, Way]] = {
    "postgresql": {
        "all in one statement, hashed by the server (taken)": _all,
        "insert and head in one statement": _two,
        "insert and head in a pipeline": _pipelined,
        "… in one statement, prepared on the server": _prepared,
        "no lock: the head remembered and compared, one statement": _cached,
    },
    "sqlite": {"the head by a SELECT instead of RETURNING": _asked},
}


def _append(way: Way, name: str, rows: Sequence[ReadyRow]) -> None:
    connection = connections[ALIAS]
    for row in rows:
        # A prepared statement has its parameters bound by the server, which Django's cursor leaves.
        if way is _prepared:
            import psycopg

            with psycopg.Cursor(connection.connection) as cursor:
                way(cursor, name, row)
        else:
            with connection.cursor() as cursor:
                way(cursor, name, row)


def measure(run: Run) -> Iterator[Figure]:
    name = streams.sized(run.largest)
    ready = partial(ready_rows, name, _ROWS)
    samples = {BASE: undone_with(partial(append_ready, name), ready, _ROWS)}
    for what, way in WAYS[run.vendor].items():
        samples[what] = undone_with(partial(_append, way, name), ready, _ROWS)
    taken = in_turn(samples, run.many)
    for what in WAYS[run.vendor]:
        yield cost(what, BASE, taken[what], taken[BASE])
