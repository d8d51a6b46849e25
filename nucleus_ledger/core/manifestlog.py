"""What the log of manifests says of each stream, and holding a stream's entries against it.

Nothing here is trusted for where it was found: documents may come from the very database they
speak about. They count where the root over them is the one of a signed checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.manifest import (
    Manifest,
    Removed,
    Restored,
    StreamHead,
    StreamsTree,
    parse_manifest,
    parse_stream_head,
)
from nucleus_ledger.core.merkle import CompactRange, leaf_hash
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.shown import evidence
from nucleus_ledger.errors import InvalidProof

Notes = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """A state of a stream that manifests record: `first` is the first of them, by number.

    `since` and `until` are when the first and the last of them were made (ms since 1970). Entries
    after it were registered after `until`. Without a head the stream was not there.
    """

    head: StreamHead | None
    first: int
    since: int
    until: int

    @property
    def length(self) -> int:
        return self.head.length if self.head else 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What checkpoints say of one stream: its marks, ascending by length.

    `complete`: these are all its marks, and not the newest alone. `slack`: by how many ms an entry
    may claim to be older than the checkpoint before it without being called late. `witnessed`: by
    enough witnesses. `notes`: the signed note that says so, and the one of its size that stands
    beside the ledger; a finding carries both, so that it proves itself.
    """

    marks: tuple[Mark, ...]
    slack: int = 0
    complete: bool = True
    witnessed: bool = False
    notes: Notes | None = None

    @property
    def length(self) -> int:
        """Through which length the checkpoints speak of the stream."""
        return self.marks[-1].length if self.marks else 0

    @property
    def recorded(self) -> bool:
        return any(mark.head for mark in self.marks)

    @property
    def times_from(self) -> int:
        """From which sequence on the marks tell after when an entry was registered."""
        return 0 if self.complete else self.length


@dataclass(slots=True)
class _Span:
    """A state of a stream, and the manifests from `first` to `last` (None: the newest) with it."""

    head: StreamHead | None
    first: int
    last: int | None = None


class ManifestLog:
    """The log of manifests, read from its beginning: its root, and all states of each stream."""

    complete = True

    def __init__(self) -> None:
        self.tree = CompactRange()
        self.streams = StreamsTree()
        self.heads: dict[str, StreamHead] = {}
        self.last: Manifest | None = None
        self.notices: list[str] = []
        self._spans: dict[str, list[_Span]] = {}
        self._made: list[int] = []
        self._roots: list[bytes] = []

    @property
    def size(self) -> int:
        return self.tree.size

    def add(self, text: str, heads: Iterable[str]) -> Manifest:
        """Add a manifest with the heads that are new or changed in it.

        Raises `InvalidProof` where they do not fit together, or do not follow what was before.
        """
        manifest = parse_manifest(text)
        if manifest.number != self.size:
            raise InvalidProof(f"manifest {self.size} says it is manifest {manifest.number}")
        changed = _by_stream(heads)
        self._leave_out(manifest, changed)
        restored = {each.stream for each in manifest.restored}
        for name, head in changed.items():
            before = self.heads.get(name)
            if before and head.length <= before.length:
                raise InvalidProof(
                    f"manifest {manifest.number}: stream {name!r} has {head.length} entries, "
                    f"and had {before.length} before"
                )
            self._record(head, manifest.number, new=name not in restored)
        if manifest.streams != len(self.streams) or manifest.streams_root != (
            self.streams.root().hex()
        ):
            raise InvalidProof(
                f"manifest {manifest.number}: the heads of its streams are not those it commits to"
            )
        self.tree.append(manifest.leaf)
        self._roots.append(self.tree.root())
        self._made.append(manifest.milliseconds)
        self.last = manifest
        return manifest

    def root_at(self, size: int) -> str | None:
        """Return the root (hex) over the first manifests; None where there are not so many."""
        return self._roots[size - 1].hex() if 0 < size <= self.size else None

    def marks(self, stream: str) -> tuple[Mark, ...]:
        """Return what is known of a stream, ascending by length; of an unknown one its absence."""
        spans = self._spans.get(stream) or [_Span(None, 0)]
        return tuple(
            Mark(span.head, span.first, self._since(span), self._until(span)) for span in spans
        )

    def kept(self, stream: str) -> list[StreamHead]:
        """Return the recorded heads of a stream that still hold, ascending by length."""
        return [span.head for span in self._spans.get(stream, ()) if span.head]

    def _since(self, span: _Span) -> int:
        return self._made[span.first] if self._made else 0

    def _until(self, span: _Span) -> int:
        last = self.size if span.last is None else span.last + 1
        return max(self._made[span.first : last], default=0)

    def _record(self, head: StreamHead, number: int, *, new: bool) -> None:
        self.heads[head.stream] = head
        self.streams.put(head.key, head.leaf)
        spans = self._spans.setdefault(head.stream, [])
        if not spans and number and new:  # one that was put back was there before
            spans.append(_Span(None, 0))
        if spans and spans[-1].last is None:
            spans[-1].last = number - 1
        spans.append(_Span(head, number))

    def _leave_out(self, manifest: Manifest, changed: Mapping[str, StreamHead]) -> None:
        """Take back what a manifest says no longer holds of streams removed or restored."""
        number = manifest.number
        excepted: list[Removed | Restored] = [*manifest.removed, *manifest.restored]
        for each in excepted:
            before = self.heads.pop(each.stream, None)
            if before is None or before.length != each.length:
                raise InvalidProof(
                    f"manifest {number} speaks of stream {each.stream!r} with {each.length} "
                    "entries, which was not there"
                )
            self.streams.remove(before.key)
        for gone in manifest.removed:
            if gone.stream in changed:
                raise InvalidProof(f"manifest {number} removes stream {gone.stream!r} and has it")
            self._spans.pop(gone.stream, None)
            self.notices.append(
                f"manifest {number} records that stream {gone.stream!r} ({gone.length} entries) "
                f"was removed: {gone.reason}"
            )
        for back in manifest.restored:
            head = changed.get(back.stream)
            if head is None or head.length < back.kept:
                raise InvalidProof(
                    f"manifest {number} restores stream {back.stream!r} to {back.kept} entries "
                    "or more, and has fewer"
                )
            spans = self._spans.get(back.stream, [])
            spans[:] = [each for each in spans if not each.head or each.head.length <= back.kept]
            self.notices.append(
                f"manifest {number} records that stream {back.stream!r} was restored: of "
                f"{back.length} entries {back.kept} are as they were: {back.reason}"
            )


@dataclass(frozen=True, slots=True)
class NewestManifest:
    """One manifest with the heads of all its streams, which says of each its newest state only."""

    manifest: Manifest
    heads: Mapping[str, StreamHead]
    complete = False

    @property
    def last(self) -> Manifest:
        return self.manifest

    def marks(self, stream: str) -> tuple[Mark, ...]:
        made = self.manifest.milliseconds
        return (Mark(self.heads.get(stream), self.manifest.number, made, made),)


@dataclass(slots=True)
class Follower:
    """Reckons the tree over a stream's entries as they are read, and compares it at each mark.

    Can be taken up again: `tree` and `passed` are all it knows.
    """

    stream: str
    expectation: Expectation
    tree: CompactRange = field(default_factory=CompactRange)
    passed: int = 0
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        marks = self.expectation.marks
        while self.passed < len(marks) and not marks[self.passed].length:
            self.passed += 1  # an empty stream has nothing to compare

    def feed(self, window: Window) -> None:
        """Take the next rows; requires them in the order of a walk from the first entry on."""
        place = 0
        while place < window.size and self.passed < len(self.expectation.marks):
            if window.sequence[place] != self.tree.size:
                place += 1  # missing or repeated: the walk says so, and no later root can be right
                continue
            stop = place + self._run(window.sequence, place)
            for hash_ in window.hash[place:stop]:
                self.tree.append(_leaf(hash_))
            self._compare(window.hash[stop - 1])
            place = stop

    def conclude(self) -> None:
        """Judge the marks that the entries did not reach."""
        rest = [mark for mark in self.expectation.marks[self.passed :] if mark.length]
        if rest:
            self._differs(rest[0], None)
        self.passed = len(self.expectation.marks)

    @property
    def fits(self) -> bool:
        return not self.findings and self.passed == len(self.expectation.marks)

    def _run(self, sequence: Sequence[Any], place: int) -> int:
        """Return how many rows from a place on follow each other before the next mark."""
        start = self.tree.size
        count = min(len(sequence) - place, self.expectation.marks[self.passed].length - start)
        following = list(range(start, start + count))
        return count if list(sequence[place : place + count]) == following else 1

    def _compare(self, hash_: Any) -> None:
        """Hold the entries so far against the marks of their number.

        There are two of one number where a restore brought back what an earlier manifest recorded.
        """
        marks = self.expectation.marks
        while self.passed < len(marks) and marks[self.passed].length == self.tree.size:
            head = marks[self.passed].head
            if head and (head.head_hash != hash_ or head.root != self.tree.root().hex()):
                self._differs(marks[self.passed], hash_)
                self.passed = len(marks)
            else:
                self.passed += 1

    def _differs(self, mark: Mark, hash_: Any) -> None:
        head = mark.head
        assert head is not None
        actual: dict[str, Any] = {"length": self.tree.size}
        if self.tree.size == head.length:
            actual |= {"head_hash": evidence(str(hash_)), "root": self.tree.root().hex()}
        self.findings.append(mismatch(head, mark.first, actual, self.expectation.notes))


def mismatch(
    head: StreamHead, number: int, actual: dict[str, Any], notes: Notes | None = None
) -> Finding:
    """Return the finding that a stream is not the one that a manifest recorded."""
    expected = {"length": head.length, "head_hash": head.head_hash, "root": head.root}
    return Finding(
        "checkpoint_mismatch",
        head.stream,
        max(head.length - 1, 0),
        None,
        (),
        {"manifest": number, **expected, **_note(notes, 0)},
        {**actual, **_note(notes, 1)},
        f"the first {head.length} entries are not those that manifest {number} recorded",
    )


def _note(notes: Notes | None, which: int) -> dict[str, Any]:
    return {} if notes is None else {"note": notes[which]}


def _by_stream(heads: Iterable[str]) -> dict[str, StreamHead]:
    found: dict[str, StreamHead] = {}
    for text in heads:
        head = parse_stream_head(text)
        if head.stream in found:
            raise InvalidProof(f"stream {head.stream!r} has two heads in one manifest")
        found[head.stream] = head
    return found


def _leaf(hash_: Any) -> bytes:
    """Return the leaf of an entry's hash, or of what somebody put in its place."""
    try:
        return leaf_hash(bytes.fromhex(hash_))
    except (TypeError, ValueError):
        return leaf_hash(ascii(hash_).encode())
