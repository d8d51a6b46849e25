"""The tree of RFC 6962: against its definition, published roots and proofs, and forgeries."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from nucleus_ledger.core import merkle
from nucleus_ledger.core.merkle import CompactRange, Node
from nucleus_ledger.errors import InvalidProof

# The eight inputs that implementations of Certificate Transparency are tried with, and their roots.
INPUTS = [b"", b"\0", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(data) for data in INPUTS]
SIZES = [*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300]


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(str(number).encode()) for number in range(size)]


def defined(leaves: Sequence[bytes]) -> bytes:
    """The root as RFC 6962 section 2.1 defines it, over hashes of leaves."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = max(1 << bit for bit in range(20) if 1 << bit < len(leaves))
    return sha256(b"\1" + defined(leaves[:split]) + defined(leaves[split:])).digest()


def fetched(nodes: list[list[Node]], leaves: Sequence[bytes]) -> list[bytes]:
    """What a caller makes of a proof's nodes, from the subtrees that it keeps."""
    return [
        merkle.fold(
            [
                defined(leaves[node.position << node.level : (node.position + 1) << node.level])
                for node in each
            ]
        )
        for each in nodes
    ]


def test_published_roots() -> None:
    assert [merkle.root_of(LEAVES[:size]).hex() for size in range(9)] == ROOTS


def test_published_proofs() -> None:
    published = {
        (0, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
        (5, 8): ["bc1a0643", "ca854ea1", "d37ee418"],
        (2, 3): ["fac54203"],
        (1, 5): ["6e340b9c", "5f083f0a", "bc1a0643"],
        (0, 1): [],
    }
    for (index, size), begins in published.items():
        proof = fetched(merkle.inclusion_nodes(index, size), LEAVES)
        assert [each.hex()[:8] for each in proof] == begins
    published = {
        (1, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
        (6, 8): ["0ebc5d34", "ca854ea1", "d37ee418"],
        (2, 5): ["5f083f0a", "bc1a0643"],
        (1, 1): [],
    }
    for (old, new), begins in published.items():
        proof = fetched(merkle.consistency_nodes(old, new), LEAVES)
        assert [each.hex()[:8] for each in proof] == begins


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_as_defined(size: int) -> None:
    leaves = leaves_of(size)
    assert merkle.root_of(leaves) == defined(leaves)
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
        assert len(tree.hashes) == tree.size.bit_count()
        tree = CompactRange(tree.size, tree.hashes)  # as it is stored and taken up again
    assert tree.root() == defined(leaves)


def changed(proof: Sequence[bytes]) -> list[list[bytes]]:
    """Proofs that are not the one: each hash flipped, left out, doubled, or cut."""
    others = [[*proof, merkle.EMPTY_ROOT], [*proof[:-1]], [merkle.EMPTY_ROOT, *proof]]
    for place, each in enumerate(proof):
        flipped = bytes([each[0] ^ 1]) + each[1:]
        others.append([*proof[:place], flipped, *proof[place + 1 :]])
        others.append([*proof[:place], *proof[place + 1 :]])
        others.append([*proof[:place], each, *proof[place:]])
        others.append([*proof[:place], each[:-1], *proof[place + 1 :]])
    return [other for other in others if other != list(proof)]


def refused(check: object, *arguments: object) -> bool:
    try:
        check(*arguments)  # type: ignore[operator]
    except InvalidProof:
        return True
    return False


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_and_no_forgery_of_it(size: int) -> None:
    leaves = leaves_of(size)
    root = defined(leaves)
    places = range(size) if size < 34 else {0, 1, size // 2, size - 2, size - 1}
    for index in places:
        proof = fetched(merkle.inclusion_nodes(index, size), leaves)
        merkle.check_inclusion(leaves[index], index, size, proof, root)
        for other in changed(proof):
            assert refused(merkle.check_inclusion, leaves[index], index, size, other, root)
        for wrong in {index - 1, index + 1, index + size, -1} - {index}:
            assert refused(merkle.check_inclusion, leaves[index], wrong, size, proof, root)
        assert refused(merkle.check_inclusion, merkle.leaf_hash(b"x"), index, size, proof, root)
        assert refused(
            merkle.check_inclusion, leaves[index], index, size, proof, leaves[index][::-1]
        )


@pytest.mark.parametrize("new", SIZES)
def test_every_older_tree_is_proved_and_no_forgery_of_it(new: int) -> None:
    leaves = leaves_of(new)
    root = defined(leaves)
    for old in range(1, new + 1) if new < 34 else (1, 2, 31, 32, 63, new - 1, new):
        before = defined(leaves[:old])
        proof = fetched(merkle.consistency_nodes(old, new), leaves)
        merkle.check_consistency(old, new, proof, before, root)
        for other in changed(proof):
            assert refused(merkle.check_consistency, old, new, other, before, root)
        forged = defined([merkle.leaf_hash(b"forged"), *leaves[1:old]])
        assert refused(merkle.check_consistency, old, new, proof, forged, root)
        assert refused(merkle.check_consistency, old, new, proof, before, forged)


def test_a_rewritten_leaf_has_no_proof() -> None:
    leaves = leaves_of(20)
    old_root = defined(leaves[:13])
    forged = [*leaves[:4], merkle.leaf_hash(b"forged"), *leaves[5:]]
    proof = fetched(merkle.consistency_nodes(13, 20), forged)
    assert refused(merkle.check_consistency, 13, 20, proof, old_root, defined(forged))


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (1, 1), (-1, 5), (5, 5), (0, (1 << 63) + 1), (1 << 64, 1 << 65)]
)
def test_there_is_no_such_leaf(index: int, size: int) -> None:
    with pytest.raises(InvalidProof, match="there is no leaf"):
        merkle.inclusion_nodes(index, size)
    with pytest.raises(InvalidProof, match="there is no leaf"):
        merkle.check_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, (1 << 63) + 1)])
def test_there_is_no_such_history(old: int, new: int) -> None:
    with pytest.raises(InvalidProof, match="cannot follow"):
        merkle.consistency_nodes(old, new)
    with pytest.raises(InvalidProof, match="cannot follow"):
        merkle.check_consistency(old, new, [], LEAVES[0], LEAVES[0])


def test_a_range_has_one_hash_for_each_bit() -> None:
    with pytest.raises(InvalidProof, match="1 hashes do not make a range of 3 leaves"):
        CompactRange(3, [LEAVES[0]])
    with pytest.raises(InvalidProof):
        CompactRange(-1, [LEAVES[0]])


def test_proofs_of_huge_trees_are_short() -> None:
    nodes = merkle.inclusion_nodes(10**18, (1 << 63) - 1)
    assert len(nodes) <= 63
    assert all(len(each) <= 63 for each in nodes)
    assert len(merkle.consistency_nodes(10**18, 1 << 62)) <= 64
