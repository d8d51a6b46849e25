"""Where the log of checkpoints stands, from the database's copies, each held against the newest
signed root before it is used."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from nucleus_ledger.core.manifest import (
    Manifest,
    StreamHead,
    StreamsTree,
    parse_manifest,
    parse_stream_head,
)
from nucleus_ledger.core.merkle import CompactRange
from nucleus_ledger.core.tile import Tiler
from nucleus_ledger.errors import CheckpointRefused, InvalidProof
from nucleus_ledger.evidence import sinks, stored, trees
from nucleus_ledger.evidence.memory import Remembered

_AT_ONCE = 500


@dataclass(slots=True)
class State:
    """What the checkpoint before says, authenticated: the log's tree, and each stream's head."""

    log: CompactRange
    manifest: Manifest | None
    heads: dict[str, StreamHead]
    frontiers: dict[str, list[bytes]]
    tree: StreamsTree
    refetched: bool = False


def recall(using: str, remembered: Remembered | None, *, restoring: bool) -> State:
    """Return what the checkpoint before says; raises `CheckpointRefused` where copies differ."""
    if remembered is None:
        return State(CompactRange(), None, {}, {}, StreamsTree())
    try:
        return _authenticate(using, remembered)
    except CheckpointRefused:
        if not restoring or stored.size(using) > remembered.size:
            raise
    _fetch_missing(using, remembered)
    state = _authenticate(using, remembered)
    state.refetched = True
    return state


def _authenticate(using: str, remembered: Remembered) -> State:
    size, here = remembered.size, stored.size(using)
    if here < size:
        raise CheckpointRefused(
            f"{remembered.sink.name} is ahead of the database: size {size} there, {here} here. The "
            "database is an older one, or its checkpoints were removed. If it was put back "
            "honestly: --accept-restore REASON"
        )
    if here > size:
        raise CheckpointRefused(
            f"the database has {here} checkpoints and the newest that a sink holds is {size}; "
            "those between were not delivered, or are not of this signer"
        )
    manifest = remembered.sink.manifest(size - 1)
    try:
        return at(using, size, remembered.checkpoint.root, manifest)
    except InvalidProof as exc:
        raise CheckpointRefused(_forgotten(remembered, str(exc))) from exc


def at(using: str, size: int, root: bytes, manifest_text: str) -> State:
    """Return what the last manifest below a signed root says, from the database's copies.

    Costs the streams and not the manifests. Raises `InvalidProof` where the manifest and the
    copies are not those that the root is over.
    """
    before = stored.checkpoints(using).filter(number=size - 2).first()
    manifest = parse_manifest(manifest_text)
    log = CompactRange(size - 1, stored.split(stored.as_bytes(before.frontier)) if before else [])
    log.append(manifest.leaf)
    if log.root() != root or manifest.number != size - 1:
        raise InvalidProof("the manifests are not those of the note")
    copies = stored.heads_at(using, size - 1)
    heads = {name: parse_stream_head(text) for name, (text, _frontier) in copies.items()}
    tree = StreamsTree()
    for name, head in heads.items():
        if head.stream != name:
            raise InvalidProof(f"the head of stream {head.stream!r} stands under {name!r}")
        tree.put(head.key, head.leaf)
    if len(tree) != manifest.streams or tree.root().hex() != manifest.streams_root:
        raise InvalidProof(f"the stream heads are not those of manifest {size - 1}")
    frontiers = {name: frontier for name, (_text, frontier) in copies.items()}
    return State(log, manifest, heads, frontiers, tree)


def root_at(using: str, size: int, root: bytes, smaller: int) -> str | None:
    """Return the root (hex) of a log at a smaller size, from the database's copies of manifests.

    None where the copies do not lead to `root` at `size`.
    """
    log, found = CompactRange(), None
    while log.size < size:
        part = stored.checkpoints(using).filter(number__gte=log.size).order_by("number")
        texts = list(part.values_list("manifest", flat=True)[: min(size - log.size, _AT_ONCE)])
        for text in texts:
            try:
                log.append(parse_manifest(text).leaf)
            except InvalidProof:
                return None
            if log.size == smaller:
                found = log.root().hex()
        if not texts:
            return None
    return found if log.root() == root else None


def _forgotten(remembered: Remembered, what: str) -> str:
    return (
        f"the database's copies do not lead to the checkpoint of {remembered.sink.name}: {what}. "
        f"Nothing is signed. If it is an honest restore: --accept-restore REASON\n{remembered.note}"
    )


def _fetch_missing(using: str, remembered: Remembered) -> None:
    """Put the checkpoints back that an older database does not have, from the sink."""
    log = CompactRange()
    for manifest, _heads in sinks.documents(remembered.sink, 0, remembered.size):
        log.append(parse_manifest(manifest).leaf)
    if log.root() != remembered.checkpoint.root:
        raise CheckpointRefused(f"{remembered.sink.name}: the manifests are not those of its note")
    with transaction.atomic(using=using):
        stored.heads(using).all().delete()
        stored.checkpoints(using).all().delete()
        again = Tiler()
        for manifest, heads in sinks.documents(remembered.sink, 0, remembered.size):
            parsed = parse_manifest(manifest)
            again.append(parsed.leaf)
            changed = [(parse_stream_head(each), ()) for each in heads]
            gone = [each.stream for each in parsed.removed]
            checkpoint = stored.store(using, again.size - 1, manifest, again.hashes, changed, gone)
            checkpoint.note = remembered.sink.note(again.size)
            checkpoint.save(using=using)
        trees.replace(using, trees.LOG, again)
