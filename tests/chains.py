"""Good chains in one call, and one named way to break them for each kind of finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.chain import Cursor, Finding, Head, Rules, judge_head, walk
from nucleus_ledger.core.rebuilding import Row, Window

LEDGER = "persistent-ledger"


def make_row(sequence: int, prev_hash: str | None, **changes: Any) -> Row:
    document: dict[str, Any] = {
        "id": f"record-{sequence}",
        "ledger": LEDGER,
        "payload": {"n": sequence},
        "prev_hash": prev_hash,
        "schema": hashing.SCHEMA,
        "sequence": sequence,
        "stream": "proofs",
        "timestamp": 1000 + 10 * sequence,
    } | changes
    if sequence == 1:
        document.setdefault("meta", {"source": "api"})
    return row_of(canonical.dumps(document))


def row_of(text: str) -> Row:
    """The row an honest writer would store for a text."""
    document = canonical.loads(text)
    return Row(
        document["sequence"],
        document["id"],
        document["timestamp"],
        canonical.dumps(document["payload"]),
        canonical.dumps(document["meta"]) if "meta" in document else None,
        document["prev_hash"],
        hashing.hash_text(text),
        text,
    )


def make_chain(length: int = 6, **changes: Any) -> list[Row]:
    rows: list[Row] = []
    for sequence in range(length):
        rows.append(make_row(sequence, rows[-1].hash if rows else None, **changes))
    return rows


def make_head(rows: list[Row], **changes: Any) -> Head:
    last = rows[-1] if rows else None
    facts = {
        "stream": "proofs",
        "ledger": LEDGER,
        "length": len(rows),
        "head_hash": last.hash if last else None,
        "head_timestamp": last.timestamp if last else None,
    }
    return Head(**{**facts, **changes})


def relink(rows: list[Row], start: int) -> list[Row]:
    """Rewrite a suffix so that every number and link fits again."""
    for index in range(start, len(rows)):
        document = canonical.loads(rows[index].serialized)
        document["sequence"] = index
        document["prev_hash"] = rows[index - 1].hash if index else None
        rows[index] = row_of(canonical.dumps(document))
    return rows


def windows(rows: list[Row], size: int = 1) -> list[Window]:
    return [Window.of(rows[low : low + size]) for low in range(0, len(rows), size)]


def findings(
    rows: list[Row], head: Head, *, deep: bool = False, cuts: Iterable[int] = (), size: int = 1
) -> list[Finding]:
    """Walk the rows, in as many parts as `cuts` make, and judge the head.

    `size`: the rows in a window. Where it is 1, each row is tried on the fast road.
    """
    rules = Rules(head.stream, frozenset({LEDGER}), deep=deep)
    cursor = Cursor()
    found: list[Finding] = []
    for start, end in pairwise(sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})):
        found.extend(walk(windows(rows[start:end], size), cursor, rules))
    last = judge_head(head, cursor, rules)
    return [*found, last] if last else found


def brief(found: list[Finding]) -> list[tuple[Any, ...]]:
    return [
        (finding.kind, finding.sequence, *([finding.fields] if finding.fields else []))
        for finding in found
    ]


Breaking = Callable[[list[Row], Head], tuple[list[Row], Head]]


def at(index: int, **columns: Any) -> Breaking:
    """Edit columns of one row."""
    return lambda rows, head: (
        [*rows[:index], rows[index]._replace(**columns), *rows[index + 1 :]],
        head,
    )


def text_at(index: int, change: Callable[[str], str], *, rehash: bool) -> Breaking:
    """Edit the text of one row, and give it the hash that fits or not."""

    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        text = change(rows[index].serialized)
        columns = {"serialized": text}
        if rehash:
            columns["hash"] = hashing.hash_text(text)
        return at(index, **columns)(rows, head)

    return breaking
