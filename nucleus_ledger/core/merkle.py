"""The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): roots, proofs, and their check.

Hashes are 32 bytes of SHA-256. A tree is never held as a whole: a proof is first a list of the
perfect subtrees that it needs (`Node`), which a caller fetches as it stores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

from nucleus_ledger.errors import InvalidProof

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
MOST_LEAVES = 1 << 63


class Node(NamedTuple):
    """A perfect subtree: the leaves position * 2^level <= leaf < (position + 1) * 2^level."""

    level: int
    position: int


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class CompactRange:
    """The perfect subtrees of all leaves so far, left to right: one for each bit of `size`."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count() or size < 0:
            raise InvalidProof(f"{len(hashes)} hashes do not make a range of {size} leaves")
        self.size, self.hashes = size, list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        carried = self.size
        self.size += 1
        while carried & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            carried >>= 1
        self.hashes.append(leaf)

    def root(self) -> bytes:
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over hashes of leaves."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over one or more neighbouring perfect subtrees, the largest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def nodes_of(low: int, high: int) -> list[Node]:
    """Return the perfect subtrees of low <= leaf < high, left to right, the largest first.

    Requires a range that a tree has as one of its subtrees: `low` a multiple of the power of two
    that is not less than its length.
    """
    nodes = []
    for level in reversed(range((high - low).bit_length())):
        if (high - low) >> level & 1:
            nodes.append(Node(level, low >> level))
            low += 1 << level
    return nodes


def inclusion_nodes(index: int, size: int) -> list[list[Node]]:
    """Return what each hash of an inclusion proof is folded from, from the leaf to the root.

    RFC 6962 section 2.1.1, PATH(m, D[n]). Raises `InvalidProof` unless 0 <= index < size.
    """
    if not 0 <= index < size <= MOST_LEAVES:
        raise InvalidProof(f"there is no leaf {index} in a tree of {size}")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return [nodes_of(*part) for part in reversed(path)]


def consistency_nodes(old: int, new: int) -> list[list[Node]]:
    """Return what each hash of a consistency proof is folded from.

    RFC 6962 section 2.1.2, PROOF(m, D[n]). Raises `InvalidProof` unless 0 < old <= new: nothing is
    consistent with an empty tree, or shows anything of it.
    """
    if not 0 < old <= new <= MOST_LEAVES:
        raise InvalidProof(f"a tree of {new} cannot follow one of {old}")
    low, high, path, known = 0, new, [], True
    while old != high - low:
        middle = low + _split(high - low)
        if low + old <= middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            old, low, known = low + old - middle, middle, False
    if not known:
        path.append((low, high))
    return [nodes_of(*part) for part in reversed(path)]


def check_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise `InvalidProof` unless the leaf of that hash is in the tree of that root, at `index`.

    RFC 9162 section 2.1.3.2.
    """
    if root_of_inclusion(leaf, index, size, proof) != root:
        raise InvalidProof(f"the proof does not lead from leaf {index} to the root of {size}")


def root_of_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to; raises `InvalidProof` for its length."""
    if not 0 <= index < size <= MOST_LEAVES:
        raise InvalidProof(f"there is no leaf {index} in a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_hashes([leaf, *proof], inner + border + 1)
    found = leaf
    for level, sibling in enumerate(proof):
        if level >= inner or index >> level & 1:
            found = node_hash(sibling, found)
        else:
            found = node_hash(found, sibling)
    return found


def check_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise `InvalidProof` unless the tree of `new` leaves begins with that of `old`.

    RFC 9162 section 2.1.4.2. `old` of 0 is refused: it would show nothing.
    """
    if not 0 < old <= new <= MOST_LEAVES:
        raise InvalidProof(f"a tree of {new} cannot follow one of {old}")
    _check_hashes([old_root, new_root, *proof], None)
    if old == new:
        if proof or old_root != new_root:
            raise InvalidProof(f"two roots of {old} leaves differ, or have a proof between them")
        return
    rest = list(proof)
    if old.bit_count() == 1:
        rest.insert(0, old_root)
    elif not rest:
        raise InvalidProof("the proof is empty")
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    one = other = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            raise InvalidProof("the proof is too long")
        if first & 1 or first == last:
            one, other = node_hash(sibling, one), node_hash(sibling, other)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            other = node_hash(other, sibling)
        first, last = first >> 1, last >> 1
    if last or one != old_root or other != new_root:
        raise InvalidProof(f"the proof does not lead from the tree of {old} to that of {new}")


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return int(1 << ((size - 1).bit_length() - 1))


def _check_hashes(hashes: Sequence[bytes], count: int | None) -> None:
    if count is not None and len(hashes) != count:
        raise InvalidProof(f"the proof has {len(hashes) - 1} hashes and not {count - 1}")
    if any(len(each) != HASH_BYTES for each in hashes):
        raise InvalidProof(f"a hash of the proof is not {HASH_BYTES} bytes long")
