"""Makes receipts of entries, and lets none leave that does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Max

from nucleus_ledger.conf import conf
from nucleus_ledger.core import checkpoint, inclusion, merkle, note, receipt
from nucleus_ledger.core.merkle import Node
from nucleus_ledger.core.receipt import Receipt
from nucleus_ledger.errors import IntegrityFailed, InvalidNote, InvalidProof, NotFound
from nucleus_ledger.evidence import signers, state, stored, trees

if TYPE_CHECKING:
    from nucleus_ledger.evidence.state import State
    from nucleus_ledger.models import Entry


def make(entry: Entry) -> Receipt:
    """Return a receipt of an entry under the newest checkpoint of its database.

    Reads at most 256 entries and the tiles above them, however long the stream is, and a line for
    each stream. Raises `NotFound` where no checkpoint has the entry yet, `IntegrityFailed` where
    what is stored does not lead from the entry to a signed root.
    """
    using = entry._state.db or "default"
    name = entry.stream.name
    newest = stored.checkpoints(using).aggregate(newest=Max("number"))["newest"]
    if newest is None:
        raise NotFound("there is no checkpoint yet, so there is nothing to prove an entry by")
    row = stored.checkpoints(using).get(number=newest)
    keys = conf.checkpoint_vkeys or signers.verifiers(signers.configured())
    try:
        said = checkpoint.parse(note.parse(row.note).text)
        found = state.at(using, said.size, said.root, row.manifest)
        head = found.heads.get(name)
        if head is None or entry.sequence >= head.length:
            has = head.length if head else 0
            raise NotFound(
                f"checkpoint {said.size} has {has} entries of stream {name!r}, and entry "
                f"{entry.sequence} is not among them: the next checkpoint will have it"
            )
        made = Receipt(
            entry.serialized,
            tuple(_stream_proof(using, entry, found)),
            str(head),
            found.tree.index(head.key),
            tuple(_streams_proof(found, head.key)),
            row.manifest,
            str(inclusion.InclusionProof(said.size - 1, _log_proof(using, said.size), row.note)),
        )
        receipt.check(receipt.parse(str(made)), keys, conf.accepted_ledgers)
    except (InvalidProof, InvalidNote) as exc:
        raise IntegrityFailed(
            f"no receipt can be made of entry {entry.sequence} of stream {name!r}: {exc}. Verify "
            "the ledger against a checkpoint; damaged tiles are made anew by "
            "`manage.py checkpoint_ledger --rebuild-tiles`"
        ) from exc
    return made


def _stream_proof(using: str, entry: Entry, found: State) -> list[bytes]:
    length = found.heads[entry.stream.name].length
    return trees.proof(
        using,
        entry.stream_id,
        merkle.inclusion_nodes(entry.sequence, length),
        trees.entry_leaves(using, entry.stream_id),
        _known(length, found.frontiers[entry.stream.name]),
    )


def _streams_proof(found: State, key: bytes) -> list[bytes]:
    nodes = merkle.inclusion_nodes(found.tree.index(key), len(found.tree))
    leaves = found.tree.leaves(0, len(found.tree))

    def root(node: Node) -> bytes:
        low = node.position << node.level
        return merkle.root_of(leaves[low : low + (1 << node.level)])

    return [merkle.fold([root(node) for node in part]) for part in nodes]


def _log_proof(using: str, size: int) -> tuple[bytes, ...]:
    """Return the path of the newest manifest: what stands before it is its whole path."""
    before = stored.checkpoints(using).filter(number=size - 2).first()
    known = _known(size - 1, stored.split(bytes(before.frontier)) if before else [])
    nodes = merkle.inclusion_nodes(size - 1, size)
    return tuple(trees.proof(using, trees.LOG, nodes, trees.manifest_leaves(using), known))


def _known(size: int, hashes: list[bytes]) -> dict[Node, bytes]:
    return trees.frontier(size, hashes) if len(hashes) == size.bit_count() else {}
