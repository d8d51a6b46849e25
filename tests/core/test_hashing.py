from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.plain import plain

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden.json").read_text("utf-8"))


def test_chains_of_an_independent_implementation_come_out_byte_for_byte() -> None:
    seen = 0
    for chain in GOLDEN["chains"]:
        link = None
        for sequence, entry in enumerate(chain["entries"]):
            meta = entry["meta"]
            text = hashing.EntryForm(GOLDEN["ledger"], chain["stream"]).text(
                sequence=sequence,
                record_id=entry["record_id"],
                timestamp=entry["timestamp"],
                payload_text=canonical.dumps(plain(entry["payload"])),
                meta_text=None if meta is None else canonical.dumps(plain(meta)),
                prev_hash=link,
            )
            assert text == entry["serialized"]
            link = hashing.hash_text(text)
            assert link == entry["hash"]
            seen += 1
    assert seen == 15


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PAYLOADS = st.dictionaries(TEXT, st.none() | st.booleans() | st.floats(-1e9, 1e9) | TEXT)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
WHOLE = st.integers(0, 2**53 - 1)


@given(TEXT, TEXT, TEXT, WHOLE, WHOLE, PAYLOADS, st.none() | PAYLOADS, st.none() | HASHES)
def test_the_joined_text_is_that_of_the_whole_document(
    ledger: str,
    stream: str,
    record_id: str,
    sequence: int,
    timestamp: int,
    payload: dict[str, Any],
    meta: dict[str, Any] | None,
    prev_hash: str | None,
) -> None:
    document = {
        "id": record_id,
        "ledger": ledger,
        "payload": payload,
        "prev_hash": prev_hash,
        "schema": "nucleus-ledger/v1",
        "sequence": sequence,
        "stream": stream,
        "timestamp": timestamp,
    }
    if meta is not None:
        document["meta"] = meta
    text = hashing.EntryForm(ledger, stream).text(
        sequence=sequence,
        record_id=record_id,
        timestamp=timestamp,
        payload_text=canonical.dumps(payload),
        meta_text=None if meta is None else canonical.dumps(meta),
        prev_hash=prev_hash,
    )
    assert text.encode() == rfc8785.dumps(document)


def test_a_text_that_no_encoding_can_hold_is_hashed_and_raises_nothing() -> None:
    assert hashing.hash_text("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()
    assert hashing.hash_text("") == hashlib.sha256(b"").hexdigest()


def test_every_flipped_bit_changes_the_hash() -> None:
    text = GOLDEN["chains"][0]["entries"][1]["serialized"]
    hashes = {hashing.hash_text(text)}
    flips = 0
    for position, char in enumerate(text):
        for bit in range(7):
            changed = text[:position] + chr(ord(char) ^ 1 << bit) + text[position + 1 :]
            hashes.add(hashing.hash_text(changed))
            flips += 1
    assert len(hashes) == flips + 1


def test_record_ids_are_version_7_and_rise_with_time() -> None:
    ids = [hashing.new_record_id(time) for time in (1, 1_700_000_000_000, 1_700_000_000_001)]
    assert ids == sorted(ids)
    for text, time in zip(ids, (1, 1_700_000_000_000, 1_700_000_000_001), strict=True):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == time
    assert hashing.new_record_id(5) != hashing.new_record_id(5)
