"""The log of manifests and what it demands of entries, against slow and obvious ways to tell."""

from __future__ import annotations

import hashlib
import random

import pytest

from nucleus_ledger.core.manifest import (
    Manifest,
    Removed,
    Restored,
    StreamHead,
    StreamsTree,
    key_of,
)
from nucleus_ledger.core.manifestlog import Expectation, Follower, ManifestLog
from nucleus_ledger.core.merkle import EMPTY_ROOT, leaf_hash, root_of
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.errors import InvalidProof

START = 1_795_478_400_000  # 2026-11-24T00:00:00Z


def hashes(stream: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{stream}{n}".encode()).hexdigest() for n in range(count)]


def head(stream: str, length: int, of: list[str] | None = None) -> StreamHead:
    chain = (of or hashes(stream, length))[:length]
    root = root_of(leaf_hash(bytes.fromhex(each)) for each in chain)
    return StreamHead(
        "ledger", stream, length, chain[-1] if chain else None,
        root.hex() if chain else EMPTY_ROOT.hex(), START + length if chain else None,
    )  # fmt: skip


class Site:
    """Makes a log as a signer does; each manifest a second after the one before."""

    def __init__(self) -> None:
        self.log = ManifestLog()
        self.tree = StreamsTree()

    def add(
        self,
        heads: list[StreamHead],
        removed: tuple[Removed, ...] = (),
        restored: tuple[Restored, ...] = (),
    ) -> Manifest:
        for gone in removed:
            self.tree.remove(key_of(gone.stream))
        for each in heads:
            self.tree.put(each.key, each.leaf)
        number = self.log.size
        made = f"2026-11-24T00:00:{number:02}.000Z"
        manifest = Manifest(
            "ledger", number, made, len(self.tree), self.tree.root().hex(), removed, restored
        )
        return self.log.add(str(manifest), [str(each) for each in heads])


def rows(chain: list[str], times: list[int] | None = None, size: int = 3) -> list[Window]:
    found = []
    for low in range(0, len(chain), size):
        part = list(range(low, min(low + size, len(chain))))
        time = [times[n] if times else START + 10**6 for n in part]
        nothing = [None] * len(part)
        found.append(
            Window(part, [f"r{n}" for n in part], time, nothing, nothing, nothing,
                   [chain[n] for n in part], [""] * len(part))
        )  # fmt: skip
    return found


def follow(log: ManifestLog, stream: str, windows: list[Window]) -> Follower:
    follower = Follower(stream, Expectation(log.marks(stream)))
    for window in windows:
        follower.feed(window)
    follower.conclude()
    return follower


def test_each_change_of_each_entry_is_told_at_the_first_length_that_has_it() -> None:
    chance = random.Random(3)
    for _ in range(60):
        site = Site()
        lengths = sorted(chance.sample(range(0, 30), chance.randrange(1, 6)))
        for length in lengths:
            site.add([head("s", length)])
        total = lengths[-1] + chance.randrange(4)
        chain = hashes("s", total)
        assert follow(site.log, "s", rows(chain, size=chance.randrange(1, 9))).fits
        for place in range(total):
            changed = [*chain[:place], "00" * 32, *chain[place + 1 :]]
            follower = follow(site.log, "s", rows(changed, size=chance.randrange(1, 9)))
            behind = [length for length in lengths if length > place]
            told = [finding.sequence for finding in follower.findings]
            assert told == ([behind[0] - 1] if behind else []), (lengths, place)
        for cut in range(total):
            follower = follow(site.log, "s", rows(chain[:cut]))
            behind = [length for length in lengths if length > cut]
            assert [f.sequence for f in follower.findings] == ([behind[0] - 1] if behind else []), (
                lengths,
                cut,
            )


def test_what_does_not_follow_is_refused() -> None:
    site = Site()
    site.add([head("a", 3), head("b", 1)])
    tree = site.tree
    for manifest, heads in (
        (Manifest("ledger", 2, "2026-11-24T00:00:02.000Z", 2, tree.root().hex()), []),
        (Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 3, tree.root().hex()), []),
        (Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 2, "00" * 32), []),
        (Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 2, tree.root().hex()), [head("a", 2)]),
        (
            Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 2, tree.root().hex()),
            [head("b", 2), head("b", 2)],
        ),
        (
            Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 1, tree.root().hex(),
                     (Removed("c", 1, ""),)),
            [],
        ),
        (
            Manifest("ledger", 1, "2026-11-24T00:00:02.000Z", 2, tree.root().hex(), (),
                     (Restored("a", 3, 2, ""),)),
            [head("a", 1)],
        ),
    ):  # fmt: skip
        log = ManifestLog()
        first = Site()
        first.add([head("a", 3), head("b", 1)])
        log = first.log
        with pytest.raises(InvalidProof):
            log.add(str(manifest), [str(each) for each in heads])


def test_a_restore_takes_back_what_was_lost_and_nothing_else() -> None:
    site = Site()
    site.add([head("s", 4)])
    site.add([head("s", 9), head("gone", 2)])
    other = [*hashes("s", 5), *hashes("other", 20)]
    site.add(
        [head("s", 7, other)],
        (Removed("gone", 2, "lost"),),
        (Restored("s", 9, 4, "backup"),),
    )
    site.add([head("s", 11, other)])
    assert [mark.length for mark in site.log.marks("s")] == [4, 7, 11]
    assert follow(site.log, "s", rows(other[:12])).fits
    assert not follow(site.log, "s", rows(hashes("s", 12))).fits
    assert set(site.log.heads) == {"s"}
    assert [notice.split(":")[-1].strip() for notice in site.log.notices] == ["lost", "backup"]


def test_a_stream_of_which_nothing_is_as_it_was_was_there_all_the_same() -> None:
    site = Site()
    site.add([head("s", 4)])
    site.add([])
    other = hashes("other", 5)
    site.add([head("s", 3, other)], (), (Restored("s", 4, 0, "all is lost"),))
    assert [mark.length for mark in site.log.marks("s")] == [3]
    assert follow(site.log, "s", rows(other, [START - 9] * 3 + [START + 2000] * 2)).fits


def test_a_restore_to_a_length_that_was_recorded_before() -> None:
    """Two manifests then record one length of a stream, and entries have to fit both."""
    site, chain = Site(), hashes("s", 8)
    site.add([head("s", 3, chain)])
    site.add([head("s", 5, chain)])
    site.add([head("s", 3, chain)], restored=(Restored("s", 5, 3, "a backup"),))
    site.add([head("s", 4, chain)])
    for length in (4, 8):
        follower = follow(site.log, "s", rows(chain[:length]))
        assert follower.fits, follower.findings
    other = [*chain[:2], *hashes("other", 6)]
    assert [finding.sequence for finding in follow(site.log, "s", rows(other)).findings] == [2]
