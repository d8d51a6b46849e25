"""Values as a finding may carry them: JSON, bounded, and storable in any database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.errors import Serialization

_DEPTH_LIMIT = 64  # of a value shown as one
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(r"[][{}]")
EVIDENCE_LIMIT = 2000  # characters of one value shown in a finding; the entry itself holds the rest


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A column that holds no JSON: equal to nothing, shown as it stands."""

    text: str


def evidence(value: Any) -> Any:
    """Return a value as a finding may carry it: JSON, bounded, and storable in any database."""
    if isinstance(value, Unreadable):
        return f"unreadable: {ascii(value.text)[:EVIDENCE_LIMIT]}"
    try:
        text = canonical.dumps(value)
    except Serialization:
        return _in_python(value)
    if "\\u0000" in text:  # PostgreSQL stores no U+0000, neither in text nor in jsonb
        return ascii(value)[:EVIDENCE_LIMIT]
    if len(text) > EVIDENCE_LIMIT:
        return f"{text[:EVIDENCE_LIMIT]}… ({len(text)} characters, SHA-256 {hash_text(text)})"
    # Indented, a document of n brackets takes n times as many characters.
    return text if _depth(text) > _DEPTH_LIMIT else value


def _in_python(value: Any) -> str:
    try:
        return ascii(value)[:EVIDENCE_LIMIT]
    except RecursionError:
        return "a document that is nested too deeply to be shown"


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
