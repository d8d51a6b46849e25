"""Makes receipts of entries, and lets none leave that does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nucleus_ledger.conf import conf
from nucleus_ledger.core import inclusion, merkle, receipt
from nucleus_ledger.core.manifest import StreamHead, StreamsTree, parse_stream_head
from nucleus_ledger.core.merkle import Node
from nucleus_ledger.core.receipt import Before, Proved, Receipt
from nucleus_ledger.errors import IntegrityFailed, InvalidNote, InvalidProof, NotFound
from nucleus_ledger.evidence import signers, stored, trees

if TYPE_CHECKING:
    from nucleus_ledger.models import Checkpoint, Entry


@dataclass(slots=True)
class _Heads:
    """The heads of all streams as a manifest has them, as the database's copies say."""

    tree: StreamsTree
    heads: dict[str, tuple[StreamHead, list[bytes]]]

    @classmethod
    def at(cls, using: str, number: int) -> _Heads:
        found = cls(StreamsTree(), {})
        for name, (text, frontier) in stored.heads_at(using, number).items():
            head = parse_stream_head(text)
            found.heads[name] = head, frontier
            found.tree.put(head.key, head.leaf)
        return found

    def proof(self, key: bytes) -> tuple[bytes, ...]:
        nodes = merkle.inclusion_nodes(self.tree.index(key), len(self.tree))
        leaves = self.tree.leaves(0, len(self.tree))

        def root(node: Node) -> bytes:
            low = node.position << node.level
            return merkle.root_of(leaves[low : low + (1 << node.level)])

        return tuple(merkle.fold([root(node) for node in part]) for part in nodes)


def make(entry: Entry) -> tuple[Receipt, Proved]:
    """Return a receipt of an entry under the newest checkpoint of its database, and what it proves.

    Its manifest is the first that covers the entry, and the one before it is there too, where it
    has the stream. Reads at most 256 entries and the tiles above them, however long the stream is,
    and the recorded heads of all streams. Raises `NotFound` where no checkpoint has the entry yet,
    `IntegrityFailed` where what is stored does not lead from the entry to a signed root.
    """
    using = entry._state.db or "default"
    name = entry.stream.name
    signed = stored.checkpoints(using).order_by("-number").first()
    if signed is None:
        raise NotFound("there is no checkpoint yet, so there is nothing to prove an entry by")
    newest = signed.number
    keys = conf.checkpoint_vkeys or signers.verifiers(signers.configured())
    trouble: Exception | None = None
    try:
        _check_is_covered(using, entry, newest)
        for number in _candidates(using, entry, newest):
            try:
                made = _made(using, entry, number, signed)
                proved = receipt.check(receipt.parse(str(made)), keys, conf.ledgers_of(using))
            except (InvalidProof, InvalidNote) as exc:
                trouble = exc
            else:
                return made, proved
    except InvalidProof as exc:
        trouble = exc
    raise IntegrityFailed(
        f"no receipt can be made of entry {entry.sequence} of stream {name!r}: {trouble}. Verify "
        "the ledger against a checkpoint; damaged tiles are made anew by "
        "`manage.py checkpoint_ledger --rebuild-tiles`"
    ) from trouble


def _check_is_covered(using: str, entry: Entry, newest: int) -> None:
    row = stored.heads(using).filter(stream=entry.stream.name, until__isnull=True).first()
    length = parse_stream_head(stored.as_text(row.text)).length if row else 0
    if entry.sequence >= length:
        raise NotFound(
            f"checkpoint {newest + 1} has {length} entries of stream {entry.stream.name!r}, and "
            f"entry {entry.sequence} is not among them: the next checkpoint will have it"
        )


def _candidates(using: str, entry: Entry, newest: int) -> Iterator[int]:
    """Yield manifests to prove an entry by: the first that covers it, by what copies say.

    After a restore that one may cover another entry of that sequence, and the newest does not.
    """
    first = stored.first_covering(using, entry.stream.name, entry.sequence)
    if first is not None and first < newest:
        yield first
    yield newest


def _made(using: str, entry: Entry, number: int, signed: Checkpoint) -> Receipt:
    """Make a receipt that is not checked; raises `InvalidProof` where something is missing."""
    name = entry.stream.name
    size = signed.number + 1
    heads = _Heads.at(using, number)
    if name not in heads.heads:
        raise InvalidProof(f"manifest {number} does not have stream {name!r}")
    head, frontier = heads.heads[name]
    if entry.sequence >= head.length:
        raise InvalidProof(f"manifest {number} does not cover the entry")
    return Receipt(
        entry.serialized,
        _stream_proof(using, entry, head, frontier),
        str(head),
        heads.tree.index(head.key),
        heads.proof(head.key),
        _manifest(using, number),
        str(
            inclusion.InclusionProof(
                number, _log_proof(using, number, size), stored.as_text(signed.note)
            )
        ),
        _before(using, entry, number, size),
    )


def _before(using: str, entry: Entry, number: int, size: int) -> Before | None:
    """Return the manifest before, if it has the stream and not the entry."""
    if not number:
        return None
    heads = _Heads.at(using, number - 1)
    head, _frontier = heads.heads.get(entry.stream.name, (None, []))
    if head is None or head.length > entry.sequence:
        return None
    return Before(
        _manifest(using, number - 1),
        _log_proof(using, number - 1, size),
        str(head),
        heads.tree.index(head.key),
        heads.proof(head.key),
    )


def _manifest(using: str, number: int) -> str:
    text = stored.checkpoints(using).filter(number=number).values_list("manifest", flat=True)
    found = text.first()
    if found is None:
        raise InvalidProof(f"the database does not have manifest {number}")
    return stored.as_text(found)


def _stream_proof(
    using: str, entry: Entry, head: StreamHead, frontier: list[bytes]
) -> tuple[bytes, ...]:
    return tuple(
        trees.proof(
            using,
            entry.stream_id,
            merkle.inclusion_nodes(entry.sequence, head.length),
            trees.entry_leaves(using, entry.stream_id),
            _known(head.length, frontier),
        )
    )


def _log_proof(using: str, number: int, size: int) -> tuple[bytes, ...]:
    """Return the path of a manifest to the root over the first `size`."""
    newest = stored.checkpoints(using).filter(number=size - 1).first()
    known = _known(size, stored.split(stored.as_bytes(newest.frontier)) if newest else [])
    nodes = merkle.inclusion_nodes(number, size)
    return tuple(trees.proof(using, trees.LOG, nodes, trees.manifest_leaves(using), known))


def _known(size: int, hashes: list[bytes]) -> dict[Node, bytes]:
    return trees.frontier(size, hashes) if len(hashes) == size.bit_count() else {}
