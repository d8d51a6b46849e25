"""Tiles: their paths, what lies in which, and proofs that are read from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import merkle, tile
from nucleus_ledger.core.merkle import Node
from nucleus_ledger.core.tile import Place, Tile
from nucleus_ledger.errors import InvalidProof


@pytest.mark.parametrize(
    ("tile_", "path"),
    [
        (Tile(0, 1234067, 256), "tile/0/x001/x234/067"),
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(1, 273, 112), "tile/1/273.p/112"),
        (Tile(63, 1000, 1), "tile/63/x001/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(tile_: Tile, path: str) -> None:
    assert tile_.path == path
    assert tile.parse(path) == tile_


@given(st.integers(0, 63), st.integers(0, (1 << 63) - 1), st.integers(1, 256))
def test_paths_are_read_and_written_alike(level: int, number: int, width: int) -> None:
    assert tile.parse(Tile(level, number, width).path) == Tile(level, number, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/00/000", "tile/01/000", "tile/64/000", "tile/0/x000/000",
        "tile/0/1000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/300",
        "tile/0/000.p/01", "tile/-1/000", "tile/0/00a", "tile/0/000/", "tile/0/001/000",
        "/tile/0/000", "tile/0/٠٠٠", "tile/0/x009/x223/x372/x036/x854/x775/808", "",
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidProof):
        tile.parse(path)


def test_the_tiles_of_a_tree_are_those_of_the_specification() -> None:
    tiles = tile.tiles_of(70_000)
    assert [sum(each.level == level for each in tiles) for level in range(3)] == [274, 2, 1]
    assert [each.width for each in tiles if each.width < 256] == [112, 17, 1]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 65_535, 65_536, 65_537])
def test_what_is_new_and_what_was_there_make_the_whole(size: int) -> None:
    whole = {(each.level, each.number): each.width for each in tile.tiles_of(size)}
    for after in {0, 1, size // 2, size - 1, size} - {-1}:
        if after > size:
            continue
        before = {(each.level, each.number): each.width for each in tile.tiles_of(after)}
        new = {(e.level, e.number): e.width for e in tile.tiles_of(size, after=after)}
        assert before | new == whole
        assert all(new[key] > before.get(key, 0) for key in new)
    with pytest.raises(InvalidProof):
        tile.tiles_of(size, after=size + 1)


def test_a_small_growth_needs_few_tiles() -> None:
    assert len(tile.tiles_of(1_001_000, after=1_000_000)) <= 4 + 1 + 1 + 1


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 66_000])
def test_proofs_are_read_from_tiles(size: int) -> None:
    leaves = [merkle.leaf_hash(str(number).encode()) for number in range(size)]
    levels, kept = leaves, {}
    for each in tile.tiles_of(size):
        if each.level and each.number == 0:  # the next level: roots of full tiles below
            full = len(levels) // 256
            levels = [merkle.root_of(levels[n * 256 : (n + 1) * 256]) for n in range(full)]
        kept[each.level, each.number] = levels[each.number * 256 :][: each.width]

    def read(nodes: list[list[Node]]) -> list[bytes]:
        places = [[tile.place_of(node) for node in each] for each in nodes]
        return [
            merkle.fold([place.root(kept[place.level, place.number]) for place in each])
            for each in places
        ]

    root = merkle.root_of(leaves)
    for index in {0, size // 3, size - 1}:
        proof = read(merkle.inclusion_nodes(index, size))
        merkle.check_inclusion(leaves[index], index, size, proof, root)
    for old in {1, (size + 1) // 2, size}:
        proof = read(merkle.consistency_nodes(old, size))
        merkle.check_consistency(old, size, proof, merkle.root_of(leaves[:old]), root)


def test_a_tile_that_is_too_short_is_told() -> None:
    with pytest.raises(InvalidProof, match="tile 1/2 has too few hashes"):
        Place(1, 2, 4, 4).root([bytes(32)] * 7)
