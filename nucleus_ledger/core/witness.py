"""Asking a witness for its cosignature, as texts (C2SP tlog-witness, `add-checkpoint`)."""

from __future__ import annotations

from collections.abc import Sequence

from nucleus_ledger.core import base64text, note
from nucleus_ledger.core.merkle import HASH_BYTES
from nucleus_ledger.core.note import Note, Signature
from nucleus_ledger.errors import InvalidNote, InvalidProof

MOST_HASHES = 63
SIZE_TYPE = "text/x.tlog.size"


def format_request(old: int, proof: Sequence[bytes], signed: Note) -> str:
    """Return the body of a request: the size the witness has, the proof from it, the note."""
    if len(proof) > MOST_HASHES:
        raise InvalidProof(f"a consistency proof has at most {MOST_HASHES} hashes")
    lines = "".join(f"{base64text.encode(each)}\n" for each in proof)
    return f"old {old}\n{lines}\n{signed}"


def parse_request(body: str) -> tuple[int, list[bytes], Note]:
    """Read a request; raises `InvalidProof` or `InvalidNote`."""
    head, blank, rest = body.partition("\n\n")
    first, *lines = head.split("\n")
    if not blank or not first.startswith("old "):
        raise InvalidProof("a request begins with the old size, and has a blank line")
    try:
        old = base64text.decimal(first.removeprefix("old "))
        proof = list(map(base64text.decode, lines))
    except ValueError as exc:
        raise InvalidProof(f"a line of the request is {exc}") from None
    if len(proof) > MOST_HASHES or any(len(each) != HASH_BYTES for each in proof):
        raise InvalidProof(f"the proof has more than {MOST_HASHES} hashes, or one of another size")
    return old, proof, note.parse(rest)


def parse_response(body: str) -> list[Signature]:
    """Read the lines of cosignatures that a witness answers with; raises `InvalidNote`."""
    if not body.endswith("\n"):
        raise InvalidNote("the answer is cut off")
    return [note.parse_signature(line) for line in body[:-1].split("\n")]
