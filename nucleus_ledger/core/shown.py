"""Values as a finding may carry them: JSON, bounded, and storable in any database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.errors import Serialization

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
        return ascii(value)[:EVIDENCE_LIMIT]
    if "\\u0000" in text:  # PostgreSQL stores no U+0000, neither in text nor in jsonb
        return ascii(value)[:EVIDENCE_LIMIT]
    if len(text) > EVIDENCE_LIMIT:
        return f"{text[:EVIDENCE_LIMIT]}… ({len(text)} characters, SHA-256 {hash_text(text)})"
    return value
