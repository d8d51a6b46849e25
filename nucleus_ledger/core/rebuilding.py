"""Tells the entries that are wholly right from the rest, at a fraction of the cost of judging them.

An entry's text is rebuilt from its columns and from what the entry before it demands. Where that
gives the stored text, the text cannot say anything else than the columns, and it is canonical
because each of its parts is (RFC 8785 section 3.2.3: the member names stand in sorted order).
What does not come out alike is not wrong for that: the walk judges it, rule by rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from nucleus_ledger.core import canonical
from nucleus_ledger.core.hashing import SCHEMA

if TYPE_CHECKING:
    from nucleus_ledger.core.chain import Cursor


class Compared(Enum):
    """Stands for a column that the database compared with the text, and found equal."""

    EQUAL = "equal"


class Row(NamedTuple):
    """One stored entry as its columns say it; hashes are 64 hex digits.

    `payload` and `meta` are the JSON texts of their columns, None for null, or `Compared.EQUAL`.
    """

    sequence: Any
    record_id: Any
    timestamp: Any
    payload: Any
    meta: Any
    prev_hash: Any
    hash: Any
    serialized: str


class Rebuilder:
    """Rebuilds the texts of one stream's entries."""

    def __init__(self, stream: str, ledgers: Set[str], schemas: Set[str]) -> None:
        self._after_sequence = f',"stream":{canonical.dumps(stream)},"timestamp":'
        self._ledgers = {name: f',"ledger":{canonical.dumps(name)},' for name in ledgers}
        self._possible = SCHEMA in schemas

    def follows(self, row: Row, cursor: Cursor) -> bool:
        """Whether a row is what an honest writer stores behind `cursor`; if so, it is moved on.

        False says nothing, and leaves the cursor where it was.
        """
        sequence, record_id, timestamp, payload, meta, prev_hash, stored, serialized = row
        if (
            cursor.time is None  # the first entry of a walk, or one behind a fault
            or cursor.text_time != cursor.time
            or cursor.runs
            or cursor.links != (prev_hash,)
            or type(sequence) is not int
            or sequence != cursor.sequence
            or type(timestamp) is not int
            or not cursor.time <= timestamp <= canonical.MAX_SAFE_INTEGER
            or not self._possible
        ):
            return False
        try:
            digest = hashlib.sha256(serialized.encode()).hexdigest()
            start = f'{{"id":{canonical.quote(record_id)}{self._ledgers[cursor.ledger]}'  # type: ignore[index]
        except (UnicodeEncodeError, TypeError, KeyError):
            return False
        if digest != stored:
            return False
        end = (
            f',"prev_hash":"{prev_hash}","schema":"{SCHEMA}","sequence":{sequence}'
            f"{self._after_sequence}{timestamp}}}"
        )
        if not (serialized.startswith(start) and serialized.endswith(end)):
            return False
        middle = serialized[len(start) : -len(end)]
        if payload is Compared.EQUAL and meta is Compared.EQUAL:
            if not _holds_documents(middle):
                return False
        elif not _is_made_of(middle, payload, meta):
            return False
        cursor.links = (digest,)
        cursor.sequence = sequence + 1
        cursor.time = cursor.text_time = timestamp
        return True


def _holds_documents(middle: str) -> bool:
    """Whether the members between ledger and prev_hash are a payload, and perhaps a meta."""
    documents = canonical.read_canonical(f"{{{middle}}}")
    if type(documents) is not dict or type(documents.get("payload")) not in (dict, list):
        return False
    return len(documents) == 1 or (len(documents) == 2 and type(documents.get("meta")) is dict)


def _is_made_of(middle: str, payload: Any, meta: Any) -> bool:
    """Whether these columns' texts, each canonical by itself, give the members in between."""
    if type(payload) is not str:
        return False
    wanted = f'"payload":{payload}'
    if meta is not None:
        wanted = f'"meta":{meta},{wanted}'
    return (
        middle == wanted
        and (meta is None or type(canonical.read_canonical(meta)) is dict)
        and type(canonical.read_canonical(payload)) in (dict, list)
    )
