"""The walk over one stream's rows, in chain order, that yields what is wrong with them.

The walk knows no database, no settings and no clock: rows come in, findings come out. It holds a
few values and never the rows, starts at any sequence whose predecessor is known, and can be taken
up again from its `Cursor`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nucleus_ledger.core import canonical, columns, entryshape
from nucleus_ledger.core.hashing import ACCEPTED_SCHEMAS, hash_text
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.rebuilding import Rebuilder, Row, Window
from nucleus_ledger.core.shown import evidence
from nucleus_ledger.errors import Deserialization

KINDS = (
    "hash_mismatch",
    "link_broken",
    "head_mismatch",
    "field_mismatch",
    "sequence_gap",
    "sequence_repeated",
    "wrong_ledger",
    "unknown_schema",
    "not_canonical",
    "undecodable",
    "timestamp_out_of_order",
    "missing_stream",
    "checkpoint_mismatch",
)


@dataclass(frozen=True, slots=True)
class Head:
    """What the stream's row says; `beyond`: there is an entry at or after that length.

    `rows`: how many rows bear the stream's name.
    """

    stream: str
    ledger: str
    length: int
    head_hash: str | None
    head_timestamp: int | None
    beyond: bool = False
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong. `expected` is what the chain demands, `actual` what is stored."""

    kind: str
    stream: str
    sequence: int | None
    record_id: str | None = None
    fields: tuple[str, ...] = ()
    expected: Any = None
    actual: Any = None
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; `fields` only where the kind has them."""
        document: dict[str, Any] = {
            "kind": self.kind,
            "stream": self.stream,
            "sequence": self.sequence,
            "record_id": self.record_id,
        }
        if self.kind == "field_mismatch":
            document["fields"] = list(self.fields)
        return document | {
            "expected": self.expected,
            "actual": self.actual,
            "message": self.message,
        }


class FindingsDigest:
    """SHA-256 over findings in order, each as one line of canonical JSON without its message.

    The message is left out so that a better wording in a later release does not void what an
    owner acknowledged.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.count = 0

    def add(self, finding: Finding) -> None:
        document = finding.as_dict()
        del document["message"]
        self._sha256.update(canonical.dumps(document).encode() + b"\n")
        self.count += 1

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the verifier accepts: never taken from what a row says.

    `jsonb`: the documents of rows are a jsonb's print, rather than the text that appends write.
    """

    stream: str
    ledgers: frozenset[str]
    schemas: frozenset[str] = ACCEPTED_SCHEMAS
    deep: bool = False
    jsonb: bool = False


@dataclass(slots=True)
class Cursor:
    """Where a walk stands: what the next row must follow.

    `links` are the hashes its `prev_hash` may name (empty: the link is not judged), `time` is the
    last timestamp vouched for by a text, `text_time` that of the very last row, if it has one.
    """

    sequence: int = 0
    links: tuple[str | None, ...] = (None,)
    time: int | None = None
    judge_time: bool = True
    text_time: int | None = None
    ledger: str | None = None
    runs: dict[str, Any] = field(default_factory=dict)
    checked: int = field(default=0, compare=False)

    @classmethod
    def at(cls, sequence: int) -> Cursor:
        """A walk that begins at `sequence` without knowing what stands before it."""
        return cls(sequence=sequence, links=(None,) if sequence == 0 else ())

    def starts_run(self, name: str, value: Any, foreign: bool) -> bool:
        """Whether a foreign value begins here, rather than going on from the row before."""
        begins = foreign and (name not in self.runs or self.runs[name] != value)
        if foreign:
            self.runs[name] = value
        else:
            self.runs.pop(name, None)
        return begins


def walk(windows: Iterable[Window], cursor: Cursor, rules: Rules) -> Iterator[Finding]:
    """Yield what is wrong with the rows, moving `cursor` along; requires them in sequence order."""
    rebuilder = None
    if not rules.deep:
        rebuilder = Rebuilder(rules.stream, rules.ledgers, rules.schemas, jsonb=rules.jsonb)
    for window in windows:
        if rebuilder is not None and rebuilder.follow(window, cursor):
            cursor.checked += window.size
            continue
        for row in window.rows():
            cursor.checked += 1
            yield from _judge_row(row, cursor, rules)


def judge_head(head: Head, cursor: Cursor, rules: Rules) -> Finding | None:
    """Hold the stream's row against the end of a walk; requires that the walk read to the end."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}

    def compare(name: str, chain: Any, stored: Any, differs: bool) -> None:
        if differs:
            shown = columns.compare_value(chain, stored)
            expected[name], actual[name] = shown or (evidence(chain), evidence(stored))

    if head.rows != 1:  # a query by name, and an append, may come to any of them
        expected["rows"], actual["rows"] = 1, head.rows
    length = cursor.sequence
    same_length = type(head.length) is int and length == head.length
    compare("length", length, head.length, not same_length)
    if head.beyond and same_length:
        expected["beyond"], actual["beyond"] = False, True
    if same_length and cursor.links:
        compare("head_hash", cursor.links[-1], head.head_hash, head.head_hash not in cursor.links)
    if same_length and (cursor.text_time is not None or length == 0):
        time = columns.compare_value(cursor.text_time, head.head_timestamp)
        if time:
            expected["head_timestamp"], actual["head_timestamp"] = time
    if cursor.ledger is not None:
        compare("ledger", cursor.ledger, head.ledger, head.ledger != cursor.ledger)
    elif head.ledger not in rules.ledgers:
        compare("ledger", sorted(rules.ledgers), head.ledger, True)
    if not actual:
        return None
    at = _exact(max(head.length - 1, 0) if type(head.length) is int else length)
    message = f"the stream's row does not match its entries in {', '.join(sorted(actual))}"
    if "rows" in actual:
        message = f"{head.rows} rows bear this stream's name"
    elif "beyond" in actual:
        message = f"there is an entry after the recorded length {head.length}"
    return Finding("head_mismatch", rules.stream, at, None, (), expected, actual, message)


def _judge_row(row: Row, cursor: Cursor, rules: Rules) -> Iterator[Finding]:
    sequence = row.sequence
    if type(sequence) is not int or sequence < cursor.sequence:
        yield _finding("sequence_repeated", row, rules, cursor.sequence, sequence,
                       "a sequence that was there before, or goes back")  # fmt: skip
        return
    if sequence > cursor.sequence:
        yield Finding("sequence_gap", rules.stream, _exact(cursor.sequence), None, (),
                      evidence(cursor.sequence), evidence(sequence),
                      f"{sequence - cursor.sequence} entries are missing before {sequence}",
                      )  # fmt: skip
        cursor.links = ()
    cursor.sequence = sequence + 1
    digest = hash_text(row.serialized)
    if digest != row.hash:
        yield _finding("hash_mismatch", row, rules, digest, row.hash,
                       "the stored hash is not that of the stored text")  # fmt: skip
        cursor.links = (row.hash, digest)
        cursor.text_time, cursor.judge_time = None, True
        return
    yield from _judge_text(row, cursor, rules)


def _judge_text(row: Row, cursor: Cursor, rules: Rules) -> Iterator[Finding]:
    """Judge a row whose text has the stored hash, and move the cursor behind it."""
    links, cursor.links = cursor.links, (row.hash,)
    judge_time, cursor.judge_time = cursor.judge_time, True
    cursor.text_time = None
    document, trouble = _read_document(row.serialized)
    if document is None:
        yield _finding("undecodable", row, rules, None, None, trouble)
        return
    schema = document.get("schema")
    unknown = schema not in rules.schemas if type(schema) is str else True
    if cursor.starts_run("schema", evidence(schema), unknown):
        yield _finding("unknown_schema", row, rules, sorted(rules.schemas), evidence(schema),
                       "the format tag is not one this verifier accepts")  # fmt: skip
    trouble = entryshape.trouble(document)
    if trouble:
        if not unknown:  # a later format may have other members; its own verifier judges them
            yield _finding("undecodable", row, rules, None, None, trouble)
        return
    if "meta" in document and document["meta"] is None:
        yield _finding("not_canonical", row, rules, None, None, "meta is written although null")
    elif not canonical.is_canonical(row.serialized, document, deep=rules.deep):
        yield _finding("not_canonical", row, rules, None, None,
                       "the text is not in the form of RFC 8785")  # fmt: skip
    yield from _judge_ledger(row, document["ledger"], cursor, rules)
    mismatch = _compare_columns(row, document, cursor, rules)
    if mismatch:
        yield mismatch
    if not canonical.same(document["sequence"], row.sequence):
        # A row that is not where its text says vouches for no order, here or right behind it.
        cursor.links, cursor.judge_time = (), False
        return
    yield from _judge_order(row, document, links, judge_time, cursor, rules)


def _judge_ledger(row: Row, ledger: str, cursor: Cursor, rules: Rules) -> Iterator[Finding]:
    """A stream that began under a former id goes on under it: an accepted id may not change."""
    accepted = rules.ledgers
    changed = cursor.ledger in accepted and ledger in accepted and ledger != cursor.ledger
    if cursor.starts_run("ledger", ledger, changed or ledger not in accepted):
        expected = [cursor.ledger] if changed else sorted(accepted)
        yield _finding("wrong_ledger", row, rules, expected, evidence(ledger),
                       "the entry belongs to another ledger")  # fmt: skip
    if not changed:
        cursor.ledger = ledger


def _judge_order(
    row: Row,
    document: dict[str, Any],
    links: tuple[str | None, ...],
    judge_time: bool,
    cursor: Cursor,
    rules: Rules,
) -> Iterator[Finding]:
    """Judge a row against the one before it.

    What is added here, in `_judge_text` or in `entryshape` must be known to `Rebuilder.follow`
    too, which passes whole windows of rows and shows none of them to this function. Then: its kind
    in `KINDS`, a fault of it planted in tests/test_walkers.py, which fails until there is one, and
    docs/format.md with the verifiers written from it, receipt.js and the oracle of the tests.
    """
    link = document["prev_hash"]
    # Where the entry before is not known, it is known whether there must be one.
    broken = link not in links if links else (link is None) != (row.sequence == 0)
    if broken:
        yield _finding("link_broken", row, rules, links[-1] if links else None, link,
                       "the text does not follow the entry before it")  # fmt: skip
    time = document["timestamp"]
    if judge_time and cursor.time is not None and time < cursor.time:
        yield _finding("timestamp_out_of_order", row, rules, cursor.time, time,
                       "the time goes back")  # fmt: skip
    cursor.time = cursor.text_time = time


def _compare_columns(
    row: Row, document: dict[str, Any], cursor: Cursor, rules: Rules
) -> Finding | None:
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    stream = document["stream"]
    if cursor.starts_run("stream", stream, stream != rules.stream):
        expected["stream"], actual["stream"] = evidence(stream), rules.stream
    for name, said, column in (
        ("meta", document.get("meta"), row.meta),
        ("payload", document["payload"], row.payload),
        ("prev_hash", document["prev_hash"], row.prev_hash),
        ("record_id", document["id"], row.record_id),
        ("sequence", document["sequence"], row.sequence),
        ("timestamp", document["timestamp"], row.timestamp),
    ):
        if name in ("meta", "payload"):
            differs = columns.compare_document(said, column, jsonb=rules.jsonb, deep=rules.deep)
        else:
            differs = columns.compare_value(said, column)
        if differs:
            expected[name], actual[name] = differs
    if not actual:
        return None
    fields = tuple(sorted(actual))
    message = f"the text says otherwise than the columns {', '.join(fields)}"
    return _finding("field_mismatch", row, rules, expected, actual, message, fields)


def _read_document(serialized: str) -> tuple[dict[str, Any] | None, str]:
    """Return the object that a text says, or None and what is wrong with the text."""
    try:
        document = canonical.loads(serialized)
    except Deserialization as exc:
        return None, f"the text cannot be read: {exc}"
    if not isinstance(document, dict):
        return None, "the text is not a JSON object"
    return document, ""


def _exact(sequence: Any) -> int | None:
    """Return a sequence that JSON can say; a tampered column may hold anything else."""
    if type(sequence) is int and abs(sequence) <= MAX_SAFE_INTEGER:
        return sequence
    return None


def _finding(
    kind: str,
    row: Row,
    rules: Rules,
    expected: Any,
    actual: Any,
    message: str,
    fields: tuple[str, ...] = (),
) -> Finding:
    record_id = row.record_id if type(row.record_id) is str else ascii(row.record_id)
    sequence = _exact(row.sequence)
    return Finding(
        kind,
        rules.stream,
        sequence,
        evidence(record_id),
        fields,
        evidence(expected) if kind != "field_mismatch" else expected,
        evidence(actual) if kind != "field_mismatch" else actual,
        message,
    )
