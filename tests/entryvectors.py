"""Documents that are entries, and some that are not: every verifier must say the same of each.

A vector changes members of a good entry at `AT`; a member of `GONE` is left out. Shared by the
walk, the receipts in Python and the receipts in the browser.
"""

from __future__ import annotations

from typing import Any

from nucleus_ledger.core import canonical, hashing, merkle, signing
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.inclusion import InclusionProof
from nucleus_ledger.core.manifest import Manifest, StreamHead
from nucleus_ledger.core.note import SignerKey
from nucleus_ledger.core.receipt import Receipt

ORIGIN = "example.com/persistent-ledger"
AT = 3
GONE = object()
GOOD: dict[str, dict[str, Any]] = {
    "as it is": {},
    "the first millisecond": {"timestamp": 1},
    "the last millisecond": {"timestamp": 2**53 - 1},
    "an id of one character": {"id": "x"},
    "an id of 200 characters": {"id": "é" * 200},
    "an id of 200 characters beyond U+FFFF": {"id": "\U0001f600" * 200},
    "an id with U+00A0 and U+2028": {"id": "\xa0\u2028"},
    "an array": {"payload": []},
    "with meta": {"meta": {}},
    "the first of its stream": {"sequence": 0, "prev_hash": None},
}
BAD: dict[str, dict[str, Any]] = {
    "a time below zero": {"timestamp": -5},
    "a time of zero": {"timestamp": 0},
    "a time with a fraction": {"timestamp": 1000.5},
    "a time beyond 2^53-1": {"timestamp": 2**53 + 2.0},
    "a time that is text": {"timestamp": "1000"},
    "a time of null": {"timestamp": None},
    "a time of true": {"timestamp": True},
    "an empty id": {"id": ""},
    "an id of 201 characters": {"id": "x" * 201},
    "an id of 300 characters": {"id": "x" * 300},
    "an id of 201 characters beyond U+FFFF": {"id": "\U0001f600" * 201},
    "an id with a line feed": {"id": "a\nb"},
    "an id with U+007F": {"id": "a\x7f"},
    "an id with U+0085": {"id": "\x85"},
    "an id that is a number": {"id": 5},
    "an id of null": {"id": None},
    "a link of other text": {"prev_hash": "x"},
    "a link of 63 digits": {"prev_hash": "a" * 63},
    "a link in upper case": {"prev_hash": "A" * 64},
    "a link with a line feed behind": {"prev_hash": "a" * 64 + "\n"},
    "a link that is a number": {"prev_hash": 5},
    "no link in the middle of a stream": {"prev_hash": None},
    "a link in the first of a stream": {"sequence": 0},
    "a payload of text": {"payload": "x"},
    "a payload of null": {"payload": None},
    "a meta of null": {"meta": None},
    "a meta that is an array": {"meta": []},
    "another tag": {"schema": "nucleus-ledger/v9"},
    "no tag": {"schema": GONE},
    "no time": {"timestamp": GONE},
    "a member more": {"extra": 1},
    "another stream": {"stream": "other"},
    "another ledger": {"ledger": "other"},
}
VECTORS = {**{name: (changes, True) for name, changes in GOOD.items()},
           **{name: (changes, False) for name, changes in BAD.items()}}  # fmt: skip


def document(changes: dict[str, Any]) -> dict[str, Any]:
    changed = {
        "id": "record-3",
        "ledger": "persistent-ledger",
        "payload": {"n": 3},
        "prev_hash": "ab" * 32,
        "schema": hashing.SCHEMA,
        "sequence": AT,
        "stream": "proofs",
        "timestamp": 1030,
    } | changes
    return {name: value for name, value in changed.items() if value is not GONE}


def receipt_of(said: dict[str, Any], signer: SignerKey) -> str:
    """Return a receipt of a document that is right in everything but the document."""
    text = canonical.dumps(said)
    digest = hashing.hash_text(text)
    before = [merkle.leaf_hash(bytes([n]) * 32) for n in range(AT)]
    proof = (before[2], merkle.node_hash(before[0], before[1])) if said["sequence"] == AT else ()
    index = said["sequence"]
    leaf = merkle.leaf_hash(bytes.fromhex(digest))
    root = merkle.root_of_inclusion(leaf, index, index + 1, proof)
    head = StreamHead("persistent-ledger", "proofs", index + 1, digest, root.hex(), 1030)
    made = Manifest("persistent-ledger", 0, "2026-11-24T04:45:55.605Z", 1, head.leaf.hex())
    signed = signing.sign(str(Checkpoint(ORIGIN, 1, made.leaf)), [signer])
    proved = InclusionProof(0, (), str(signed))
    return str(Receipt(text, tuple(proof), str(head), 0, (), str(made), str(proved)))
