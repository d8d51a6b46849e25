"""A receipt: one entry, and all it takes to prove it to somebody who sees nothing else.

    entry text → (path in its stream) → stream head → (path in streams_root) → manifest
               → (path in the log) → signed checkpoint

As a text it is the RFC 8785 form of {"schema": "nucleus-ledger/receipt/v1", "checkpoint" (a C2SP
tlog-proof of the manifest), "entry", "manifest", "stream_head", "stream_proof", "streams_index",
"streams_proof"} and a newline. Proofs are lists of hashes in base64; the rest are texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from nucleus_ledger.core import (
    base64text,
    canonical,
    checkpoint,
    inclusion,
    manifest,
    merkle,
    note,
    signing,
)
from nucleus_ledger.core.chain import Cursor, Rules, walk
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.entrytext import row_of
from nucleus_ledger.core.manifest import Manifest, StreamHead
from nucleus_ledger.core.note import VerifierKey
from nucleus_ledger.core.rebuilding import Row, Window
from nucleus_ledger.core.signing import Verified
from nucleus_ledger.errors import Deserialization, InvalidProof

SCHEMA = "nucleus-ledger/receipt/v1"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Receipt:
    """The parts of a receipt, as they stand in it; none of them is checked."""

    entry: str
    stream_proof: tuple[bytes, ...]
    stream_head: str
    streams_index: int
    streams_proof: tuple[bytes, ...]
    manifest: str
    checkpoint: str

    def __str__(self) -> str:
        said = {
            "schema": SCHEMA,
            "entry": self.entry,
            "stream_proof": list(map(base64text.encode, self.stream_proof)),
            "stream_head": self.stream_head,
            "streams_index": self.streams_index,
            "streams_proof": list(map(base64text.encode, self.streams_proof)),
            "manifest": self.manifest,
            "checkpoint": self.checkpoint,
        }
        return f"{canonical.dumps(said)}\n"


@dataclass(frozen=True, slots=True)
class Proved:
    """What a receipt that holds proves: the entry, and who signed the checkpoint it is under."""

    entry: dict[str, Any]
    hash: str
    head: StreamHead
    manifest: Manifest
    checkpoint: Checkpoint
    signed_by: tuple[Verified, ...]


def parse(data: str | bytes) -> Receipt:
    """Read a receipt; raises `InvalidProof` unless writing it again gives the same text."""
    if len(data) > _MOST_BYTES:
        raise InvalidProof(f"the receipt is longer than {_MOST_BYTES} bytes")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        said = canonical.loads(text)
        if not isinstance(said, dict) or said.pop("schema", None) != SCHEMA:
            raise InvalidProof(f"not a receipt of {SCHEMA}")
        for name in ("stream_proof", "streams_proof"):
            said[name] = tuple(base64text.decode(each) for each in said[name])
        receipt = Receipt(**said)
        same = str(receipt) == text
    except (Deserialization, UnicodeError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidProof(f"not a receipt: {exc}") from None
    except ValueError as exc:
        raise InvalidProof(f"a hash of the receipt is {exc}") from None
    texts = (receipt.entry, receipt.stream_head, receipt.manifest, receipt.checkpoint)
    if not same or type(receipt.streams_index) is not int:
        raise InvalidProof("the receipt is not written in its one form")
    if not all(isinstance(each, str) for each in texts):
        raise InvalidProof("a part of the receipt is no text")
    return receipt


def check(receipt: Receipt, keys: Sequence[VerifierKey], ledgers: Set[str] | None = None) -> Proved:
    """Return what a receipt proves, or raise `InvalidProof` or `InvalidNote`.

    Needs the key of the signer, and takes cosignatures of witnesses among `keys` into account.
    Without `ledgers`, the ledgers it may be of, it is a proof of whatever ledger it names.
    """
    head = manifest.parse_stream_head(receipt.stream_head)
    under = manifest.parse_manifest(receipt.manifest)
    proof = inclusion.parse(receipt.checkpoint)
    signed = note.parse(proof.note)
    verified = signing.verify(signed, keys)
    said = checkpoint.parse(signed.text)
    merkle.check_inclusion(under.leaf, proof.index, said.size, proof.hashes, said.root)
    if proof.index != under.number:
        raise InvalidProof(f"manifest {under.number} stands at place {proof.index} of the log")
    streams_root = bytes.fromhex(under.streams_root)
    merkle.check_inclusion(
        head.leaf, receipt.streams_index, under.streams, receipt.streams_proof, streams_root
    )
    row = _entry(receipt.entry, head)
    merkle.check_inclusion(
        merkle.leaf_hash(bytes.fromhex(row.hash)),
        row.sequence,
        head.length,
        receipt.stream_proof,
        bytes.fromhex(head.root),
    )
    _check_ledger(head, under, said, ledgers)
    entry = canonical.loads(receipt.entry)
    return Proved(entry, row.hash, head, under, said, tuple(verified))


def _entry(text: str, head: StreamHead) -> Row:
    """Return the entry's row; raises `InvalidProof` unless it is one of the head's stream."""
    row = row_of(text)
    if type(row.sequence) is not int:
        raise InvalidProof("the entry's sequence is no whole number")
    rules = Rules(head.stream, frozenset({head.ledger}), deep=True)
    for finding in walk([Window.of([row])], Cursor.at(row.sequence), rules):
        raise InvalidProof(f"the entry: {finding.kind}: {finding.message}")
    return row


def _check_ledger(
    head: StreamHead, under: Manifest, said: Checkpoint, ledgers: Iterable[str] | None
) -> None:
    if not said.origin.endswith(under.ledger):
        raise InvalidProof(f"a checkpoint of {said.origin!r} signs for ledger {under.ledger!r}")
    if ledgers is None:
        return
    for ledger in (head.ledger, under.ledger):
        if ledger not in ledgers:
            raise InvalidProof(f"it is of ledger {ledger!r}, and not of {sorted(ledgers)}")
