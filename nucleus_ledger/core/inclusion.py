"""An inclusion proof with its checkpoint as one text (C2SP tlog-proof)."""

from __future__ import annotations

from dataclasses import dataclass

from nucleus_ledger.core import base64text
from nucleus_ledger.core.merkle import HASH_BYTES
from nucleus_ledger.errors import InvalidProof

HEADER = "c2sp.org/tlog-proof@v1"
_MOST_HASHES = 63


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """The place of a leaf, the hashes from it to the root, and the signed note of that root."""

    index: int
    hashes: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {base64text.encode(self.extra)}"]
        hashes = map(base64text.encode, self.hashes)
        head = "\n".join([HEADER, *extra, f"index {self.index}", *hashes])
        return f"{head}\n\n{self.note}"


def parse(text: str) -> InclusionProof:
    """Read a proof; raises `InvalidProof`. Neither the proof nor its note is checked."""
    head, blank, note = text.partition("\n\n")
    header, *lines = head.split("\n")
    if header != HEADER or not blank or not note or not lines:
        raise InvalidProof("not a proof of c2sp.org/tlog-proof@v1")
    extra: bytes | None = None
    try:
        if lines[0].startswith("extra "):
            extra = base64text.decode(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise InvalidProof("the proof has no index")
        index = base64text.decimal(lines.pop(0).removeprefix("index "))
        hashes = tuple(map(base64text.decode, lines))
    except ValueError as exc:
        if isinstance(exc, InvalidProof):
            raise
        raise InvalidProof(f"a line of the proof is {exc}") from None
    if len(hashes) > _MOST_HASHES or any(len(each) != HASH_BYTES for each in hashes):
        raise InvalidProof(f"the proof has more than {_MOST_HASHES} hashes, or one of another size")
    return InclusionProof(index, hashes, note, extra)
