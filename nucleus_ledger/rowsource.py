"""Reads streams and entries for verification: heads in two statements, rows in bounded windows.

History is append-only, so the entries below a length once read are a stable prefix: no long
transaction is needed, and writers are not waited for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.chain import Finding, Head, Rules
from nucleus_ledger.core.rebuilding import Row, Window
from nucleus_ledger.core.shown import evidence, stream_name
from nucleus_ledger.errors import Deserialization

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_WINDOW_BYTES = 4 << 20  # of text, as far as the window before it tells
_MOST_BYTES = 16 << 20  # of text, whatever comes
# A statement to PostgreSQL costs a round trip and a plan. A window that is worked on should stay
# in the processor's cache.
_ROWS_PER_STATEMENT = {"postgresql": 2000, "sqlite": 500}
_WINDOW_ROWS = 500
_FIRST_WINDOW = 16
BEYOND_ALL = (1 << 63) - 1

# One snapshot for the length and for what comes after it: a live append cannot come between.
# MAX is one step in the index; for an EXISTS of all after the length PostgreSQL reads the table.
# The plus keeps SQLite from reading a sequence of text as a number: text comes after all numbers.
_HEADS = """
SELECT s.id, s.name, s.ledger, s.length, s.head_hash, s.head_timestamp,
  (SELECT MAX(e.sequence) FROM nucleus_ledger_entry e WHERE e.stream_id = s.id) >= +s.length
  OR EXISTS (SELECT 1 FROM nucleus_ledger_entry e WHERE e.stream_id = s.id AND e.sequence IS NULL)
FROM nucleus_ledger_stream s
"""
# Apart from the heads: without its unique index a look-up for each row would read the table each.
_REPEATED_NAMES = """
SELECT s.name, COUNT(*) FROM nucleus_ledger_stream s
WHERE s.name IN (SELECT s.name FROM nucleus_ledger_stream s {condition})
GROUP BY s.name HAVING COUNT(*) > 1
"""
_FROM = "FROM nucleus_ledger_entry WHERE stream_id = %s"
_SELECT = {
    # psycopg takes longer over bytes than over their digits.
    "postgresql": "SELECT sequence, record_id, timestamp, payload::text, meta::text, "
    "encode(prev_hash, 'hex'), encode(hash, 'hex'), serialized ",
    "sqlite": "SELECT sequence, record_id, timestamp, payload, meta, prev_hash, hash, serialized ",
}
_SIZE = {
    "postgresql": "octet_length(serialized)",
    "sqlite": "length(CAST(serialized AS BLOB))",  # as text it would be counted by characters
}
_DOCUMENT = re.compile("payload(::text)?|serialized")
# SQLite takes columns that an index has from the index, though it reads the row as well: then what
# the table says is not looked at. So the index tells which rows, and the rows are read by rowid.
# An outer join: an index that leads to no row, or a column that took the name, hides nothing.
_RANGE = {
    "postgresql": f"{_FROM}{{}} ORDER BY sequence",
    "sqlite": "FROM (SELECT rowid AS nucleus_row, stream_id AS nucleus_stream, "
    f"sequence AS nucleus_place {_FROM}{{}}) LEFT JOIN nucleus_ledger_entry e "
    "ON e.rowid = nucleus_row AND stream_id = nucleus_stream ORDER BY nucleus_place",
}
# Steps from one stream id to the next along the index, so its cost is that of the streams. SQLite
# compares text with a number as one: what comes after all numbers ends the steps, and is nobody's.
_ORPHANS = """
WITH RECURSIVE ids(id) AS (
  SELECT MIN(stream_id) FROM nucleus_ledger_entry
  UNION ALL
  SELECT (SELECT MIN(e.stream_id) FROM nucleus_ledger_entry e WHERE e.stream_id > ids.id)
  FROM ids WHERE ids.id IS NOT NULL AND {number}
)
SELECT id FROM ids WHERE id IS NOT NULL
AND NOT ({number} AND EXISTS (SELECT 1 FROM nucleus_ledger_stream s WHERE s.id = ids.id))
"""
_IS_NUMBER = {"postgresql": "TRUE", "sqlite": "typeof(ids.id) IN ('integer', 'real')"}


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A stream's key and what its row says; no key where somebody put none there."""

    id: int | None
    head: Head


def read_heads(
    connection: BaseDatabaseWrapper,
    names: Sequence[str] | None = None,
    *,
    ids: Sequence[int] | None = None,
) -> list[StoredStream]:
    """Return the streams, all or those named or keyed, in the byte order of their names."""
    condition, parameters = "", list[Any]()
    for column, wanted in (("s.name", names), ("s.id", ids)):
        if wanted is not None:
            places = ", ".join(["%s"] * len(wanted)) or "NULL"
            condition += f"{' AND' if condition else 'WHERE'} {column} IN ({places})"
            parameters.extend(wanted)
    with connection.cursor() as cursor, _any_text(connection):
        cursor.execute(_HEADS + condition, parameters)
        rows = cursor.fetchall()
        cursor.execute(_REPEATED_NAMES.format(condition=condition), parameters)
        repeated = dict(cursor.fetchall())
    streams = []
    for stream_id, name, ledger, length, head_hash, head_timestamp, beyond in rows:
        head = Head(
            _name(name),
            ledger,
            length,
            _hex_or_what(head_hash),
            head_timestamp,
            bool(beyond),
            repeated.get(name, 1),
        )
        known = type(stream_id) is int and abs(stream_id) <= BEYOND_ALL
        streams.append(StoredStream(stream_id if known else None, head))
    return sorted(streams, key=lambda stream: stream.head.stream.encode())


def read_keys(
    connection: BaseDatabaseWrapper, low: int, most: int, names: Sequence[str] | None
) -> list[int]:
    """Return the first keys of streams from `low` on, of all or of those named, ascending."""
    condition, parameters = "", list[Any]()
    if names is not None:
        condition = f" AND name IN ({', '.join(['%s'] * len(names)) or 'NULL'})"
        parameters = list(names)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT id FROM nucleus_ledger_stream "
            f"WHERE id >= %s{condition} ORDER BY id LIMIT {most}",
            [low, *parameters],
        )
        return [row[0] for row in cursor.fetchall()]


def count_without_key(connection: BaseDatabaseWrapper) -> int:
    """Return how many rows of streams have no key: none, unless the table was tampered with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM nucleus_ledger_stream WHERE id IS NULL")
        return int(cursor.fetchone()[0])


def rules_for(
    connection: BaseDatabaseWrapper, stream: str, ledgers: frozenset[str], *, deep: bool = False
) -> Rules:
    """Return what the rows that come from here are to be judged by."""
    return Rules(stream, ledgers, deep=deep, jsonb=connection.vendor == "postgresql")


def read_windows(
    connection: BaseDatabaseWrapper, stream_id: int | None, start: int, end: object
) -> Iterator[Window]:
    """Yield the rows of a stream with start <= sequence < end, in order, some at a time.

    From 0 there is no lower bound, so that a row numbered below it is seen. Windows are ranges of
    sequence, not row counts, so that rows repeated under one number are all read.
    """
    stop = end if type(end) is int else BEYOND_ALL
    low, size = start, _FIRST_WINDOW
    while low < stop:
        high = min(low + size, stop)
        most = _MOST_BYTES // (high - low) if high - low > 1 else None
        rows = _rows(connection, stream_id, None if low == 0 else low, high, most)
        if rows is None:
            size = (high - low) // 2
        elif rows:
            for first in range(0, len(rows), _WINDOW_ROWS):
                yield _as_window(connection, rows[first : first + _WINDOW_ROWS])
            held = sum(map(len, map(itemgetter(-1), rows)))
            fitting = _WINDOW_BYTES * len(rows) // max(held, 1)
            size = max(1, min(_ROWS_PER_STATEMENT[connection.vendor], 2 * size, fitting))
            low = high
        else:
            following = first_at(connection, stream_id, high, stop)
            if following is None:
                return
            low = following


def read_hash(connection: BaseDatabaseWrapper, stream_id: int | None, sequence: int) -> str | None:
    """Return the stored hash at a place in a stream."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT hash {_FROM} AND sequence = %s", [stream_id, sequence])
        row = cursor.fetchone()
    return None if row is None else _hex_or_what(row[0])


def answers(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database can still be asked after an error: it is there, and so is the work."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return True
    except DatabaseError:
        return False


def find_orphans(connection: BaseDatabaseWrapper) -> list[Finding]:
    """Return a `missing_stream` finding for each group of entries without a stream row."""
    with connection.cursor() as cursor:
        with _any_text(connection):
            cursor.execute(_ORPHANS.format(number=_IS_NUMBER[connection.vendor]))
            ids = [row[0] for row in cursor.fetchall()]
        conditions = [(_from_orphans(stream_id), [stream_id]) for stream_id in ids]
        conditions.append(("FROM nucleus_ledger_entry WHERE stream_id IS NULL", []))
        findings = []
        for condition, parameters in conditions:
            row = None
            if not any(isinstance(each, str) and not each.isascii() for each in parameters):
                with _any_text(connection):
                    cursor.execute(
                        f"{_SELECT[connection.vendor]}{condition} ORDER BY sequence LIMIT 1",
                        parameters,
                    )
                    row = cursor.fetchone()
            stream_id = parameters[0] if parameters else None
            if row is not None:
                findings.append(_orphan(next(_as_window(connection, [row]).rows()), stream_id))
            elif parameters:
                findings.append(_orphan(None, stream_id))
    return findings


def _from_orphans(stream_id: object) -> str:
    """Return where to read what bears a key; text that reads as a number finds no number's rows."""
    return f"{_FROM} AND typeof(stream_id) = 'text'" if isinstance(stream_id, str) else _FROM


def _orphan(row: Row | None, stream_id: object) -> Finding:
    """Requires a row unless the key that entries bear cannot even be asked for."""
    name = stream_name(f"#{stream_id!a}")
    if row and hashing.hash_text(row.serialized) == row.hash:
        try:
            document = canonical.loads(row.serialized)
        except Deserialization:
            document = None
        if isinstance(document, dict) and isinstance(document.get("stream"), str):
            name = str(document["stream"])[:200]
    sequence = row.sequence if row and type(row.sequence) is int else None
    return Finding(
        "missing_stream",
        name,
        sequence,
        None,
        (),
        None,
        evidence(ascii(stream_id)),
        "entries stand here without a row of their stream",
    )


def _rows(
    connection: BaseDatabaseWrapper,
    stream_id: int | None,
    low: int | None,
    high: int,
    most: int | None,
) -> list[tuple[Any, ...]] | None:
    """Return the rows of a range; None where one of them has a text of over `most` bytes."""
    columns = _SELECT[connection.vendor]
    if most is not None:  # the database leaves out what would be too much to hold
        fits = f"CASE WHEN {_SIZE[connection.vendor]} <= {most} THEN"
        columns = _DOCUMENT.sub(rf"{fits} \g<0> END", columns)
    condition = " AND sequence < %s" if low is None else " AND sequence >= %s AND sequence < %s"
    parameters = [stream_id, high] if low is None else [stream_id, low, high]
    statement = columns + _RANGE[connection.vendor].format(condition)
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        except DatabaseError:
            if connection.vendor != "sqlite":
                raise
            with _any_text(connection):
                cursor.execute(statement, parameters)
                rows = cursor.fetchall()
    types = set(map(type, map(itemgetter(-1), rows)))
    if most is not None and type(None) in types:
        return None
    if not types <= {str}:  # SQLite, tampered with
        rows = [(*row, text if isinstance(text, str) else ascii(text)) for *row, text in rows]
    if len(set(map(itemgetter(0), rows))) < len(rows):
        ties = groupby(rows, key=itemgetter(0))
        rows = [row for _, tie in ties for row in sorted(tie, key=_among_equals)]
    return rows


def _among_equals(row: tuple[Any, ...]) -> tuple[str, ...]:
    """Return what breaks a tie, so that a tampered stream gives the same findings every time.

    And on every database: by what the columns say, and not by how each writes it.
    """
    _sequence, record_id, timestamp, payload, meta, prev_hash, hash_, serialized = row
    digits = (
        each if isinstance(each, str) else str(_hex_or_what(each)) for each in (hash_, prev_hash)
    )
    documents = (str((canonical.reprint_each([each]) or [each])[0]) for each in (payload, meta))
    return (*digits, serialized, ascii(record_id), ascii(timestamp), *documents)


def first_at(
    connection: BaseDatabaseWrapper, stream_id: int | None, low: int, high: int
) -> int | None:
    """Return the lowest sequence of a row with low <= sequence < high."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT MIN(sequence) {_FROM} AND sequence >= %s AND sequence < %s",
            [stream_id, low, high],
        )
        found = cursor.fetchone()[0]
    return None if found is None else int(found)


def _as_window(connection: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> Window:
    """Turn rows as the driver gives them into columns, with the hashes as hex digits."""
    window = Window(*zip(*rows, strict=True))
    if connection.vendor == "postgresql":  # gives digits
        return window
    hashes = _hex(window.hash)
    if window.prev_hash[1:] == window.hash[:-1]:  # as nearly always: half the work
        links = [*_hex(window.prev_hash[:1]), *hashes[:-1]]
    else:
        links = _hex(window.prev_hash)
    return window._replace(prev_hash=links, hash=hashes)


def _hex(column: Sequence[Any]) -> list[Any]:
    try:
        return list(map(bytes.hex, column))
    except TypeError:  # a null, or what only a tampered column holds: shown as what it is
        return [_hex_or_what(value) for value in column]


def _hex_or_what(value: Any) -> str | None:
    if value is None:
        return None
    return bytes(value).hex() if isinstance(value, (bytes, memoryview)) else ascii(value)


def _name(name: Any) -> str:
    """Return a stream's name, also where what stands there cannot be one."""
    try:
        if isinstance(name, str) and name.encode():
            return stream_name(name)
    except UnicodeEncodeError:
        pass
    return stream_name(ascii(name))


@contextmanager
def _any_text(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let SQLite hand over text that is no UTF-8, to be found rather than to stop the walk."""
    if connection.vendor != "sqlite":
        yield
        return
    raw = connection.connection
    before, raw.text_factory = raw.text_factory, _decode_anything
    try:
        yield
    finally:
        raw.text_factory = before


def _decode_anything(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
