"""The hash rule: the text that stands for an entry, its SHA-256, and new record ids.

    serialized = RFC 8785 text of {"id", "ledger", "meta" (only when not null), "payload",
                 "prev_hash", "schema", "sequence", "stream", "timestamp"}
    hash       = lowercase hex SHA-256 of serialized as UTF-8

A later format gets a new tag in `schema`; what `nucleus-ledger/v1` means never changes, so that
old entries are verified by their own rule for ever.
"""

from __future__ import annotations

import hashlib
import os
import uuid

from nucleus_ledger.core import canonical

SCHEMA = "nucleus-ledger/v1"
ACCEPTED_SCHEMAS = frozenset({SCHEMA})


def serialize_entry(
    *,
    ledger: str,
    stream: str,
    sequence: int,
    record_id: str,
    timestamp: int,
    payload_text: str,
    meta_text: str | None,
    prev_hash: str | None,
) -> str:
    """Return the canonical text of an entry.

    Requires `payload_text` and `meta_text` to be canonical (`canonical.dumps`), and the integers
    to lie within ±(2^53-1). The member names are ASCII and stand here in sorted order, so that
    joining them is RFC 8785 section 3.2.3 without sorting the document again.
    """
    meta = "" if meta_text is None else f'"meta":{meta_text},'
    link = "null" if prev_hash is None else f'"{prev_hash}"'
    return (
        f'{{"id":{canonical.dumps(record_id)},"ledger":{canonical.dumps(ledger)},{meta}'
        f'"payload":{payload_text},"prev_hash":{link},"schema":"{SCHEMA}",'
        f'"sequence":{sequence},"stream":{canonical.dumps(stream)},"timestamp":{timestamp}}}'
    )


def hash_text(serialized: str) -> str:
    """Return the lowercase hex SHA-256 of the text as UTF-8 (64 digits).

    A lone surrogate, which no stored text can honestly hold, is hashed as its three bytes rather
    than raising, so that a tampered row is a finding and not a crash.
    """
    return hashlib.sha256(serialized.encode("utf-8", "surrogatepass")).hexdigest()


def new_record_id(timestamp: int) -> str:
    """Return a new UUID version 7 (RFC 9562 section 5.7) for `timestamp`, ms since 1970."""
    value = (timestamp & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=value))
