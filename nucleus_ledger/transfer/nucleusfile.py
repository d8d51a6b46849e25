"""Reads a ledger file of the reference engine (Nucleus, SQLite), and judges every row of it.

By that engine's rule: the hash of a row is that of its record. By stricter ones, of which that
engine sees nothing: columns say what the record says, links follow the row before, ids are unique.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nucleus_ledger.core import nucleusrule
from nucleus_ledger.core.nucleusrule import NucleusRecord
from nucleus_ledger.core.repeated_keys import find_repeated_key
from nucleus_ledger.errors import Deserialization, InvalidData

_COLUMNS = "rowid, hash, prev_hash, record_id, stream, timestamp, payload, meta, serialized"


@dataclass(frozen=True, slots=True)
class RowFinding:
    """One thing wrong with a row. `fatal`: the record itself cannot be told, or not be ours."""

    row: int
    kind: str
    message: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"row {self.row}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row with its record (None where it has none that can be read) and what is wrong with it.

    `tie`: its time is that of the row before, which that engine refuses to load.
    """

    row: int
    record: NucleusRecord | None
    hash: Any
    findings: tuple[RowFinding, ...]
    tie: bool


def judge(path: Path) -> Iterator[JudgedRow]:
    """Yield the rows of a file in the order of their row ids, which is the order of appending.

    The file is opened for reading only. Raises `InvalidData` where it is no such ledger.
    """
    try:
        with closing(_open(path)) as connection:
            before: tuple[Any, Any] = (None, None)
            seen: set[tuple[str, str]] = set()
            for row in connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY rowid"):
                judged = _judge(row, before, seen)
                yield judged
                time = judged.record.timestamp if judged.record else None
                before = (judged.hash, time)
    except sqlite3.Error as exc:
        raise InvalidData(f"{path} is no ledger of that engine: {exc}") from exc


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise InvalidData(f"{path}: there is no such file")
    # Without a journal beside it nothing else is part of the database, and nothing is made there.
    journal = Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists()
    mode = "mode=ro" if journal else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True)
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return connection


def _judge(row: tuple[Any, ...], before: tuple[Any, Any], seen: set[tuple[str, str]]) -> JudgedRow:
    number, hash_, prev_hash, record_id, stream, timestamp, payload, meta, serialized = row
    found: list[RowFinding] = []

    def add(kind: str, message: str, *, fatal: bool = False) -> None:
        found.append(RowFinding(number, kind, message, fatal))

    if before[0] != prev_hash:
        add("link_broken", f"it names {prev_hash!a} as the hash before, which is {before[0]!a}")
    try:
        record = nucleusrule.parse(serialized)
    except (Deserialization, TypeError, AttributeError, UnicodeError) as exc:
        add("undecodable", str(exc), fatal=True)
        return JudgedRow(number, None, hash_, tuple(found), False)
    if record.hash != hash_:
        add("hash_mismatch", f"stored {hash_!a}, and the record's is {record.hash}", fatal=True)
    for name, text in (("serialized", serialized), ("payload", payload), ("meta", meta)):
        repeated = _repeated_key(text)
        if repeated:  # that engine reads the last of them, other parsers the first
            add("repeated_key", f"in the column {name}: {repeated}")
    columns = {
        "record_id": (record.id, record_id),
        "stream": (record.stream, stream),
        "timestamp": (record.timestamp, timestamp),
        "payload": (record.payload, _document(payload)),
        "meta": (record.meta, _document(meta)),
    }
    for name, (said, column) in columns.items():
        if not _same(said, column):
            add("field_mismatch", f"the column {name} says otherwise than the record")
    if (record.stream, record.id) in seen:
        add("duplicate_record", f"stream {record.stream!r} has {record.id!r} twice", fatal=True)
    seen.add((record.stream, record.id))
    if before[1] is not None and record.timestamp < before[1]:
        add("timestamp_out_of_order", "its time is before that of the row before")
    tie = before[1] is not None and record.timestamp == before[1]
    return JudgedRow(number, record, hash_, tuple(found), tie)


def _repeated_key(text: Any) -> str | None:
    with suppress(Deserialization, TypeError):  # what is no JSON is told elsewhere
        return find_repeated_key(text)
    return None


def _document(column: Any) -> Any:
    if column is None:
        return None
    try:
        return nucleusrule.loads(column)
    except (Deserialization, TypeError, AttributeError):
        return ...  # equal to nothing


def _same(said: Any, column: Any) -> bool:
    """Whether a column says the same: 1 is not 1.0 there, nor is it true."""
    if said is None or column is None or column is ...:
        return said is column
    if not isinstance(said, (dict, list)):
        return type(said) is type(column) and bool(said == column)
    return isinstance(column, type(said)) and nucleusrule.dumps(said) == nucleusrule.dumps(column)
