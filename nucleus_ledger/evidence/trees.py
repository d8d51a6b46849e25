"""The hash tiles of trees in the database: kept as trees grow, read for proofs.

Level 0 is not stored: it is the hashes of the entries, or the manifests themselves. What is read
here is not trusted; a proof that is made of it is checked against a signed root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.apps import apps
from django.db.models import Q

from nucleus_ledger.core.merkle import Node, fold, leaf_hash, nodes_of
from nucleus_ledger.core.tile import WIDTH, Place, Tiler, place_of
from nucleus_ledger.errors import InvalidProof
from nucleus_ledger.evidence import stored

LOG = 0  # the tree of the manifests; streams have keys from 1 on

Leaves = Callable[[int, int], list[bytes]]  # the hashes of the leaves low <= leaf < high


def grow(using: str, tree: int, tiler: Tiler) -> bool:
    """Store the hashes that are new in a tree; in a transaction.

    False where the tiles that stand there do not end where the new ones begin: then nothing is
    stored of them, and they are to be rebuilt.
    """
    parts = tiler.tiles()
    begun = [place for place, (start, _hashes) in parts.items() if start]
    standing = _read(using, tree, begun)
    rows = []
    for (level, number), (start, hashes) in parts.items():
        before = standing.get((level, number), [])
        if len(before) != start:
            return False
        rows.append(_tile(tree, level, number, [*before, *hashes]))
    if rows:
        stored.tiles(using).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["tree", "level", "number"],
            update_fields=["hashes"],
        )
    return True


def replace(using: str, tree: int, tiler: Tiler) -> None:
    """Store the tiles of a whole tree in the place of those there; in a transaction."""
    stored.tiles(using).filter(tree=tree).delete()
    rows = [
        _tile(tree, level, number, hashes)
        for (level, number), (_start, hashes) in tiler.tiles().items()
    ]
    stored.tiles(using).bulk_create(rows, batch_size=100)


def proof(
    using: str,
    tree: int,
    nodes: Sequence[Sequence[Node]],
    leaves: Leaves,
    known: Mapping[Node, bytes] | None = None,
) -> list[bytes]:
    """Return the hashes of a proof; raises `InvalidProof` where a tile is missing or too short.

    Costs one query for the tiles, and one for each tile of leaves: of an inclusion proof it is at
    most one, where `known` has the nodes of the frontier.
    """
    known = known or {}
    places = {node: place_of(node) for part in nodes for node in part if node not in known}
    stored_places = {(p.level, p.number) for p in places.values() if p.level}
    tiles = _read(using, tree, stored_places)
    for number in {p.number for p in places.values() if not p.level}:
        needed = [p for p in places.values() if not p.level and p.number == number]
        high = max(p.start + p.span for p in needed)
        tiles[0, number] = leaves(number * WIDTH, number * WIDTH + high)
    return [
        fold([known[node] if node in known else _hash(tiles, places[node]) for node in part])
        for part in nodes
    ]


def frontier(size: int, hashes: Sequence[bytes]) -> dict[Node, bytes]:
    """Return the nodes of a tree's frontier with their hashes; requires as many as it has."""
    return dict(zip(nodes_of(0, size), hashes, strict=True))


def manifest_leaves(using: str) -> Leaves:
    """Return how to get the leaves of the log of manifests."""

    def leaves(low: int, high: int) -> list[bytes]:
        rows = stored.checkpoints(using).filter(number__gte=low, number__lt=high)
        texts = rows.order_by("number").values_list("manifest", flat=True)
        return [leaf_hash(stored.as_text(text).encode()) for text in texts]

    return leaves


def entry_leaves(using: str, stream_id: int) -> Leaves:
    """Return how to get the leaves of a stream's tree: the hashes of its entries."""

    def leaves(low: int, high: int) -> list[bytes]:
        rows = stored.entries(using).filter(
            stream_id=stream_id, sequence__gte=low, sequence__lt=high
        )
        hashes = rows.order_by("sequence").values_list("hash", flat=True)
        return [leaf_hash(stored.as_hash(each)) for each in hashes]

    return leaves


def _hash(tiles: dict[tuple[int, int], list[bytes]], place: Place) -> bytes:
    tile = tiles.get((place.level, place.number))
    if tile is None:
        raise InvalidProof(f"tile {place.level}/{place.number} is missing")
    return place.root(tile)


def _read(
    using: str, tree: int, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[bytes]]:
    conditions = [Q(level=level, number=number) for level, number in places]
    if not conditions:
        return {}
    rows = stored.tiles(using).filter(reduce(or_, conditions), tree=tree)
    return {
        (level, number): stored.split(stored.as_bytes(hashes))
        for level, number, hashes in rows.values_list("level", "number", "hashes")
    }


def _tile(tree: int, level: int, number: int, hashes: Sequence[bytes]) -> Any:
    model = apps.get_model("nucleus_ledger", "HashTile")
    return model(tree=tree, level=level, number=number, hashes=b"".join(hashes))
