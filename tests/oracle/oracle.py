"""The oracle: a verifier of one ledger, written from docs/format.md, that imports nothing of it.

It holds all rows in memory and asks every question of the format about each of them on its own.
What stored verifications, statuses and copies of evidence say, it neither reads nor believes.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from tests.oracle import jcs

SCHEMA = "nucleus-ledger/v1"
MEMBERS = {"id", "ledger", "payload", "prev_hash", "schema", "sequence", "stream", "timestamp"}
_SAFE = 2**53 - 1


class StreamRow(NamedTuple):
    """A stream as its columns say it: text as `str`, hashes as `bytes`, whatever else stands there
    as what it is. Text that is no UTF-8 has lone surrogates in it."""

    id: Any
    name: Any
    ledger: Any
    length: Any
    head_hash: Any
    head_timestamp: Any


class EntryRow(NamedTuple):
    """An entry as its columns say it, see `StreamRow`."""

    hash: Any
    stream_id: Any
    sequence: Any
    record_id: Any
    timestamp: Any
    payload: Any
    meta: Any
    prev_hash: Any
    serialized: Any


@dataclass
class Ledger:
    """All rows of one database. `exact`: documents are the canonical text, byte for byte; else
    they are values, printed by the database, whose numbers are compared as decimals."""

    streams: list[StreamRow]
    entries: list[EntryRow]
    exact: bool


class Fault(NamedTuple):
    """One thing wrong, at the sequence that the row's column says (None: at no row)."""

    sequence: Any
    what: str


@dataclass
class Verdict:
    """What the oracle says of one stream; of entries without a stream's row where `row` is None."""

    row: StreamRow | None
    rows: list[EntryRow]
    faults: list[Fault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.faults

    @property
    def name(self) -> str | None:
        """The stream's name, where it can be one."""
        return self.row.name if self.row and _is_label(self.row.name) else None

    @property
    def hashes(self) -> list[bytes]:
        """Return the hashes of the texts, in the order of sequence."""
        return [digest(each.serialized) for each in self.rows]


def judge(ledger: Ledger, accepted: Collection[str]) -> list[Verdict]:
    """Return a verdict for each stream's row, and for each key that only entries bear."""
    verdicts = []
    names = Counter(repr(row.name) for row in ledger.streams)
    keys = Counter(repr(row.id) for row in ledger.streams)
    for row in ledger.streams:
        rows = [each for each in ledger.entries if _same(each.stream_id, row.id)]
        verdict = Verdict(row, sorted(rows, key=_place))
        verdict.faults.extend(_faults(verdict, ledger.exact, accepted))
        if names[repr(row.name)] > 1 or keys[repr(row.id)] > 1:
            verdict.faults.append(Fault(None, "two streams of one name or key"))
        verdicts.append(verdict)
    known = {repr(row.id) for row in ledger.streams}
    orphans: dict[str, list[EntryRow]] = {}
    for each in ledger.entries:
        if repr(each.stream_id) not in known:
            orphans.setdefault(repr(each.stream_id), []).append(each)
    for rows in orphans.values():
        verdicts.append(Verdict(None, rows, [Fault(None, "no stream's row")]))
    return verdicts


def digest(text: Any) -> bytes:
    if not isinstance(text, str):
        return b""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _faults(verdict: Verdict, exact: bool, accepted: Collection[str]) -> Iterable[Fault]:
    row, rows = verdict.row, verdict.rows
    assert row is not None
    before: EntryRow | None = None
    for each in rows:
        place = before.sequence + 1 if before and _is_int(before.sequence) else 0
        if not _is_int(each.sequence) or each.sequence != place:
            yield Fault(each.sequence, f"not the sequence {place}")
        if digest(each.serialized) != each.hash:
            yield Fault(each.sequence, "the hash is not that of the text")
        document, trouble = _document(each.serialized)
        if document is None:
            yield Fault(each.sequence, trouble)
        else:
            for what in _apart(each, document, row.name, exact):
                yield Fault(each.sequence, f"{what} says otherwise than the text")
            if document["ledger"] not in accepted:
                yield Fault(each.sequence, "another ledger")
            if document["ledger"] != row.ledger:
                yield Fault(each.sequence, "the stream's row names another ledger")
        if each.prev_hash != (None if before is None else before.hash):
            yield Fault(each.sequence, "does not name the hash of the entry before")
        if before and _number(each.timestamp) < _number(before.timestamp):
            yield Fault(each.sequence, "the time goes back")
        before = each
    for record, count in Counter(repr(each.record_id) for each in rows).items():
        if count > 1:
            yield Fault(None, f"the record id {record} stands here more than once")
    yield from _head_faults(row, rows, accepted)


def _head_faults(
    row: StreamRow, rows: Sequence[EntryRow], accepted: Collection[str]
) -> Iterable[Fault]:
    last = rows[-1] if rows else None
    if not _is_int(row.id):
        yield Fault(None, "the stream's key is no whole number")
    if rows and not _is_label(row.name):
        yield Fault(None, "the stream's name cannot be one")
    if not isinstance(row.ledger, str) or row.ledger not in accepted:
        yield Fault(None, "the stream's row names a ledger that is not accepted")
    if not _is_int(row.length) or row.length != len(rows):
        yield Fault(None, "the recorded length is not the number of entries")
    if (row.head_hash, row.head_timestamp) != (last and last.hash, last and last.timestamp) or (
        last and not _is_int(row.head_timestamp)
    ):
        yield Fault(None, "the recorded head is not the last entry")


@lru_cache(maxsize=30_000)  # a ledger is judged again and again, and most of it is as it was
def _document(text: Any) -> tuple[dict[str, Any] | None, str]:
    """Return what a text says, or what keeps it from being an entry of the format."""
    if not isinstance(text, str):
        return None, "the canonical text is no text"
    try:
        text.encode()
        value = jcs.read(text)
    except (UnicodeEncodeError, jcs.NotJSON) as exc:
        return None, f"the text is no JSON: {exc}"
    if not isinstance(value, dict):
        return None, "the text is no object"
    if value.keys() not in (MEMBERS, MEMBERS | {"meta"}):
        return None, "the text has other members"
    if value["schema"] != SCHEMA:
        return None, "another format"
    if jcs.write(value) != text:
        return None, "the text is not canonical"
    if not all(_is_label(value[name]) for name in ("id", "ledger", "stream")):
        return None, "an id, ledger or stream that cannot be one"
    if not _is_int(value["sequence"]) or value["sequence"] < 0:
        return None, "no sequence"
    if not _is_int(value["timestamp"]) or not 0 < value["timestamp"] <= _SAFE:
        return None, "no time"
    if not isinstance(value["payload"], (dict, list)):
        return None, "the payload is neither object nor array"
    if "meta" in value and not isinstance(value["meta"], dict):
        return None, "the meta is no object"
    if value["prev_hash"] is not None and not _is_hash(value["prev_hash"]):
        return None, "the link is no hash"
    return value, ""


def _apart(row: EntryRow, document: dict[str, Any], stream: Any, exact: bool) -> Iterable[str]:
    if document["stream"] != stream:
        yield "stream"
    if not _is_int(row.sequence) or row.sequence != document["sequence"]:
        yield "sequence"
    if not isinstance(row.record_id, str) or row.record_id != document["id"]:
        yield "record_id"
    if not _is_int(row.timestamp) or row.timestamp != document["timestamp"]:
        yield "timestamp"
    link = document["prev_hash"]
    if row.prev_hash != (None if link is None else bytes.fromhex(link)):
        yield "prev_hash"
    if not _holds(row.payload, document["payload"], exact):
        yield "payload"
    if "meta" not in document:
        if row.meta is not None:
            yield "meta"
    elif not _holds(row.meta, document["meta"], exact):
        yield "meta"


def _holds(column: Any, value: Any, exact: bool) -> bool:
    """Whether a database that holds this column answers what the value says."""
    if not isinstance(column, str):
        return False
    text = jcs.write(value)
    if exact:
        return column == text
    try:
        return _equal(_exactly(column), _exactly(text))
    except jcs.NotJSON:
        return False


@lru_cache(maxsize=30_000)
def _exactly(text: str) -> Any:
    return jcs.read_exactly(text)


def _equal(one: Any, other: Any) -> bool:
    pairs = [(one, other)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict):
            if one.keys() != other.keys():
                return False
            pairs.extend((one[name], other[name]) for name in one)
        elif isinstance(one, list):
            if len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif one != other:
            return False
    return True


def _is_int(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0


def _same(one: Any, other: Any) -> bool:
    return one is not None and type(one) is type(other) and bool(one == other)


def _place(row: EntryRow) -> tuple[bool, Any, str]:
    number = row.sequence if isinstance(row.sequence, (int, float)) else None
    return number is None, number or 0, repr(row)


def _is_label(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 200
        and not any(unicodedata.category(char) in ("Cc", "Cs") for char in value)
    )


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
