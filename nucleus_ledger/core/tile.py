"""Tiles: hashes of a Merkle tree stored 256 at a time (C2SP tlog-tiles), and what lies in which.

A tile of level L holds the hashes of neighbouring perfect subtrees of 256^L leaves each. Every
node of the tree is the root over a power of two of neighbours in one tile, so a proof reads a few
tiles, however large the tree is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from nucleus_ledger.core.merkle import (
    HASH_BYTES,
    MOST_LEAVES,
    CompactRange,
    Node,
    node_hash,
    root_of,
)
from nucleus_ledger.errors import InvalidProof

HEIGHT, WIDTH = 8, 256
MOST_LEVEL = 63
_PATH = re.compile(r"tile/(0|[1-9]\d?)/((?:x\d{3}/)*)(\d{3})(?:\.p/([1-9]\d{0,2}))?")


class Tile(NamedTuple):
    """`width` hashes, 256 where the tile is full; `number` counts the tiles of a level."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where a tile is kept, below a log's prefix; `parse` is its inverse."""
        groups = []
        rest = self.number
        while True:
            rest, group = divmod(rest, 1000)
            groups.append(f"{group:03}")
            if not rest:
                break
        place = "".join(f"x{group}/" for group in reversed(groups[1:])) + groups[0]
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{place}{partial}"


class Place(NamedTuple):
    """Where a node lies: `span` neighbours of a tile of that level and number, from `start` on."""

    level: int
    number: int
    start: int
    span: int

    def root(self, hashes: Sequence[bytes]) -> bytes:
        """Return the node's hash; requires the hashes of its tile, from the first on.

        Raises `InvalidProof` where the tile does not reach as far.
        """
        part = hashes[self.start : self.start + self.span]
        if len(part) != self.span or any(len(each) != HASH_BYTES for each in part):
            raise InvalidProof(f"tile {self.level}/{self.number} has too few hashes")
        return root_of(part)


class Tiler(CompactRange):
    """A tree that grows, and gathers the new hashes of its tiles of level 1 and up.

    `new[level]` goes on where the tiles of the tree it began with end.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        super().__init__(size, hashes)
        self.began = size
        self.new: dict[int, list[bytes]] = {}

    def append(self, leaf: bytes) -> None:
        carried, level = self.size, 0
        self.size += 1
        while carried & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            carried >>= 1
            level += 1
            if level % HEIGHT == 0:
                self.new.setdefault(level // HEIGHT, []).append(leaf)
        self.hashes.append(leaf)

    def tiles(self) -> dict[tuple[int, int], tuple[int, list[bytes]]]:
        """Return what is new by (level, number): from which hash of the tile on, and the hashes."""
        found = {}
        for level, hashes in self.new.items():
            place = self.began >> (HEIGHT * level)
            while hashes:
                number, start = divmod(place, WIDTH)
                part, hashes = hashes[: WIDTH - start], hashes[WIDTH - start :]
                found[level, number] = (start, part)
                place += len(part)
        return found


def parse(path: str) -> Tile:
    """Read a tile's path; raises `InvalidProof` unless `Tile.path` gives the same again."""
    match = _PATH.fullmatch(path) if path.isascii() else None
    if match is None:
        raise InvalidProof(f"not the path of a tile: {path[:100]!a}")
    level, groups, last, width = match.groups()
    number = int(groups.replace("x", "").replace("/", "") + last)
    tile = Tile(int(level), number, int(width or WIDTH))
    if tile.path != path or tile.level > MOST_LEVEL or tile.width > WIDTH or number >= MOST_LEAVES:
        raise InvalidProof(f"not the path of a tile: {path[:100]!a}")
    return tile


def place_of(node: Node) -> Place:
    """Return in which tile a node of the tree lies."""
    level, inner = divmod(node.level, HEIGHT)
    first = node.position << inner
    number, start = divmod(first, WIDTH)
    return Place(level, number, start, 1 << inner)


def tiles_of(size: int, *, after: int = 0) -> list[Tile]:
    """Return the tiles of a tree that one of `after` leaves does not have, level by level.

    A tile that was partial and has grown is among them. Requires 0 <= after <= size.
    """
    if not 0 <= after <= size <= MOST_LEAVES:
        raise InvalidProof(f"a tree of {size} cannot follow one of {after}")
    tiles = []
    level = 0
    while size:
        for number in range(after // WIDTH, -(-size // WIDTH)):
            width = min(size - number * WIDTH, WIDTH)
            if width > min(max(after - number * WIDTH, 0), WIDTH):
                tiles.append(Tile(level, number, width))
        size, after, level = size // WIDTH, after // WIDTH, level + 1
    return tiles
