"""The plain SQL of an append, and rows ready for it: what the package's appends are held against.

Written out here and not imported, so that the baseline stays what it is when the package changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from benchmarks import streams
from benchmarks.harness import ALIAS
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.models import Stream

ReadyRow = tuple[Any, ...]

_HEAD = """id, ledger, length, head_hash, head_timestamp,
  (SELECT status.result FROM nucleus_ledger_streamstatus status WHERE status.stream_id = {0}.id)"""
LOCK = {
    "postgresql": f"SELECT {_HEAD.format('stream')} FROM nucleus_ledger_stream stream "
    "WHERE name = %s FOR NO KEY UPDATE",
    "sqlite": "UPDATE nucleus_ledger_stream SET length = length WHERE name = %s "
    f"RETURNING {_HEAD.format('nucleus_ledger_stream')}",
}
_COLUMNS = "hash, stream_id, sequence, record_id, timestamp, payload, meta, prev_hash, serialized"
_INSERT = f"INSERT INTO nucleus_ledger_entry ({_COLUMNS}) VALUES "
INSERT = {
    "postgresql": f"{_INSERT}(%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s)",
    "sqlite": f"{_INSERT}(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
}
MOVE_HEAD = (
    "UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s "
    "WHERE id = %s"
)


@dataclass(slots=True)
class Chain:
    """Where a stream stands; `extend` moves it along without the database."""

    name: str
    id: int
    ledger: str
    length: int
    hash: bytes | None
    timestamp: int

    @classmethod
    def of(cls, name: str) -> Chain:
        """Read the head of a stream, which is made if it is not there."""
        stream = Stream.objects.filter(name=name).first() or Stream.objects.create(name=name)
        head = bytes.fromhex(stream.head_hash) if stream.head_hash else None
        return cls(name, stream.pk, stream.ledger, stream.length, head, stream.head_timestamp or 0)

    def extend(self, records: Iterable[Mapping[str, Any]]) -> list[ReadyRow]:
        """Return the rows that an honest writer would insert behind the head for these records."""
        return [self._row(record) for record in records]

    def _row(self, record: Mapping[str, Any]) -> ReadyRow:
        self.timestamp = max(self.timestamp, record["timestamp"])
        record_id = record.get("record_id") or hashing.new_record_id(self.timestamp)
        payload, meta = canonical.dumps(record["payload"]), canonical.dumps(record["meta"])
        before = self.hash
        serialized = hashing.EntryForm(self.ledger, self.name).text(
            self.length, record_id, self.timestamp, payload, meta, before.hex() if before else None
        )
        self.hash = bytes.fromhex(hashing.hash_text(serialized))
        row = (
            self.hash, self.id, self.length, record_id, self.timestamp, payload, meta, before,
            serialized,
        )  # fmt: skip
        self.length += 1
        return row


def ready_rows(name: str, count: int) -> list[ReadyRow]:
    """Return rows that can be inserted behind a stream's head now; others every time."""
    chain = Chain.of(name)
    return chain.extend(streams.records(name, chain.length, count))


def append_ready(name: str, rows: Iterable[ReadyRow]) -> None:
    """Append rows one by one with three statements each, in the caller's transaction."""
    connection = connections[ALIAS]
    lock, insert = LOCK[connection.vendor], INSERT[connection.vendor]
    for row in rows:
        with connection.cursor() as cursor:
            cursor.execute(lock, [name])
            cursor.fetchall()
            cursor.execute(insert, row)
            cursor.execute(MOVE_HEAD, [row[2] + 1, row[0], row[4], row[1]])


def load_ready(rows: Sequence[ReadyRow]) -> None:
    """Insert rows in the fastest way the driver has: `executemany`, or COPY."""
    connection = connections[ALIAS]
    raw: Any = connection.connection
    if connection.vendor == "sqlite":
        raw.executemany(INSERT["sqlite"].replace("%s", "?"), rows)
        return
    with (
        raw.cursor() as cursor,
        cursor.copy(f"COPY nucleus_ledger_entry ({_COLUMNS}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def move_head(chain: Chain) -> None:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(MOVE_HEAD, [chain.length, chain.hash, chain.timestamp, chain.id])
