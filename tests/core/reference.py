"""A slow, obvious walk over a whole chain at once, to judge the fast one by.

It holds all rows, and asks each question of DESIGN section 4 about a row and the one before it on
its own, in the words of the rules.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import rfc8785

from nucleus_ledger.core.chain import Head
from nucleus_ledger.core.rebuilding import Row

Found = list[tuple[Any, ...]]


class Seen(NamedTuple):
    """What the reference makes of one row that is neither repeated nor goes back."""

    row: Row
    gap: bool  # the entry before is missing
    matches: bool  # the stored hash is that of the text
    text: dict[str, Any] | None  # only where the hash matches and the text can be read
    in_place: bool  # the text says the same sequence as the column


def digest(row: Row) -> str:
    return hashlib.sha256(row.serialized.encode()).hexdigest()


def alike(a: Any, b: Any) -> bool:
    """Equal as JSON: by the canonical text, where true and 1 differ and 1 and 1.0 do not."""
    return bool(rfc8785.dumps(a) == rfc8785.dumps(b))


def see(rows: list[Row]) -> tuple[list[Seen], Found]:
    seen: list[Seen] = []
    repeated: Found = []
    for row in rows:
        wanted = seen[-1].row.sequence + 1 if seen else 0
        if row.sequence < wanted:
            repeated.append(("sequence_repeated", row.sequence))
            continue
        matches = digest(row) == row.hash
        text = json.loads(row.serialized) if matches else None
        in_place = text is not None and text["sequence"] == row.sequence
        seen.append(Seen(row, row.sequence > wanted, matches, text, in_place))
    return seen, repeated


def columns_apart(row: Row, text: dict[str, Any], stream: str) -> tuple[str, ...]:
    pairs = {
        "meta": (text.get("meta"), None if row.meta is None else json.loads(row.meta)),
        "payload": (text["payload"], json.loads(row.payload)),
        "prev_hash": (text["prev_hash"], row.prev_hash),
        "record_id": (text["id"], row.record_id),
        "sequence": (text["sequence"], row.sequence),
        "stream": (text["stream"], stream),
        "timestamp": (text["timestamp"], row.timestamp),
    }
    return tuple(name for name, (a, b) in pairs.items() if not alike(a, b))


def link_is_broken(seen: list[Seen], index: int) -> bool:
    this = seen[index]
    if this.text is None or not this.in_place or this.gap:
        return False
    if index == 0:
        return this.text["prev_hash"] is not None
    before = seen[index - 1]
    if before.matches and not before.in_place:
        return False
    return this.text["prev_hash"] not in (before.row.hash, digest(before.row))


def time_goes_back(seen: list[Seen], index: int) -> bool:
    this = seen[index]
    if this.text is None or not this.in_place:
        return False
    if index and seen[index - 1].matches and not seen[index - 1].in_place:
        return False
    times = [one.text["timestamp"] for one in seen[:index] if one.text and one.in_place]
    return bool(times) and this.text["timestamp"] < times[-1]


def judge(rows: list[Row], head: Head) -> Found:
    """Every finding, in no order; requires texts of entries of this stream and ledger."""
    seen, found = see(rows)
    for index, (row, gap, matches, text, _) in enumerate(seen):
        if gap:
            found.append(("sequence_gap", seen[index - 1].row.sequence + 1 if index else 0))
        if not matches:
            found.append(("hash_mismatch", row.sequence))
        if text is not None:
            if rfc8785.dumps(text) != row.serialized.encode():
                found.append(("not_canonical", row.sequence))
            if apart := columns_apart(row, text, head.stream):
                found.append(("field_mismatch", row.sequence, apart))
        if link_is_broken(seen, index):
            found.append(("link_broken", row.sequence))
        if time_goes_back(seen, index):
            found.append(("timestamp_out_of_order", row.sequence))
    if head_differs(seen, head):
        found.append(("head_mismatch", max(head.length - 1, 0)))
    return found


def head_differs(seen: list[Seen], head: Head) -> bool:
    if not seen:
        return (head.length, head.head_hash, head.head_timestamp) != (0, None, None)
    last = seen[-1]
    if last.row.sequence + 1 != head.length:
        return True
    misplaced = last.matches and not last.in_place
    if not misplaced and head.head_hash not in (last.row.hash, digest(last.row)):
        return True
    if last.text is None or misplaced:
        return False
    return bool(last.text["timestamp"] != head.head_timestamp)
