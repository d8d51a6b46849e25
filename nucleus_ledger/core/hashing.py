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

from nucleus_ledger.core import canonical

SCHEMA = "nucleus-ledger/v1"
ACCEPTED_SCHEMAS = frozenset({SCHEMA})
_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


class EntryForm:
    """Writes the texts of one stream's entries: what they share is put into form once.

    The member names are ASCII and stand here in sorted order, so that joining them is RFC 8785
    section 3.2.3 without sorting the document again.
    """

    def __init__(self, ledger: str, stream: str) -> None:
        self._ledger = f',"ledger":{canonical.quote(ledger)},'
        self._stream = f',"stream":{canonical.quote(stream)},"timestamp":'

    def parts(
        self, record_id: str, payload_text: str, meta_text: str | None
    ) -> tuple[str, str, str]:
        """Return what stands before the link, the sequence and the timestamp of an entry's text.

        Requires `payload_text` and `meta_text` to be canonical (`canonical.dumps`).
        """
        meta = "" if meta_text is None else f'"meta":{meta_text},'
        return (
            f'{{"id":{canonical.quote(record_id)}{self._ledger}{meta}"payload":{payload_text},'
            '"prev_hash":',
            f',"schema":"{SCHEMA}","sequence":',
            self._stream,
        )

    def text(
        self,
        sequence: int,
        record_id: str,
        timestamp: int,
        payload_text: str,
        meta_text: str | None,
        prev_hash: str | None,
    ) -> str:
        """Return the canonical text of an entry.

        Requires what `parts` requires, and the integers to lie within ±(2^53-1).
        """
        link, number, time = self.parts(record_id, payload_text, meta_text)
        before = "null" if prev_hash is None else f'"{prev_hash}"'
        return f"{link}{before}{number}{sequence}{time}{timestamp}}}"


def hash_bytes(data: bytes) -> str:
    """Return the lowercase hex SHA-256 of a text's UTF-8 (64 digits)."""
    return hashlib.sha256(data).hexdigest()


def hash_text(serialized: str) -> str:
    """Return `hash_bytes` of a text.

    A lone surrogate, which no stored text can honestly hold, is hashed as its three bytes rather
    than raising, so that a tampered row is a finding and not a crash.
    """
    return hash_bytes(serialized.encode("utf-8", "surrogatepass"))


def new_record_id(timestamp: int) -> str:
    """Return a new UUID version 7 (RFC 9562 section 5.7) for `timestamp`, ms since 1970."""
    time = f"{timestamp & 0xFFFFFFFFFFFF:012x}"
    random = os.urandom(10).hex()
    variant = _VARIANTS[random[3]]  # the bits 10, and two random ones
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
