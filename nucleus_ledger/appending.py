"""The only module that inserts entries.

Protocol: lock the rows of the streams in the byte order of their names, decide everything under
the locks, then write; at most three statements for one entry, a fourth where the caller names the
record. The lock is held until the caller's transaction ends.

Locking the last entry instead would fork the chain: the second of two waiting writers still sees
the old last row when it wakes up (READ COMMITTED, `ORDER BY sequence DESC LIMIT 1 FOR UPDATE`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import IntegrityError, OperationalError, connections, router, transaction
from django.db.models.signals import post_save, pre_save

from nucleus_ledger import drafting
from nucleus_ledger import modules as stream_modules
from nucleus_ledger.conf import INCIDENTS, conf
from nucleus_ledger.core import canonical
from nucleus_ledger.core.record import LABEL, Record, is_label
from nucleus_ledger.drafting import Draft, LockedStream
from nucleus_ledger.errors import DuplicateRecord, IntegrityFailed, InvalidData, StreamConflict
from nucleus_ledger.fields import shown

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

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
_INSERT = (
    "INSERT INTO nucleus_ledger_entry (hash, stream_id, sequence, record_id, timestamp, payload, "
    "meta, prev_hash, serialized) VALUES (%s, %s, %s, %s, %s, {0}, {0}, %s, %s)"
)
_JSON_PLACEHOLDER = {"postgresql": "%s::jsonb", "sqlite": "%s"}
_MOVE_HEAD = (
    "UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s "
    "WHERE id = %s"
)
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
    drafts = []
    for index, record in enumerate(records):
        place = index if batch else None
        with drafting.located(place):
            drafts.append(Draft(drafting.instance_of(drafting.as_record(record)), place))
    if expected_length is not None and (type(expected_length) is not int or expected_length < 0):
        raise InvalidData(f"expected_length is not a whole number >= 0: {expected_length!r}")
    return _append(drafts, using, idempotent, expected_length, reserved)


def append_instance(instance: Entry, *, using: str) -> None:
    """Append an unsaved Entry, and fill in what the ledger computes."""
    computed = [
        name for name in ("hash", "sequence", "prev_hash", "serialized") if getattr(instance, name)
    ]
    if computed:
        raise InvalidData(f"{', '.join(computed)}: computed by the ledger, not to be given")
    instance.record_id = instance.record_id or None  # type: ignore[assignment]  # Django's default
    _append([Draft(instance)], using, False, None, False)


def create_stream(stream: Stream, *, using: str) -> None:
    """Insert an empty stream; raises `IntegrityError` if there is one of that name."""
    pre_save.send(type(stream), instance=stream, raw=False, using=using, update_fields=None)
    if not is_label(stream.name):
        raise InvalidData(f"name is not {LABEL}: {stream.name!r:.300}")
    drafting.check_reserved(stream.name, reserved=False)
    if stream.length or stream.head_hash or stream.head_timestamp or stream.ledger:
        raise InvalidData("a new stream has a name only: the ledger gives the rest")
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(
            f"{_NEW_STREAM} RETURNING id",
            [stream.name, conf.ledger_id],
        )
        row = cursor.fetchone()
        if row is None:
            raise IntegrityError(f"a stream named {stream.name!r} exists")
    stream.pk, stream.ledger = row[0], conf.ledger_id
    stream._state.adding, stream._state.db = False, using
    post_save.send(
        type(stream), instance=stream, created=True, update_fields=None, raw=False, using=using
    )


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
    connection = connections[using]
    modules = stream_modules.load_modules()
    entry_model = type(drafts[0].instance)
    for draft in drafts:
        pre_save.send(
            entry_model, instance=draft.instance, raw=False, using=using, update_fields=None
        )
        with drafting.located(draft.index):
            drafting.prepare(draft, modules, reserved)
    names = sorted({draft.record.stream for draft in drafts}, key=str.encode)
    if expected_length is not None and len(names) > 1:
        raise InvalidData("expected_length needs all records to be of one stream")
    with _transaction(connection):
        streams = {name: _lock(connection, name) for name in names}
        for stream in streams.values():
            _refuse_broken(stream, reserved)
        _decide(drafts, streams, connection, idempotent, expected_length)
        with transaction.mark_for_rollback_on_error(using):
            for stream in streams.values():
                _write(connection, stream)
        new = [draft for draft in drafts if draft.stored is None and draft.same_as is None]
        _settle(new, streams, using)
        entries = [draft.instance for draft in new]
        if modules and entries:
            transaction.on_commit(
                partial(stream_modules.after_append, entries, modules), using=using, robust=True
            )
    for entry in entries:
        post_save.send(
            entry_model, instance=entry, created=True, update_fields=None, raw=False, using=using
        )
    return [_result(draft) for draft in drafts]


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


def _lock(connection: BaseDatabaseWrapper, name: str) -> LockedStream:
    """Lock a stream's row, making it if it is missing, and read its head under the lock."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK[connection.vendor], [name])
        rows = cursor.fetchall()
        if not rows:
            cursor.execute(_NEW_STREAM, [name, conf.ledger_id])
            cursor.execute(_LOCK[connection.vendor], [name])
            rows = cursor.fetchall()
    if not rows:  # REPEATABLE READ: somebody made it after this transaction's snapshot
        raise OperationalError(f"could not serialize access: stream {name!r} was just created")
    stream_id, ledger, length, head_hash, head_timestamp, result = rows[0]
    head = None if head_hash is None else shown(head_hash)
    return LockedStream(name, stream_id, ledger, length, head, head_timestamp, result)


def _refuse_broken(stream: LockedStream, reserved: bool) -> None:
    # Incidents are recorded even where the record of incidents is itself broken.
    if stream.result == "tampered" and not (reserved and stream.name == INCIDENTS):
        raise IntegrityFailed(
            f"stream {stream.name!r} is known to be broken: see its last verification; "
            f"`manage.py acknowledge_findings` is the way on"
        )
    if stream.ledger not in conf.accepted_ledgers:
        raise IntegrityFailed(
            f"stream {stream.name!r} belongs to ledger {stream.ledger!r}, which is neither "
            f"LEDGER_ID nor one of FORMER_LEDGER_IDS"
        )


def _decide(
    drafts: list[Draft],
    streams: dict[str, LockedStream],
    connection: BaseDatabaseWrapper,
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
        name: _stored_entries(connection, streams[name], sorted(ids)) for name, ids in named.items()
    }
    seen: dict[tuple[str, str], Draft] = {}
    # In the caller's order, so that of several refusals the first record's is told.
    for draft in drafts:
        name = draft.record.stream
        with drafting.located(draft.index):
            if not _is_duplicate(draft, stored[name], seen, idempotent):
                drafting.place(draft, streams[name])


def _stored_entries(
    connection: BaseDatabaseWrapper, stream: LockedStream, ids: list[str]
) -> dict[str, Entry]:
    hashes: list[str] = []
    if not stream.length:  # nothing is stored; a row behind the head's back hits the constraint
        return {}
    with connection.cursor() as cursor:
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
        manager = apps.get_model("nucleus_ledger", "Entry")._base_manager
        for start in range(0, len(hashes), _IDS_PER_QUERY):
            part = hashes[start : start + _IDS_PER_QUERY]
            found = manager.using(connection.alias).select_related("stream").filter(hash__in=part)
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


def _write(connection: BaseDatabaseWrapper, stream: LockedStream) -> None:
    if not stream.drafts:
        return
    binary = connection.Database.Binary  # type: ignore[attr-defined]
    insert = _INSERT.format(_JSON_PLACEHOLDER[connection.vendor])
    rows = [
        (
            binary(bytes.fromhex(draft.hash)),
            stream.id,
            draft.sequence,
            draft.record_id,
            draft.timestamp,
            draft.payload_text,
            draft.meta_text,
            None if draft.prev_hash is None else binary(bytes.fromhex(draft.prev_hash)),
            draft.serialized,
        )
        for draft in stream.drafts
    ]
    head = binary(bytes.fromhex(stream.drafts[-1].hash))
    with connection.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(insert, rows[0])
        else:
            cursor.executemany(insert, rows)
        cursor.execute(_MOVE_HEAD, [stream.length, head, stream.head_timestamp, stream.id])


def _settle(drafts: list[Draft], streams: dict[str, LockedStream], using: str) -> None:
    """Make the instances what a reload would give."""
    for draft in drafts:
        locked, instance = streams[draft.record.stream], draft.instance
        instance.hash, instance.prev_hash = draft.hash, draft.prev_hash
        instance.sequence, instance.record_id = draft.sequence, draft.record_id
        instance.timestamp, instance.serialized = draft.timestamp, draft.serialized
        instance.payload = canonical.loads(draft.payload_text)
        instance.meta = None if draft.meta_text is None else canonical.loads(draft.meta_text)
        instance._state.adding, instance._state.db, instance.is_new = False, using, True
        stream = instance.stream
        stream.pk, stream.ledger, stream.length = locked.id, locked.ledger, locked.length
        stream.head_hash, stream.head_timestamp = locked.head_hash, locked.head_timestamp
        stream._state.adding, stream._state.db = False, using
        instance.stream_id = locked.id
        instance._state.fields_cache["stream"] = stream  # the line above let go of it


def _result(draft: Draft) -> Entry:
    if draft.same_as is not None:
        return draft.same_as.instance
    return draft.instance if draft.stored is None else draft.stored
