"""A receipt: one entry, and all it takes to prove it to somebody who sees nothing else.

    entry text → (path in its stream) → stream head → (path in streams_root) → manifest
               → (path in the log) → signed checkpoint

The manifest should be the first that covers the entry, whose time then bounds its registration.
`before` proves, under the same checkpoint, that the manifest before that one has the stream and
does not cover the entry, which was registered after that manifest then. It is null where there is
no such manifest, and where the stream is not in it: to prove that takes the heads of other streams,
whose names are not for the receipt's reader.

As a text it is the RFC 8785 form of {"schema": "nucleus-ledger/receipt/v2", "before" (null or
{"manifest", "manifest_proof", "stream_head", "streams_index", "streams_proof"}), "checkpoint" (a
C2SP tlog-proof of the manifest), "entry", "manifest", "stream_head", "stream_proof",
"streams_index", "streams_proof"} and a newline. Proofs are lists of hashes in base64; the rest are
texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass
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
from nucleus_ledger.core.registration import Notice, between
from nucleus_ledger.core.signing import Verified
from nucleus_ledger.errors import Deserialization, InvalidProof

SCHEMA = "nucleus-ledger/receipt/v2"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Before:
    """The manifest before the receipt's, and the stream's head in it; nothing is checked."""

    manifest: str
    manifest_proof: tuple[bytes, ...]
    stream_head: str
    streams_index: int
    streams_proof: tuple[bytes, ...]


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
    before: Before | None = None

    def __str__(self) -> str:
        said = {"schema": SCHEMA, **_written(asdict(self))}
        if self.before:
            said["before"] = _written(asdict(self.before))
        return f"{canonical.dumps(said)}\n"


@dataclass(frozen=True, slots=True)
class Proved:
    """What a receipt that holds proves: the entry, and who signed the checkpoint it is under.

    `signed_by` are keys of the log, `cosigned_by` those of witnesses that were known. Times are ms
    since 1970, of the signer's clock.
    """

    entry: dict[str, Any]
    hash: str
    head: StreamHead
    manifest: Manifest
    checkpoint: Checkpoint
    signed_by: tuple[Verified, ...]
    before: Manifest | None = None
    cosigned_by: tuple[Verified, ...] = ()

    @property
    def registered_by(self) -> int:
        return self.manifest.milliseconds

    @property
    def registered_after(self) -> int | None:
        """After when the entry was registered; None where the receipt does not tell."""
        return self.before.milliseconds if self.before else None

    @property
    def registered(self) -> str:
        """Say between which checkpoints the entry was registered, and no more than is proved."""
        low, number = self.registered_after, self.manifest.number
        words = between(low, self.registered_by)
        if low is not None:
            return f"{words} (when the signer made checkpoints {number} and {number + 1})"
        said = f"{words} (when the signer made checkpoint {number + 1})"
        return said if number == 0 else f"{said}; the receipt does not tell after when"

    @property
    def times_judged(self) -> bool:
        """Whether it is known if the entry is late: before manifest 0 there is nothing."""
        return self.before is not None or self.manifest.number == 0

    def notices(self, slack: int) -> tuple[Notice, ...]:
        """Return the notice that the entry claims a time more than `slack` ms too early, if so."""
        after, entry = self.registered_after, self.entry
        if after is None or entry["timestamp"] >= after - slack:
            return ()
        lag, by = after - entry["timestamp"], self.registered_by
        return (Notice(self.head.stream, entry["sequence"], 1, lag, after, by),)


def parse(data: str | bytes) -> Receipt:
    """Read a receipt; raises `InvalidProof` unless writing it again gives the same text."""
    if len(data) > _MOST_BYTES:
        raise InvalidProof(f"the receipt is longer than {_MOST_BYTES} bytes")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        said = canonical.loads(text)
        if not isinstance(said, dict) or said.pop("schema", None) != SCHEMA:
            raise InvalidProof(f"not a receipt of {SCHEMA}")
        if said["before"] is not None:
            said["before"] = Before(**_read(said["before"]))
        receipt = Receipt(**_read(said))
        same = str(receipt) == text
    except (Deserialization, UnicodeError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidProof(f"not a receipt: {exc}") from None
    except ValueError as exc:
        raise InvalidProof(f"a hash of the receipt is {exc}") from None
    texts = [receipt.entry, receipt.stream_head, receipt.manifest, receipt.checkpoint]
    places = [receipt.streams_index]
    if receipt.before:
        texts += [receipt.before.manifest, receipt.before.stream_head]
        places.append(receipt.before.streams_index)
    if not same or any(type(each) is not int for each in places):
        raise InvalidProof("the receipt is not written in its one form")
    if not all(isinstance(each, str) for each in texts):
        raise InvalidProof("a part of the receipt is no text")
    return receipt


def check(
    receipt: Receipt,
    keys: Sequence[VerifierKey],
    ledgers: Set[str] | None = None,
    witnesses: Sequence[VerifierKey] = (),
) -> Proved:
    """Return what a receipt proves, or raise `InvalidProof` or `InvalidNote`.

    One of `keys` must have signed; how many of `witnesses` cosigned is for the caller to judge.
    Without `ledgers`, the ledgers it may be of, it is a proof of whatever ledger it names.
    """
    head = manifest.parse_stream_head(receipt.stream_head)
    under = manifest.parse_manifest(receipt.manifest)
    proof = inclusion.parse(receipt.checkpoint)
    signed = note.parse(proof.note)
    verified = signing.verify_log(signed, keys)
    cosigned = signing.cosignatures(signed, witnesses)
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
    before = _check_before(receipt.before, row.sequence, head, under, said)
    entry = canonical.loads(receipt.entry)
    return Proved(entry, row.hash, head, under, said, tuple(verified), before, tuple(cosigned))


def _check_before(
    before: Before | None, sequence: int, head: StreamHead, under: Manifest, said: Checkpoint
) -> Manifest | None:
    """Return the manifest before, which does not cover the entry; raises `InvalidProof`."""
    if before is None:
        return None
    manifest_before = manifest.parse_manifest(before.manifest)
    head_before = manifest.parse_stream_head(before.stream_head)
    number = under.number - 1
    if manifest_before.number != number:
        raise InvalidProof(
            f"manifest {manifest_before.number} is not the one before manifest {under.number}"
        )
    merkle.check_inclusion(
        manifest_before.leaf, number, said.size, before.manifest_proof, said.root
    )
    merkle.check_inclusion(
        head_before.leaf,
        before.streams_index,
        manifest_before.streams,
        before.streams_proof,
        bytes.fromhex(manifest_before.streams_root),
    )
    if head_before.stream != head.stream or head_before.length > sequence:
        raise InvalidProof(f"manifest {number} does not say that it leaves the entry out")
    return manifest_before


def _written(said: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a receipt, or of its part `before`, as JSON says them."""
    return {
        name: [base64text.encode(each) for each in value] if isinstance(value, tuple) else value
        for name, value in said.items()
    }


def _read(said: dict[str, Any]) -> dict[str, Any]:
    """Return what `_written` was made of; raises `ValueError` for what is no list of hashes."""
    return {
        name: tuple(map(base64text.decode, value)) if name.endswith("_proof") else value
        for name, value in said.items()
    }


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
