"""Records on their way in: what can be decided of them without a lock, and their places."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.utils.functional import Promise

from nucleus_ledger import modules as stream_modules
from nucleus_ledger.conf import RESERVED_PREFIX, conf
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.record import Record, check_shape
from nucleus_ledger.errors import InvalidData, LedgerError, Serialization

if TYPE_CHECKING:
    from nucleus_ledger.models import Entry


@dataclass(slots=True)
class Draft:
    """One entry on its way in; `index` is its place in a batch."""

    instance: Entry
    index: int | None = None
    record: Record = field(init=False)
    payload_text: str = field(init=False)
    meta_text: str | None = field(init=False)
    stored: Entry | None = None
    same_as: Draft | None = None
    sequence: int = -1
    record_id: str = ""
    timestamp: int = 0
    prev_hash: str | None = None
    hash: str = ""
    serialized: str = ""


@dataclass(slots=True)
class LockedStream:
    """A stream's head as read under its lock, moving along with the drafts."""

    name: str
    id: int
    ledger: str
    length: int
    head_hash: str | None
    head_timestamp: int | None
    result: str | None
    drafts: list[Draft] = field(default_factory=list)


def as_record(record: Record | Mapping[str, Any]) -> Record:
    return record if isinstance(record, Record) else Record.from_mapping(record)


def instance_of(record: Record) -> Entry:
    entry_model = apps.get_model("nucleus_ledger", "Entry")
    instance: Entry = entry_model(
        payload=record.payload,
        meta=record.meta,
    )
    given: Any = record  # what is not given is chosen under the lock
    instance.record_id, instance.timestamp = given.record_id, given.timestamp
    # Not through the descriptor: the stream may not exist yet, and the router is not needed here.
    if isinstance(record.stream, str):
        stream = apps.get_model("nucleus_ledger", "Stream")(name=record.stream)
    else:
        stream = record.stream
    instance._state.fields_cache["stream"] = stream
    return instance


def _record_of(instance: Entry) -> Record:
    """Read the record off an instance, after `pre_save` receivers had their say."""
    entry_model = type(instance)
    try:
        stream: Any = instance.stream
    except entry_model.stream.RelatedObjectDoesNotExist as exc:
        raise InvalidData("stream is missing") from exc
    return Record(
        stream=getattr(stream, "name", stream),
        payload=instance.payload,
        record_id=instance.record_id,
        timestamp=instance.timestamp,
        meta=instance.meta,
    )


def prepare(draft: Draft, modules: Sequence[stream_modules.Module], reserved: bool) -> None:
    """Everything that can be refused without knowing the stream's head."""
    record = _record_of(draft.instance)
    check_shape(record)
    check_reserved(record.stream, reserved)
    record = stream_modules.before_append(record, modules)
    depth = conf.max_depth
    draft.record = record
    draft.payload_text = canonical.dumps(
        canonical.plain(record.payload, path="payload", max_depth=depth, convert=_lazy_text)
    )
    draft.meta_text = None
    if record.meta is not None:
        draft.meta_text = canonical.dumps(
            canonical.plain(record.meta, path="meta", max_depth=depth, convert=_lazy_text)
        )
    # The exact size is known under the lock; what is hopeless is refused before taking it.
    _check_size(len(draft.payload_text) + len(draft.meta_text or ""))


def _lazy_text(value: object) -> object:
    if isinstance(value, Promise):
        return str(value)
    raise TypeError


def check_reserved(name: str, reserved: bool) -> None:
    if name.startswith(RESERVED_PREFIX) and not reserved:
        raise InvalidData(f"stream {name!r}: names beginning with {RESERVED_PREFIX!r} are reserved")


def _check_size(size: int) -> None:
    if size > conf.max_serialized_bytes:
        raise Serialization(
            f"the entry takes {size} bytes; MAX_SERIALIZED_BYTES is {conf.max_serialized_bytes}"
        )


def equals_stored(draft: Draft, entry: Entry) -> bool:
    meta = None if draft.meta_text is None else canonical.loads(draft.meta_text)
    return (
        canonical.same(canonical.loads(draft.payload_text), entry.payload)
        and canonical.same(meta, entry.meta)
        and draft.record.timestamp in (None, entry.timestamp)
    )


def equals_draft(draft: Draft, earlier: Draft) -> bool:
    return (
        draft.payload_text == earlier.payload_text
        and draft.meta_text == earlier.meta_text
        and draft.record.timestamp in (None, earlier.timestamp)
    )


def place(draft: Draft, stream: LockedStream) -> None:
    """Give a draft its place behind the head, and move the head onto it."""
    draft.timestamp = _timestamp(draft.record.timestamp, stream.head_timestamp)
    draft.sequence, draft.prev_hash = stream.length, stream.head_hash
    draft.record_id = draft.record.record_id or hashing.new_record_id(draft.timestamp)
    draft.serialized = hashing.serialize_entry(
        ledger=stream.ledger,
        stream=stream.name,
        sequence=draft.sequence,
        record_id=draft.record_id,
        timestamp=draft.timestamp,
        payload_text=draft.payload_text,
        meta_text=draft.meta_text,
        prev_hash=draft.prev_hash,
    )
    _check_size(len(draft.serialized.encode()))
    draft.hash = hashing.hash_text(draft.serialized)
    stream.length += 1
    stream.head_hash, stream.head_timestamp = draft.hash, draft.timestamp
    stream.drafts.append(draft)


def _timestamp(given: int | None, head: int | None) -> int:
    now = time.time_ns() // 1_000_000
    if given is None:
        return max(now, head or 0)
    if head is not None and given < head:
        raise InvalidData(f"timestamp {given} lies before that of the previous entry, {head}")
    if given > now + conf.max_clock_skew_ms:
        raise InvalidData(
            f"timestamp {given} lies more than MAX_CLOCK_SKEW_MS ({conf.max_clock_skew_ms}) "
            f"ahead of now, {now}"
        )
    return given


@contextmanager
def located(index: int | None) -> Iterator[None]:
    """Say in an error which record of a batch it is about."""
    try:
        yield
    except LedgerError as exc:
        exc.index = index
        raise
