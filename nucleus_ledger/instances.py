"""Gives callers of an append the instances that a reload would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

from nucleus_ledger import drafting
from nucleus_ledger.core import canonical
from nucleus_ledger.drafting import Draft, LockedStream

if TYPE_CHECKING:
    from nucleus_ledger.models import Entry, Stream

    _Model = TypeVar("_Model", Entry, Stream)


def settle(drafts: Sequence[Draft], streams: Mapping[str, LockedStream], using: str) -> None:
    """Give each draft its entry, as a reload would give it."""
    entry_model, stream_model = drafting.models()
    making = [pre_init, post_init]
    listened = any(
        signal.has_listeners(m) for signal in making for m in (entry_model, stream_model)
    )
    load = _load_with_signals if listened else _load
    shared: dict[str, Stream] = {}
    payloads = canonical.loads_each([draft.payload_text for draft in drafts])
    metas = iter(canonical.loads_each([d.meta_text for d in drafts if d.meta_text is not None]))
    for draft, payload in zip(drafts, payloads, strict=True):
        locked = streams[draft.record.stream]
        stream = draft.stream or shared.get(locked.name)
        if draft.instance is not None:
            stream = draft.instance.stream
        if stream is None:
            stream = shared[locked.name] = load(stream_model, locked.values(), using)
        elif stream is not shared.get(locked.name):
            _refresh(stream, locked.values(), using)
        values = {
            "hash": draft.hash,
            "stream_id": locked.id,
            "sequence": draft.sequence,
            "record_id": draft.record_id,
            "timestamp": draft.timestamp,
            "payload": payload,
            "meta": None if draft.meta_text is None else next(metas),
            "prev_hash": draft.prev_hash,
            "serialized": draft.serialized,
            "is_new": True,
        }
        if draft.instance is None:
            draft.instance = load(entry_model, values, using)
        else:
            _refresh(draft.instance, values, using)
        draft.instance._state.fields_cache["stream"] = stream


def _refresh(instance: Entry | Stream, values: dict[str, Any], using: str) -> None:
    """Make an instance what a reload would give."""
    instance.__dict__.update(values)
    instance._state.adding, instance._state.db = False, using


def _load(model: type[_Model], values: dict[str, Any], using: str) -> _Model:
    """Return an instance as read from the database; `values` has all fields, and is kept.

    It is put together as unpickling does it, which takes a third of the time of `__init__`.
    """
    instance = model.__new__(model)
    instance.__dict__ = values
    instance._state = state = ModelState()
    state.adding, state.db = False, using
    return instance


def _load_with_signals(model: type[_Model], values: dict[str, Any], using: str) -> _Model:
    fields = [field.attname for field in model._meta.concrete_fields]
    instance = model.from_db(using, fields, [values[field] for field in fields])
    instance.__dict__.update(values)
    return instance
