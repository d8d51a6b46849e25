"""Values as a finding may carry them: JSON, bounded, and storable in any database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.errors import Serialization

EVIDENCE_LIMIT = 2000  # characters of one value shown in a finding; the entry itself holds the rest
_MOST_LEVELS = 64  # as deep as an entry is by default
_LONGEST_NAME, _NAME = 200, 150  # characters: of a good name, and of a shortened one


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A column that holds no JSON: equal to nothing, shown as it stands."""

    text: str


def evidence(value: Any) -> Any:
    """Return a value as a finding may carry it: JSON, bounded, and storable in any database.

    The same value is shown alike everywhere: findings are compared by their digest.
    """
    if isinstance(value, Unreadable):
        return f"unreadable: {ascii(value.text)[:EVIDENCE_LIMIT]}"
    depth = _depth(value)
    if depth > _MOST_LEVELS:  # how deep a serializer comes depends on who calls it from where
        return f"a document of {depth} levels, which is too deep to be shown"
    try:
        text = canonical.dumps(value)
    except Serialization:
        return ascii(value)[:EVIDENCE_LIMIT]
    if "\\u0000" in text:  # PostgreSQL stores no U+0000, neither in text nor in jsonb
        return ascii(value)[:EVIDENCE_LIMIT]
    if len(text) > EVIDENCE_LIMIT:
        return f"{text[:EVIDENCE_LIMIT]}… ({len(text)} characters, SHA-256 {hash_text(text)})"
    if depth and len(json.dumps(value, ensure_ascii=False, indent=2)) > 2 * EVIDENCE_LIMIT:
        return text  # a report is indented: brackets alone would make megabytes of it
    return value


def stream_name(name: str) -> str:
    """Return the name of a stream as findings bear it: one that no append writes is shortened.

    It fits into 250 characters, and is longer than any good name, so that it is that of no other.
    """
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_NAME]}… ({len(name)} characters, SHA-256 {hash_text(name)})"


def _depth(value: Any) -> int:
    """Return how many arrays and objects stand in each other, without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list, tuple))]:
        depth += 1
        level = [
            item for each in level for item in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
