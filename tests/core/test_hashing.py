from __future__ import annotations

import json
import uuid
from pathlib import Path

from nucleus_ledger.core import canonical, hashing

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "golden.json").read_text("utf-8"))


def test_chains_of_an_independent_implementation_come_out_byte_for_byte() -> None:
    seen = 0
    for chain in GOLDEN["chains"]:
        link = None
        for sequence, entry in enumerate(chain["entries"]):
            meta = entry["meta"]
            text = hashing.serialize_entry(
                ledger=GOLDEN["ledger"],
                stream=chain["stream"],
                sequence=sequence,
                record_id=entry["record_id"],
                timestamp=entry["timestamp"],
                payload_text=canonical.dumps(canonical.plain(entry["payload"])),
                meta_text=None if meta is None else canonical.dumps(canonical.plain(meta)),
                prev_hash=link,
            )
            assert text == entry["serialized"]
            link = hashing.hash_text(text)
            assert link == entry["hash"]
            seen += 1
    assert seen == 15


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
