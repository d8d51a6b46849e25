"""Tells rows that are wholly right from the rest, at a fraction of the cost of judging them.

The text of each entry is rebuilt from its columns and from what the entry before it demands. Where
that gives the stored text, the text cannot say anything else than the columns, and it is canonical
because each of its parts is (RFC 8785 section 3.2.3: the member names stand in sorted order).
What does not come out alike is not wrong for that: the walk judges it, rule by rule.

Rows come in windows, column by column, since Python's cost is in the steps and not in the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from nucleus_ledger.core import canonical
from nucleus_ledger.core.entryshape import is_hash
from nucleus_ledger.core.hashing import SCHEMA
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.record import is_label

if TYPE_CHECKING:
    from nucleus_ledger.core.chain import Cursor


class Row(NamedTuple):
    """One stored entry as its columns say it; hashes are 64 hex digits.

    `payload` and `meta` are the JSON texts of their columns, or None for null: as they stand, or
    as a jsonb prints them.
    """

    sequence: Any
    record_id: Any
    timestamp: Any
    payload: Any
    meta: Any
    prev_hash: Any
    hash: Any
    serialized: str


class Window(NamedTuple):
    """Neighbouring rows in chain order: each field a column of theirs, from one row on."""

    sequence: Sequence[Any]
    record_id: Sequence[Any]
    timestamp: Sequence[Any]
    payload: Sequence[Any]
    meta: Sequence[Any]
    prev_hash: Sequence[Any]
    hash: Sequence[Any]
    serialized: Sequence[str]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Window:
        return cls(*zip(*rows, strict=True))

    @property
    def size(self) -> int:
        return len(self.serialized)

    def rows(self) -> Iterator[Row]:
        return map(Row, *self)


class Rebuilder:
    """Rebuilds the texts of one stream's entries."""

    def __init__(
        self, stream: str, ledgers: Set[str], schemas: Set[str], *, jsonb: bool = False
    ) -> None:
        self._possible = SCHEMA in schemas and is_label(stream)
        if not self._possible:
            return
        self._after_sequence = f',"stream":{canonical.dumps(stream)},"timestamp":'
        self._ledgers = {
            name: f'","ledger":{canonical.dumps(name)},' for name in ledgers if is_label(name)
        }
        self._jsonb = jsonb

    def follow(self, window: Window, cursor: Cursor) -> bool:
        """Whether the rows are what an honest writer stores behind `cursor`; it is moved on then.

        False says nothing, and leaves the cursor where it was.
        """
        if (
            not self._possible
            or cursor.ledger not in self._ledgers
            or cursor.runs
            or cursor.time is None  # the first entry of a walk, or one behind a fault
            or cursor.time != cursor.text_time
            or len(cursor.links) != 1
        ):
            return False
        # Each rule of a single entry (`entryshape`) and of its order (`chain`) is held here too,
        # or follows from what the window is compared with.
        numbers = range(cursor.sequence, cursor.sequence + window.size)
        times = [cursor.time, *window.timestamp]
        if (
            not _are({int}, window.sequence)
            or not _are({int}, window.timestamp)
            or not _are({str}, window.hash)
            or list(window.sequence) != list(numbers)
            or list(window.prev_hash) != [*cursor.links, *window.hash[:-1]]
            or times != sorted(times)
            or not 0 < times[0] <= times[-1] <= MAX_SAFE_INTEGER
            or numbers.stop > MAX_SAFE_INTEGER
            or not all(map(is_hash, cursor.links))
            or not _are_labels(window.record_id)
            or self._texts(window, self._ledgers[cursor.ledger]) != list(window.serialized)
            or _digests(window.serialized) != list(window.hash)
        ):
            return False
        cursor.sequence = numbers.stop
        cursor.links = (window.hash[-1],)
        cursor.time = cursor.text_time = times[-1]
        return True

    def _texts(self, window: Window, ledger: str) -> list[str] | None:
        """Return the texts that go with the columns; None where one of those can have none."""
        ids = canonical.escape_each(window.record_id)
        payloads = self._canonical(window.payload)
        if ids is None or payloads is None or not {text[0] for text in payloads} <= {"{", "["}:
            return None
        metas = self._meta_members(window.meta)
        if metas is None:
            return None
        end = self._after_sequence
        return [
            f'{{"id":"{record_id}{ledger}{meta}"payload":{payload},"prev_hash":"{prev_hash}",'
            f'"schema":"{SCHEMA}","sequence":{sequence}{end}{timestamp}}}'
            for record_id, meta, payload, prev_hash, sequence, timestamp in zip(
                ids,
                metas,
                payloads,
                window.prev_hash,
                window.sequence,
                window.timestamp,
                strict=True,
            )
        ]

    def _canonical(self, column: Sequence[Any]) -> Sequence[str] | None:
        """Return the canonical texts of documents; None where a column does not hold them."""
        texts = canonical.reprint_each(column, jsonb=self._jsonb)
        if not self._jsonb and texts is not column and list(texts or ()) != list(column):
            return None
        return texts

    def _meta_members(self, column: Sequence[Any]) -> list[str] | None:
        """Return the member that goes with each meta; many entries of a window have the same."""
        distinct = [text for text in set(column) if text is not None]
        members: dict[Any, str] = {None: ""}
        if distinct:
            texts = self._canonical(distinct)
            if texts is None or {text[0] for text in texts} != {"{"}:
                return None
            members.update(zip(distinct, [f'"meta":{text},' for text in texts], strict=True))
        return [members[text] for text in column]


def _are(types: set[type], column: Sequence[Any]) -> bool:
    return set(map(type, column)) == types


def _are_labels(column: Sequence[Any]) -> bool:
    """Whether all are labels, as `is_label` says of each; those of a stream are much alike."""
    lengths = set(map(len, column)) if _are({str}, column) else {0}
    if not 1 <= min(lengths) <= max(lengths) <= 200:
        return False
    return "".join(column).isprintable() or all(map(is_label, column))


def _digests(texts: Iterable[str]) -> list[str] | None:
    sha256 = hashlib.sha256
    try:
        return [sha256(text.encode()).hexdigest() for text in texts]
    except UnicodeEncodeError:
        return None
