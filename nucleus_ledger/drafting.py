"""Records on their way in: what can be decided of them without a lock, and their places."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.utils.functional import Promise

from nucleus_ledger.conf import RESERVED_PREFIX, conf
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.hashing import EntryForm
from nucleus_ledger.core.record import Record, check_shape, with_plain_labels
from nucleus_ledger.errors import InvalidData, LedgerError, Serialization
from nucleus_ledger.modules import Module, before_append, load_modules

if TYPE_CHECKING:
    from nucleus_ledger.models import Entry, Stream

_MOST_AROUND_PARTS = 66 + 19 + 16 + 1  # a hash in quotes, a bigint, a timestamp, a bracket


@dataclass(slots=True)
class Draft:
    """One entry on its way in; `index` is its place in a batch, `instance` what is to be saved."""

    record: Record
    index: int | None = None
    instance: Any = None
    stream: Stream | None = None  # where the caller named the stream by an instance
    payload_text: str = ""
    meta_text: str | None = None
    stored: Entry | None = None
    same_as: Draft | None = None
    sequence: int = -1
    record_id: str = ""
    timestamp: int = 0
    prev_hash: str | None = None
    hash: str = ""
    serialized: str = ""


class Limits(NamedTuple):
    """The settings that bound an entry, looked up once for all entries of a batch."""

    depth: int
    size: int
    clock_skew_ms: int

    @classmethod
    def configured(cls) -> Limits:
        return cls(*conf.entry_limits)

    def check_size(self, size: int) -> None:
        if size > self.size:
            raise Serialization(
                f"the entry takes {size} bytes; MAX_SERIALIZED_BYTES is {self.size}"
            )


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

    def values(self) -> dict[str, Any]:
        """Return what the columns of the stream's row hold now."""
        return {
            "id": self.id,
            "name": self.name,
            "ledger": self.ledger,
            "length": self.length,
            "head_hash": self.head_hash,
            "head_timestamp": self.head_timestamp,
        }


@cache
def models() -> tuple[type[Entry], type[Stream]]:
    """Return the models, which import this module's callers."""
    return apps.get_model("nucleus_ledger", "Entry"), apps.get_model("nucleus_ledger", "Stream")


def draft_of(record: Record | Mapping[str, Any], index: int | None) -> Draft:
    if not isinstance(record, Record):
        record = Record.from_mapping(record)
    stream: Any = record.stream
    if type(stream) is not str and isinstance(stream, models()[1]):
        return Draft(record._replace(stream=stream.name), index, stream=stream)
    return Draft(record, index)


def instance_of(record: Record) -> Entry:
    """Return an unsaved entry that says what a record says."""
    entry_model, stream_model = models()
    instance = entry_model(payload=record.payload, meta=record.meta)
    given: Any = record  # what is not given is chosen under the lock
    instance.record_id, instance.timestamp = given.record_id, given.timestamp
    # Not through the descriptor: the stream may not exist yet, and the router is not needed here.
    instance._state.fields_cache["stream"] = stream_model(name=record.stream)
    return instance


def record_of(instance: Entry) -> Record:
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


def check_instance(instance: Entry) -> None:
    """Refuse an unsaved Entry as an append of it would, but for what only its stream can tell."""
    refuse_computed(instance)
    record = record_of(instance)
    draft = Draft(record._replace(record_id=record.record_id or None))
    prepare([draft], load_modules(), Limits.configured(), reserved=False)


def refuse_computed(instance: Entry) -> None:
    """Refuse an instance that brings along what only the ledger can know."""
    computed = [
        name for name in ("hash", "sequence", "prev_hash", "serialized") if getattr(instance, name)
    ]
    if computed:
        raise InvalidData(f"{', '.join(computed)}: computed by the ledger, not to be given")


def prepare(
    drafts: Sequence[Draft], modules: Sequence[Module], limits: Limits, reserved: bool
) -> None:
    """Everything that can be refused without knowing the streams' heads.

    Of several refusals the first record's is raised.
    """
    handling: dict[str, list[Module]] = {}
    for number, draft in enumerate(drafts):
        try:
            _settle_record(draft, modules, handling, reserved)
        except LedgerError as exc:
            _write_texts(drafts[:number], limits)
            exc.index = draft.index
            raise
    _write_texts(drafts, limits)


def _settle_record(
    draft: Draft, modules: Sequence[Module], handling: dict[str, list[Module]], reserved: bool
) -> None:
    check_shape(draft.record)
    draft.record = with_plain_labels(draft.record)
    name = draft.record.stream
    check_reserved(name, reserved)
    if modules:
        if name not in handling:
            handling[name] = [module for module in modules if module.handles(name)]
        draft.record = with_plain_labels(before_append(draft.record, handling[name]))


def _write_texts(drafts: Sequence[Draft], limits: Limits) -> None:
    """Put the documents into canonical form, together where that is possible."""
    together = len(drafts) > 1 and _write_together(drafts, limits.depth)
    try:
        for draft in drafts:
            if not together:
                _write_text(draft, limits.depth)
            # The exact size is known under the lock; what is hopeless is refused before that.
            limits.check_size(len(draft.payload_text) + len(draft.meta_text or ""))
    except LedgerError as exc:
        exc.index = draft.index
        raise


def _write_together(drafts: Sequence[Draft], depth: int) -> bool:
    payloads = canonical.texts_of([draft.record.payload for draft in drafts], max_depth=depth)
    with_meta = [draft for draft in drafts if draft.record.meta is not None]
    metas = canonical.texts_of([draft.record.meta for draft in with_meta], max_depth=depth)
    if payloads is None or metas is None:
        return False
    for draft, text in zip(drafts, payloads, strict=True):
        draft.payload_text = text
    for draft, text in zip(with_meta, metas, strict=True):
        draft.meta_text = text
    return True


def _write_text(draft: Draft, depth: int) -> None:
    record = draft.record
    draft.payload_text = canonical.text_of(
        record.payload, path="payload", max_depth=depth, convert=_lazy_text
    )
    if record.meta is not None:
        draft.meta_text = canonical.text_of(
            record.meta, path="meta", max_depth=depth, convert=_lazy_text
        )


def _lazy_text(value: Any) -> object:
    """Return the text of a lazy string; a lazy value of another kind is not equal to its text."""
    if isinstance(value, Promise):
        text: object = str(value)
        if text == value:
            return text
    raise TypeError


def check_reserved(name: str, reserved: bool) -> None:
    if name.startswith(RESERVED_PREFIX) and not reserved:
        raise InvalidData(f"stream {name!r}: names beginning with {RESERVED_PREFIX!r} are reserved")


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


def place(draft: Draft, stream: LockedStream, form: EntryForm, limits: Limits) -> None:
    """Give a draft its time and id and its place behind the head, and move the head onto it."""
    draft.timestamp = _timestamp(draft.record.timestamp, stream.head_timestamp, limits)
    draft.record_id = draft.record.record_id or hashing.new_record_id(draft.timestamp)
    put_behind(draft, stream, form, limits)


def put_behind(draft: Draft, stream: LockedStream, form: EntryForm, limits: Limits) -> None:
    """Give a draft that has its time and id its place, and move the head onto it."""
    draft.sequence, draft.prev_hash = stream.length, stream.head_hash
    draft.serialized = form.text(
        draft.sequence,
        draft.record_id,
        draft.timestamp,
        draft.payload_text,
        draft.meta_text,
        draft.prev_hash,
    )
    data = draft.serialized.encode()
    limits.check_size(len(data))
    draft.hash = hashing.hash_bytes(data)
    stream.length += 1
    stream.head_hash, stream.head_timestamp = draft.hash, draft.timestamp
    stream.drafts.append(draft)


def parts_ahead(draft: Draft, form: EntryForm, limits: Limits) -> tuple[str, str, str] | None:
    """Return the parts of a draft's text before its place is known, giving it a time and an id.

    None where it can already be seen that the draft is to be refused.
    """
    now = _now()
    draft.timestamp = draft.record.timestamp or now
    draft.record_id = draft.record.record_id or hashing.new_record_id(draft.timestamp)
    parts = form.parts(draft.record_id, draft.payload_text, draft.meta_text)
    size = sum(len(part.encode()) for part in parts) + _MOST_AROUND_PARTS
    in_order = size <= limits.size and draft.timestamp <= now + limits.clock_skew_ms
    return parts if in_order else None


def _timestamp(given: int | None, head: int | None, limits: Limits) -> int:
    now = _now()
    if given is None:
        return max(now, head or 0)
    if head is not None and given < head:
        raise InvalidData(f"timestamp {given} lies before that of the previous entry, {head}")
    if given > now + limits.clock_skew_ms:
        raise InvalidData(
            f"timestamp {given} lies more than MAX_CLOCK_SKEW_MS ({limits.clock_skew_ms}) "
            f"ahead of now, {now}"
        )
    return given


def _now() -> int:
    return time.time_ns() // 1_000_000
