"""Reads what a stream has that the last checkpoint does not, and brings its tree up to date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from django.db import connections, transaction

from nucleus_ledger import rowsource
from nucleus_ledger.acknowledgements import Acknowledgement
from nucleus_ledger.checking import Options, Plan, StreamCheck
from nucleus_ledger.conf import conf
from nucleus_ledger.core.chain import Cursor, Finding, judge_head, walk
from nucleus_ledger.core.manifest import StreamHead, parse_manifest, parse_stream_head
from nucleus_ledger.core.merkle import EMPTY_ROOT, leaf_hash
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.tile import Tiler
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.evidence import stored as copies
from nucleus_ledger.evidence import trees
from nucleus_ledger.rowsource import StoredStream


@dataclass(frozen=True, slots=True)
class Grown:
    """A stream's new head, and its tree; `whole` where all of it was read."""

    head: StreamHead
    tiler: Tiler
    key: int
    whole: bool


class _Tree:
    """Takes a stream's entries in order; anything else has no tree."""

    def __init__(self, stream: str, tiler: Tiler, recorded: list[StreamHead]) -> None:
        self.stream, self.tiler, self._recorded = stream, tiler, recorded
        self.kept = 0  # the length of the longest of `recorded` that the entries still have

    def feed(self, window: Window) -> None:
        for sequence, hash_ in zip(window.sequence, window.hash, strict=True):
            if sequence != self.tiler.size:
                raise IntegrityFailed(
                    f"stream {self.stream!r} has sequence {sequence!a} where {self.tiler.size} "
                    "should be: it has no tree"
                )
            self.tiler.append(_leaf(hash_))
            if self._recorded and self._recorded[0].length == self.tiler.size:
                head = self._recorded.pop(0)
                if head.root == self.tiler.root().hex():
                    self.kept = head.length


def read_new(using: str, stored: StoredStream, before: StreamHead, tiler: Tiler) -> Grown:
    """Read the entries behind `before`, and no others, as any verification would.

    Requires `before` not to be empty, and `tiler` to hold its tree. The new tree goes on from it,
    so that the new root is consistent with the old one (RFC 6962 section 2.1.2) by its making.
    Raises `IntegrityFailed` for the first finding.
    """
    head, connection = stored.head, connections[using]
    rules = rowsource.rules_for(connection, head.stream, conf.ledgers_of(using))
    time = before.timestamp
    cursor = Cursor(before.length, (before.head_hash,), time, True, time, before.ledger)
    tree = _Tree(head.stream, tiler, [])

    def windows() -> Iterator[Window]:
        for window in rowsource.read_windows(connection, stored.id, before.length, head.length):
            yield window
            tree.feed(window)

    for finding in walk(windows(), cursor, rules):
        raise IntegrityFailed(refusal(finding))
    broken = judge_head(head, cursor, rules)
    if broken:
        raise IntegrityFailed(refusal(broken))
    return Grown(_head_of(stored, tiler), tiler, stored.id or 0, False)


def read_whole(
    using: str,
    stored: StoredStream,
    acknowledged: tuple[Acknowledgement, ...],
    recorded: list[StreamHead],
) -> tuple[Grown, int]:
    """Read all of a stream, and return it with the length through which it is what it was.

    `recorded`: its recorded heads, ascending. Raises `IntegrityFailed` for a finding that is not
    acknowledged.
    """
    tree = _Tree(stored.head.stream, Tiler(), [each for each in recorded if each.length])
    options = replace(Options(conf.ledgers_of(using), conf.max_stored_findings), limit=1)
    plan = Plan(stored.id, stored.head, acknowledged=acknowledged)
    check = StreamCheck(using, plan, options, observe=tree.feed)
    check.read()
    check.conclude()
    report = check.report()
    if report.result == "tampered":
        raise IntegrityFailed(refusal(report.findings[0]))
    return Grown(_head_of(stored, tree.tiler), tree.tiler, stored.id or 0, True), tree.kept


def _append_all(tiler: Tiler, window: Window) -> None:
    """Add entries as they stand there to a tree, whatever they are."""
    for hash_ in window.hash:
        tiler.append(_leaf(hash_))


def _leaf(hash_: object) -> bytes:
    try:
        return leaf_hash(bytes.fromhex(str(hash_)))
    except ValueError:
        raise IntegrityFailed(f"an entry has {hash_!a} for its hash") from None


def refusal(finding: Finding) -> str:
    return (
        f"stream {finding.stream!r} at sequence {finding.sequence}: {finding.kind}: "
        f"{finding.message}"
    )


def _head_of(stored: StoredStream, tiler: Tiler) -> StreamHead:
    head = stored.head
    root = tiler.root() if tiler.size else EMPTY_ROOT
    return StreamHead(
        head.ledger, head.stream, head.length, head.head_hash, root.hex(), head.head_timestamp
    )


def rebuild_tiles(using: str) -> int:
    """Make all hash tiles anew from the entries and manifests; return how many trees there are."""
    count = 1
    log = Tiler()
    for manifest, _heads in copies.documents(using, 0, copies.size(using)):
        log.append(parse_manifest(manifest).leaf)
    with transaction.atomic(using=using):
        trees.replace(using, trees.LOG, log)
    size = copies.size(using)
    for name, (text, _frontier) in copies.heads_at(using, size - 1).items():
        head = parse_stream_head(text)
        found = rowsource.read_heads(connections[using], [name])
        if not found or not head.length:
            continue
        part = StoredStream(found[0].id, found[0].head)
        tiler = Tiler()
        for window in rowsource.read_windows(connections[using], part.id, 0, head.length):
            _append_all(tiler, window)
        if tiler.size != head.length or tiler.root().hex() != head.root:
            raise IntegrityFailed(f"stream {name!r} is not the one that was recorded")
        with transaction.atomic(using=using):
            trees.replace(using, part.id or 0, tiler)
        count += 1
    return count
