"""The only module that inserts entries.

Protocol: lock the rows of the streams in the byte order of their names, decide everything under
the locks, then write; at most three statements for one entry, a fourth where the caller names the
record. The lock is held until the caller's transaction ends. On PostgreSQL one entry goes in by one
statement that does all of it, and does nothing but lock where there is something to decide.

Locking the last entry instead would fork the chain: the second of two waiting writers still sees
the old last row when it wakes up (READ COMMITTED, `ORDER BY sequence DESC LIMIT 1 FOR UPDATE`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, router, transaction
from django.db.models.signals import post_save, pre_save

from nucleus_ledger import drafting, instances, key_sequence, processes
from nucleus_ledger import modules as stream_modules
from nucleus_ledger.conf import INCIDENTS, conf
from nucleus_ledger.core.hashing import EntryForm
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.record import LABEL, Record, is_label
from nucleus_ledger.drafting import Draft, Limits, LockedStream
from nucleus_ledger.errors import (
    DuplicateRecord,
    IntegrityFailed,
    InvalidData,
    LedgerError,
    StreamConflict,
)
from nucleus_ledger.fields import shown

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    from nucleus_ledger.core.rebuilding import Row
    from nucleus_ledger.models import Entry, Stream

_HEAD = """id, ledger, length, head_hash, head_timestamp,
  (SELECT status.result FROM nucleus_ledger_streamstatus status WHERE status.stream_id = {0}.id)"""
_LOCK = {
    # A key share lock of the entries' foreign key does not wait for NO KEY UPDATE.
    "postgresql": f"SELECT {_HEAD.format('stream')} FROM nucleus_ledger_stream stream "
    "WHERE name = %s FOR NO KEY UPDATE",
    # SQLite locks by writing: a transaction that read first could not be upgraded under load.
    "sqlite": "UPDATE nucleus_ledger_stream SET length = length WHERE name = %s "
    f"RETURNING {_HEAD.format('nucleus_ledger_stream')}",
}
_NEW_STREAM = (
    "INSERT INTO nucleus_ledger_stream (name, ledger, length) VALUES (%s, %s, 0) "
    "ON CONFLICT DO NOTHING"
)
_COLUMNS = "hash, stream_id, sequence, record_id, timestamp, payload, meta, prev_hash, serialized"
_INSERT = (
    f"INSERT INTO nucleus_ledger_entry ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_COPY = f"COPY nucleus_ledger_entry ({_COLUMNS}) FROM STDIN"
_MOVE_HEAD = (
    "UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s "
    "WHERE id = %s"
)
# All of an append in one round trip, for PostgreSQL. The server puts the text together and hashes
# it, since only the locked row says what it follows; what it made is checked before it counts.
# What is not in order inserts nothing, and neither does what any unique index refuses.
_APPEND = f"""
WITH head AS (
  SELECT id, ledger, length, head_hash, head_timestamp,
    (SELECT status.result FROM nucleus_ledger_streamstatus status
     WHERE status.stream_id = stream.id)
  FROM nucleus_ledger_stream stream WHERE name = %s LIMIT 1 FOR NO KEY UPDATE
), place AS (
  SELECT id, length, head_hash, greatest(%s, head_timestamp) AS time FROM head
  WHERE ledger = %s AND length = coalesce(%s::bigint, length)
    AND coalesce(head_timestamp, 0) <= %s AND result IS DISTINCT FROM 'tampered'
), text AS (
  SELECT place.*, %s::text || coalesce('"' || encode(head_hash, 'hex') || '"', 'null')
    || %s::text || length::text || %s::text || time::text || '}}' AS serialized
  FROM place
), entry AS (
  INSERT INTO nucleus_ledger_entry ({_COLUMNS})
  SELECT sha256(convert_to(serialized, 'UTF8')), id, length, %s, time, %s::jsonb, %s::jsonb,
    head_hash, serialized
  FROM text ON CONFLICT DO NOTHING
  RETURNING stream_id, sequence, hash, timestamp, prev_hash
)
UPDATE nucleus_ledger_stream
SET length = sequence + 1, head_hash = hash, head_timestamp = timestamp
FROM entry WHERE id = stream_id RETURNING id, sequence, timestamp, prev_hash, hash
"""
_IDS_PER_QUERY = 500


def append_records(
    records: Sequence[Record | Mapping[str, Any]],
    *,
    using: str,
    idempotent: bool = False,
    expected_length: int | None = None,
    reserved: bool = False,
) -> list[Entry]:
    """Append all records or none, and return their entries in the same order.

    With `idempotent`, a record that is stored already, with equal content, gives the stored
    entry. `expected_length` needs all records to be of one stream. `reserved` is the ledger's own
    way into streams named `nucleus.…`.
    """
    batch = len(records) > 1
    entry_model, _ = drafting.models()
    announced = pre_save.has_listeners(entry_model)
    drafts = []
    index = 0
    try:
        for index, given in enumerate(records):
            draft = drafting.draft_of(given, index if batch else None)
            if announced:
                draft.instance = drafting.instance_of(draft.record)
                draft.record = _announce(draft.instance, using)
            drafts.append(draft)
    except LedgerError as exc:
        exc.index = index if batch else None
        raise
    if expected_length is not None and (type(expected_length) is not int or expected_length < 0):
        raise InvalidData(f"expected_length is not a whole number >= 0: {expected_length!r}")
    return _append(drafts, using, idempotent, expected_length, reserved)


def append_instance(instance: Entry, *, using: str) -> None:
    """Append an unsaved Entry, and fill in what the ledger computes."""
    drafting.refuse_computed(instance)
    instance.record_id = instance.record_id or None  # type: ignore[assignment]  # Django's default
    _append([Draft(_announce(instance, using), instance=instance)], using, False, None, False)


def create_stream(stream: Stream, *, using: str) -> None:
    """Insert an empty stream; raises `IntegrityError` if there is one of that name."""
    pre_save.send(type(stream), instance=stream, raw=False, using=using, update_fields=None)
    if not is_label(stream.name):
        raise InvalidData(f"name is not {LABEL}: {stream.name!r:.300}")
    stream.name = str.__str__(stream.name)  # a subclass may be written otherwise by a driver
    drafting.check_reserved(stream.name, reserved=False)
    if stream.length or stream.head_hash or stream.head_timestamp or stream.ledger:
        raise InvalidData("a new stream has a name only: the ledger gives the rest")
    connection, ledger = processes.own(using), conf.ledger_of(using)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute(f"{_NEW_STREAM} RETURNING id", [stream.name, ledger])
        row = cursor.fetchone()
        if row is None:
            key_sequence.refuse_clash(cursor, connection.vendor, stream.name)
            raise IntegrityError(f"a stream named {stream.name!r} exists")
    stream.pk, stream.ledger = row[0], ledger
    stream._state.adding, stream._state.db = False, using
    post_save.send(
        type(stream), instance=stream, created=True, update_fields=None, raw=False, using=using
    )


def restore(using: str, name: str, ledger: str, rows: Sequence[Row]) -> None:
    """Insert verified rows of a bundle as they are, behind those of the stream; in a transaction.

    Makes the stream, of that ledger, where there is none. Requires the rows to follow its head.
    """
    connection = processes.own(using)
    with connection.cursor() as cursor:
        cursor.execute(_NEW_STREAM, [name, ledger])
        stream = _lock(cursor, connection.vendor, name)
        for row in rows:
            draft = Draft(Record(name, None), payload_text=row.payload, meta_text=row.meta)
            draft.sequence, draft.record_id = row.sequence, row.record_id
            draft.timestamp, draft.prev_hash = row.timestamp, row.prev_hash
            draft.hash, draft.serialized = row.hash, row.serialized
            stream.drafts.append(draft)
            stream.length, stream.head_timestamp = row.sequence + 1, row.timestamp
        _write(connection, cursor, stream)


def database_of(instance: Entry | Stream, *, using: str | None) -> str:
    return using or router.db_for_write(type(instance), instance=instance)


def _append(
    drafts: list[Draft],
    using: str,
    idempotent: bool,
    expected_length: int | None,
    reserved: bool,
) -> list[Entry]:
    if not drafts:
        return []
    modules = stream_modules.load_modules()
    limits = Limits.configured()
    drafting.prepare(drafts, modules, limits, reserved)
    names = sorted({draft.record.stream for draft in drafts}, key=str.encode)
    if expected_length is not None and len(names) > 1:
        raise InvalidData("expected_length needs all records to be of one stream")
    connection = processes.own(using)
    with _transaction(connection), connection.cursor() as cursor:
        streams = {}
        if connection.vendor == "postgresql" and len(drafts) == 1:
            with transaction.mark_for_rollback_on_error(using):
                streams = _append_at_once(cursor, drafts[0], limits, expected_length)
        if not streams:
            streams = {name: _lock(cursor, connection.vendor, name) for name in names}
            for stream in streams.values():
                _refuse_broken(stream, using, reserved)
            _decide(drafts, streams, cursor, using, limits, idempotent, expected_length)
            with transaction.mark_for_rollback_on_error(using):
                for stream in streams.values():
                    _write(connection, cursor, stream)
        new = [draft for draft in drafts if draft.stored is None and draft.same_as is None]
        instances.settle(new, streams, using)
        entries = [draft.instance for draft in new]
        acting = [module for module in modules if module.acts_after_append()]
        if acting and entries:
            transaction.on_commit(
                partial(stream_modules.after_append, entries, acting), using=using, robust=True
            )
    entry_model, _ = drafting.models()
    if post_save.has_listeners(entry_model):
        for entry in entries:
            post_save.send(
                entry_model,
                instance=entry,
                created=True,
                update_fields=None,
                raw=False,
                using=using,
            )
    return [_result(draft) for draft in drafts]


def _announce(instance: Entry, using: str) -> Record:
    """Let receivers of `pre_save` have their say, and read off the instance what is to be saved."""
    pre_save.send(type(instance), instance=instance, raw=False, using=using, update_fields=None)
    return drafting.record_of(instance)


@contextmanager
def _transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Join the caller's transaction or open one; never a savepoint.

    `atomic(savepoint=False)` would not do: a refusal inside it dooms the caller's transaction.
    """
    if connection.in_atomic_block:
        yield
    else:
        with transaction.atomic(using=connection.alias):
            yield


def _append_at_once(
    cursor: CursorWrapper, draft: Draft, limits: Limits, expected_length: int | None
) -> dict[str, LockedStream]:
    """Append to a stream that is in order, and return it.

    Empty where it is not, or the draft is not, or its record is there already: the long way
    decides that and says it. The stream is locked then, if there is one.
    """
    name, ledger = draft.record.stream, conf.ledger_of(cursor.db.alias)
    form = EntryForm(ledger, name)
    parts = drafting.parts_ahead(draft, form, limits)
    if parts is None:
        return {}
    given = draft.record.timestamp is not None
    cursor.execute(
        _APPEND,
        [
            name,
            draft.timestamp,
            ledger,
            expected_length,
            draft.timestamp if given else MAX_SAFE_INTEGER,
            *parts,
            draft.record_id,
            draft.payload_text,
            draft.meta_text,
        ],
    )
    row = cursor.fetchone()
    if row is None:
        return {}
    stream_id, sequence, draft.timestamp, prev_hash, hash_ = row
    head = None if prev_hash is None else shown(prev_hash)
    stream = LockedStream(name, stream_id, ledger, sequence, head, None, None)
    drafting.put_behind(draft, stream, form, limits)
    if draft.hash != shown(hash_):
        raise IntegrityFailed(
            f"the database stored {shown(hash_)} as the hash of an entry of {name!r} "
            f"where {draft.hash} is right"
        )
    return {name: stream}


def _lock(cursor: CursorWrapper, vendor: str, name: str) -> LockedStream:
    """Lock a stream's row, making it if it is missing, and read its head under the lock."""
    cursor.execute(_LOCK[vendor], [name])
    rows = cursor.fetchall()
    if not rows:
        cursor.execute(_NEW_STREAM, [name, conf.ledger_of(cursor.db.alias)])
        cursor.execute(_LOCK[vendor], [name])
        rows = cursor.fetchall()
    if not rows:
        key_sequence.refuse_clash(cursor, vendor, name)
        # REPEATABLE READ: somebody made it after this transaction's snapshot
        raise OperationalError(f"could not serialize access: stream {name!r} was just created")
    stream_id, ledger, length, head_hash, head_timestamp, result = rows[0]
    head = None if head_hash is None else shown(head_hash)
    return LockedStream(name, stream_id, ledger, length, head, head_timestamp, result)


def _refuse_broken(stream: LockedStream, using: str, reserved: bool) -> None:
    # Incidents are recorded even where the record of incidents is itself broken.
    if stream.result == "tampered" and not (reserved and stream.name == INCIDENTS):
        raise IntegrityFailed(
            f"stream {stream.name!r} is known to be broken: see its last verification. Put the "
            "true rows back and run `manage.py verify_ledger`; where they are lost, `manage.py "
            "acknowledge_findings` puts the findings on record"
        )
    if stream.ledger != conf.ledger_of(using) and stream.ledger not in conf.ledgers_of(using):
        raise IntegrityFailed(
            f"stream {stream.name!r} belongs to ledger {stream.ledger!r}, which is neither "
            f"LEDGER_ID nor one of FORMER_LEDGER_IDS"
        )


def _decide(
    drafts: list[Draft],
    streams: dict[str, LockedStream],
    cursor: CursorWrapper,
    using: str,
    limits: Limits,
    idempotent: bool,
    expected_length: int | None,
) -> None:
    """Refuse or place every draft. Nothing is written before all of them are placed."""
    for stream in streams.values():
        if expected_length is not None and stream.length != expected_length:
            raise StreamConflict(stream.name, expected_length, stream.length)
    named: dict[str, set[str]] = {name: set() for name in streams}
    for draft in drafts:
        if draft.record.record_id is not None:
            named[draft.record.stream].add(draft.record.record_id)
    stored = {
        name: _stored_entries(cursor, using, streams[name], sorted(ids))
        for name, ids in named.items()
    }
    forms = {stream.name: EntryForm(stream.ledger, stream.name) for stream in streams.values()}
    seen: dict[tuple[str, str], Draft] = {}
    # In the caller's order, so that of several refusals the first record's is told.
    try:
        for draft in drafts:
            name = draft.record.stream
            if not _is_duplicate(draft, stored[name], seen, idempotent):
                drafting.place(draft, streams[name], forms[name], limits)
    except LedgerError as exc:
        exc.index = draft.index
        raise


def _stored_entries(
    cursor: CursorWrapper, using: str, stream: LockedStream, ids: list[str]
) -> dict[str, Entry]:
    hashes: list[str] = []
    if not stream.length:  # nothing is stored; a row behind the head's back hits the constraint
        return {}
    for start in range(0, len(ids), _IDS_PER_QUERY):
        part = ids[start : start + _IDS_PER_QUERY]
        cursor.execute(
            "SELECT hash FROM nucleus_ledger_entry WHERE stream_id = %s "
            f"AND record_id IN ({', '.join(['%s'] * len(part))})",
            [stream.id, *part],
        )
        hashes.extend(shown(row[0]) for row in cursor.fetchall())
    entries: dict[str, Entry] = {}
    if hashes:
        manager = drafting.models()[0]._base_manager
        for start in range(0, len(hashes), _IDS_PER_QUERY):
            part = hashes[start : start + _IDS_PER_QUERY]
            found = manager.using(using).select_related("stream").filter(hash__in=part)
            entries.update((entry.record_id, entry) for entry in found)
    return entries


def _is_duplicate(
    draft: Draft,
    stored: dict[str, Entry],
    seen: dict[tuple[str, str], Draft],
    idempotent: bool,
) -> bool:
    record_id = draft.record.record_id
    if record_id is None:
        return False
    if record_id in stored:
        draft.stored = stored[record_id]
        equal = drafting.equals_stored(draft, stored[record_id])
    elif (draft.record.stream, record_id) in seen:
        draft.same_as = seen[draft.record.stream, record_id]
        equal = drafting.equals_draft(draft, draft.same_as)
    else:
        seen[draft.record.stream, record_id] = draft
        return False
    if not (equal and idempotent):
        raise DuplicateRecord(draft.record.stream, record_id, equal=equal)
    return True


def _write(connection: BaseDatabaseWrapper, cursor: CursorWrapper, stream: LockedStream) -> None:
    if not stream.drafts:
        return
    stream_id = stream.id
    rows = [
        (
            bytes.fromhex(draft.hash),
            stream_id,
            draft.sequence,
            draft.record_id,
            draft.timestamp,
            draft.payload_text,
            draft.meta_text,
            None if draft.prev_hash is None else bytes.fromhex(draft.prev_hash),
            draft.serialized,
        )
        for draft in stream.drafts
    ]
    head = (stream.length, rows[-1][0], stream.head_timestamp, stream_id)
    if len(rows) == 1:
        cursor.execute(_INSERT, rows[0])
    elif connection.vendor == "postgresql":
        with connection.wrap_database_errors, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
    else:
        cursor.executemany(_INSERT, rows)
    cursor.execute(_MOVE_HEAD, head)


def _result(draft: Draft) -> Entry:
    if draft.stored is not None:
        return draft.stored
    entry: Entry = (draft.same_as or draft).instance
    return entry
