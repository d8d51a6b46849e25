"""The text of a checkpoint (C2SP tlog-checkpoint): what a signer says of a log at one size."""

from __future__ import annotations

from dataclasses import dataclass

from nucleus_ledger.core import base64text
from nucleus_ledger.core.merkle import HASH_BYTES
from nucleus_ledger.errors import InvalidNote


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Origin, size and root (32 bytes) of a log; `extensions` are lines that stand behind them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the text of the note; raises `InvalidNote` where `parse` would not read it."""
        if not self.origin or any(not line for line in self.extensions):
            raise InvalidNote("a checkpoint has an empty line")
        if len(self.root) != HASH_BYTES or not 0 <= self.size < 1 << 63:
            raise InvalidNote("a checkpoint has a root of 32 bytes, and a size below 2^63")
        lines = (self.origin, str(self.size), base64text.encode(self.root), *self.extensions)
        if any("\n" in line for line in lines):
            raise InvalidNote("a line of a checkpoint has a newline in it")
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Checkpoint:
    """Read the text of a note as a checkpoint; raises `InvalidNote`."""
    if not text.endswith("\n"):
        raise InvalidNote("the checkpoint does not end in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise InvalidNote("a checkpoint has three lines or more, none of them empty")
    origin, size, root, *extensions = lines
    try:
        found = Checkpoint(
            origin, base64text.decimal(size), base64text.decode(root), tuple(extensions)
        )
    except ValueError as exc:
        raise InvalidNote(f"the size or the root of the checkpoint is {exc}") from None
    if len(found.root) != HASH_BYTES:
        raise InvalidNote(f"the root of the checkpoint is not {HASH_BYTES} bytes long")
    return found
