"""Whether the columns of a row say what its text says, so that a query answers what was hashed.

A document stored as text must be, byte for byte, the canonical text that an append writes: a
database may take the first of two equal keys where a decoder takes the last. A jsonb must have the
value of that text, with numbers compared exactly: a float would swallow what a query tells apart.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, NamedTuple

from nucleus_ledger.core import canonical
from nucleus_ledger.core.plain import JSONValue
from nucleus_ledger.core.shown import EVIDENCE_LIMIT, Unreadable, evidence
from nucleus_ledger.errors import Deserialization, Serialization

_BEFORE_DIFFERENCE = 200


class Difference(NamedTuple):
    """What a text says and what a column holds, as a finding may carry them."""

    expected: Any
    actual: Any


def compare_document(said: JSONValue, column: Any, *, jsonb: bool, deep: bool) -> Difference | None:
    """Hold the column of a document, or null, against what the text says; None if it is right."""
    if column is None:
        return None if said is None else Difference(evidence(said), None)
    if said is None:
        return Difference(None, _as_stored(column))
    if jsonb:
        right = isinstance(column, str) and _holds_exactly(column, said)
    else:
        right = type(column) is str and canonical.is_canonical(column, said, deep=deep)
    return None if right else _differing_documents(said, column)


def compare_value(said: JSONValue, column: Any) -> Difference | None:
    """Hold any other column against the text: of the same type, since 5.0 is not 5 in a query."""
    if type(said) is float and said.is_integer():
        said = int(said)  # in a text that is not canonical, which is a finding of its own
    if type(said) is type(column) and said == column:
        return None
    return Difference(evidence(said), _as_stored(column))


def document_of(column: Any) -> Any:
    """Return the value of a JSON column."""
    if column is None:
        return None
    if not isinstance(column, (str, bytes)):
        return Unreadable(ascii(column))
    try:
        return canonical.loads(column)
    except Deserialization:
        return Unreadable(column if isinstance(column, str) else ascii(column))


def _holds_exactly(column: str, said: JSONValue) -> bool:
    try:
        return canonical.same(said, canonical.loads_exactly(column))
    except Deserialization:
        return False


def _differing_documents(said: JSONValue, column: Any) -> Difference:
    """Show values where those differ, and otherwise the texts, around their first difference."""
    value = document_of(column)
    try:
        text = canonical.dumps(said)
    except Serialization:
        return Difference(evidence(said), _as_stored(column))
    if isinstance(column, str) and not canonical.same(said, value):
        return Difference(evidence(said), evidence(value))
    if not isinstance(column, str):
        return Difference(evidence(text), _as_stored(column))
    if max(len(text), len(column)) <= EVIDENCE_LIMIT:
        return Difference(evidence(text), evidence(column))
    pairs = enumerate(zip_longest(text, column))
    first = next((place for place, (one, other) in pairs if one != other), 0)
    start = max(first - _BEFORE_DIFFERENCE, 0)
    return Difference(_part(text, start), _part(column, start))


def _part(text: str, start: int) -> Any:
    end = start + EVIDENCE_LIMIT // 2
    return evidence(f"from character {start} of {len(text)}: {text[start:end]}")


def _as_stored(column: Any) -> Any:
    """Show what a column holds so that its type is seen: 5.0, b'x' and "5" are none of them 5."""
    if type(column) in (str, int, bool) or column is None:
        return evidence(column)
    return ascii(column)[:EVIDENCE_LIMIT]
