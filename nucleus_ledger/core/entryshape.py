"""What the document of an entry must be by itself: docs/format.md, "The rule", member by member.

The one place that says it in Python: walks of databases and bundles and receipts all come here.
`static/nucleus_ledger/receipt.js` says the same again, and `rebuilding` the same of whole windows.
"""

from __future__ import annotations

import re
from typing import Any

from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.record import LABEL, is_label

_MEMBERS = frozenset(
    {"id", "ledger", "payload", "prev_hash", "schema", "sequence", "stream", "timestamp"}
)
_MEMBERS_WITH_META = _MEMBERS | {"meta"}
_HASH = re.compile("[0-9a-f]{64}")


def trouble(document: dict[str, Any]) -> str:
    """Say what keeps a document from being an entry of `nucleus-ledger/v1`; empty if nothing."""
    members = document.keys()
    if members != _MEMBERS and members != _MEMBERS_WITH_META:
        odd = sorted(members ^ (_MEMBERS | members & {"meta"}))
        return f"missing or unknown members: {', '.join(map(ascii, odd))[:200]}"
    for name in ("id", "ledger", "stream"):
        if not is_label(document[name]):
            return f"{name} is not {LABEL}"
    if not _is_whole(document["sequence"], 0):
        return "sequence is not a whole number from 0 to 2^53-1"
    if not _is_whole(document["timestamp"], 1):
        return "timestamp is not a whole number from 1 to 2^53-1"
    link = document["prev_hash"]
    if link is not None and not is_hash(link):
        return "prev_hash is neither 64 lowercase hex digits nor null"
    if type(document["payload"]) not in (dict, list):
        return "payload is neither an object nor an array"
    if type(document.get("meta")) not in (dict, type(None)):
        return "meta is neither an object nor null"
    return ""


def is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_whole(value: object, least: int) -> bool:
    """Whether a number is whole and in range; whether it is written as one is for the form."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return type(value) is int and least <= value <= MAX_SAFE_INTEGER
