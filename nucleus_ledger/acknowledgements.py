"""Findings that an owner put on record in `nucleus.incidents`.

An acknowledgement settles the history up to the length it names: a later full verification that
finds exactly the same there, and nothing behind, is acknowledged and not tampered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.apps import apps

from nucleus_ledger.conf import INCIDENTS
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.chain import Finding, Head
from nucleus_ledger.errors import Deserialization
from nucleus_ledger.keyset import rows_in_order

TYPE = "findings_acknowledged"
_STATE = ("length", "head_hash", "root", "not_before")


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
    lifts: int = 0


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

    An entry whose text does not have its hash acknowledges nothing.
    """
    streams = apps.get_model("nucleus_ledger", "Stream")._base_manager.using(using)
    # By key and not by a join: PostgreSQL would read the entries of all streams for that.
    keys = list(streams.filter(name=INCIDENTS).values_list("pk", flat=True))
    manager = apps.get_model("nucleus_ledger", "Entry")._base_manager.using(using)
    entries = manager.filter(stream_id__in=keys, payload__type=TYPE)
    found: dict[str, tuple[Acknowledgement, ...]] = {}
    for serialized, digest in rows_in_order(
        entries, ("stream_id", "sequence"), ("serialized", "hash")
    ):
        acknowledgement = _read(serialized, digest)
        if acknowledgement:
            name = acknowledgement.head.stream
            found[name] = (*found.get(name, ()), acknowledgement)
    return found


def _read(serialized: str, digest: Any) -> Acknowledgement | None:
    if hashing.hash_text(serialized) != digest:
        return None
    try:
        said = canonical.loads(serialized)["payload"]
        head = Head(
            said["stream"],
            said["ledger"],
            said["length"],
            said["head_hash"],
            said["head_timestamp"],
            said["beyond"],
        )
        return Acknowledgement(
            head, said.get("walked", said["digest"]), _texts(said), _whole(said.get("lifts"))
        )
    except (Deserialization, KeyError, TypeError):
        return None


def _texts(said: dict[str, Any]) -> tuple[str, ...]:
    found = said.get("outside", [])
    return tuple(found) if isinstance(found, list) and all(type(x) is str for x in found) else ()


def _whole(value: Any) -> int:
    return value if type(value) is int else 0
