"""Findings that an owner put on record in `nucleus.incidents`.

An acknowledgement settles the history up to the length it names: a later full verification that
finds exactly the same there, and nothing behind, is acknowledged and not tampered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import NoneType
from typing import Any

from django.apps import apps
from django.db import connections

from nucleus_ledger import rowsource
from nucleus_ledger.conf import INCIDENTS
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.chain import Finding, Head
from nucleus_ledger.errors import Deserialization

TYPE = "findings_acknowledged"
_STATE = ("length", "head_hash", "root", "not_before")
_TYPES: dict[str, tuple[type, ...]] = {
    "digest": (str,),
    "stream": (str,),
    "ledger": (str,),
    "length": (int,),
    "head_hash": (str, NoneType),
    "head_timestamp": (int, NoneType),
    "beyond": (bool,),
}


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What one full run found, and the head as it stood at that run.

    `digest` is of what the walk over the entries found. `outside` says what else found something:
    the states, recorded by checkpoints or seen by an earlier run, that the stream is not in.
    `lifts` is the key of the run whose stored break is on record with it.
    """

    head: Head
    digest: str
    outside: tuple[str, ...] = ()
    lifts: int | None = None


def payload(head: Head, digest: str, **details: Any) -> dict[str, Any]:
    """Return the payload of an acknowledgement's entry; `read` is its inverse."""
    return {
        "type": TYPE,
        "stream": head.stream,
        "ledger": head.ledger,
        "length": head.length,
        "head_hash": head.head_hash,
        "head_timestamp": head.head_timestamp,
        "beyond": head.beyond,
        "digest": digest,
        **details,
    }


def found_by(finding: Finding) -> str:
    """Return by what state of the stream something was found that the walk alone does not show.

    Not by which checkpoint: newer ones of the same log record the same state.
    """
    expected = finding.expected
    if isinstance(expected, dict):
        state = {name: value for name, value in expected.items() if name in _STATE}
        expected = dict(sorted(state.items()))
    return json.dumps([finding.kind, finding.sequence, expected], default=ascii)


def read_all(using: str) -> dict[str, tuple[Acknowledgement, ...]]:
    """Return the acknowledgements of each stream, oldest first, as the entries' texts say them.

    By the texts alone: the columns may hold no JSON, or other JSON. An entry whose text does not
    have its hash, or is not of the shape that `payload` gives, acknowledges nothing.
    """
    streams = apps.get_model("nucleus_ledger", "Stream")._base_manager.using(using)
    found: dict[str, tuple[Acknowledgement, ...]] = {}
    for key in streams.filter(name=INCIDENTS).order_by("pk").values_list("pk", flat=True):
        for window in rowsource.read_windows(connections[using], key, 0, None):
            for serialized, digest in zip(window.serialized, window.hash, strict=True):
                acknowledgement = _read(serialized, digest)
                if acknowledgement:
                    name = acknowledgement.head.stream
                    found[name] = (*found.get(name, ()), acknowledgement)
    return found


def _read(serialized: str, digest: Any) -> Acknowledgement | None:
    if TYPE not in serialized or hashing.hash_text(serialized) != digest:
        return None
    try:
        parsed = canonical.loads(serialized)["payload"]
        if parsed["type"] != TYPE:
            return None
        values = [parsed[name] for name in _TYPES]
    except (Deserialization, KeyError, TypeError):
        return None
    # What is compared and counted with later is of the type that it is compared with.
    if any(type(value) not in types for value, types in zip(values, _TYPES.values(), strict=True)):
        return None
    digest, *head = values
    walked = parsed.get("walked", digest)
    if type(walked) is not str:
        return None
    return Acknowledgement(Head(*head), walked, _texts(parsed), _whole(parsed.get("lifts")))


def _texts(said: dict[str, Any]) -> tuple[str, ...]:
    found = said.get("outside", [])
    return tuple(found) if isinstance(found, list) and all(type(x) is str for x in found) else ()


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
