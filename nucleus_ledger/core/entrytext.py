"""An entry's text read back into the row that an honest writer stores for it."""

from __future__ import annotations

from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.core.rebuilding import Row
from nucleus_ledger.errors import Deserialization, InvalidData


def row_of(text: str) -> Row:
    """Return the row of a text; raises `InvalidData` where it cannot be the text of an entry.

    Whether the text is canonical and its values are in range is for `chain.walk` to say.
    """
    try:
        said: Any = canonical.loads(text)
        return Row(
            said["sequence"],
            said["id"],
            said["timestamp"],
            canonical.dumps(said["payload"]),
            canonical.dumps(said["meta"]) if "meta" in said else None,
            said["prev_hash"],
            hash_text(text),
            text,
        )
    except (Deserialization, KeyError, TypeError) as exc:
        raise InvalidData(f"not the text of an entry: {text[:100]!a}") from exc
