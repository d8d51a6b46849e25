"""Stream heads and manifests as texts, and the tree over heads against a slow, obvious one."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from nucleus_ledger.core import canonical
from nucleus_ledger.core.manifest import (
    Manifest,
    Removed,
    Restored,
    StreamHead,
    StreamsTree,
    parse_manifest,
    parse_stream_head,
)
from nucleus_ledger.core.merkle import EMPTY_ROOT, leaf_hash, root_of
from nucleus_ledger.errors import InvalidProof

HEAD = StreamHead("ledger", "pay/ments", 3, "ab" * 32, "cd" * 32, 1_700_000_000_000)
EMPTY = StreamHead("ledger", "empty", 0, None, EMPTY_ROOT.hex(), None)
MANIFEST = Manifest(
    "ledger", 4, "2026-11-24T04:45:55.605Z", 2, "ef" * 32,
    (Removed("gone", 3, "why"),), (Restored("back", 9, 5, ""),),
)  # fmt: skip


@pytest.mark.parametrize("head", [HEAD, EMPTY])
def test_a_head_is_read_as_it_is_written(head: StreamHead) -> None:
    assert parse_stream_head(str(head)) == head
    assert head.leaf == leaf_hash(str(head).encode())


def test_a_manifest_is_read_as_it_is_written() -> None:
    assert parse_manifest(str(MANIFEST)) == MANIFEST
    assert MANIFEST.milliseconds == 1_795_495_555_605
    assert str(HEAD) == (
        '{"head_hash":"' + "ab" * 32 + '","ledger":"ledger","length":3,"root":"' + "cd" * 32
        + '","schema":"nucleus-ledger/stream-head/v1","stream":"pay/ments",'
        '"timestamp":1700000000000}'
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"length": -1}, {"length": 1.5}, {"length": True}, {"length": 0},
        {"head_hash": None}, {"head_hash": "AB" * 32}, {"head_hash": "ab"}, {"root": None},
        {"stream": ""}, {"stream": "a\n"}, {"ledger": 1}, {"timestamp": None}, {"timestamp": -1},
        {"schema": "nucleus-ledger/stream-head/v2"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        parse_stream_head(canonical.dumps(canonical.loads(str(HEAD)) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"number": -1}, {"streams": "2"}, {"streams_root": "x"}, {"ledger": ""},
        {"created_at": "2026-11-24T04:45:55Z"}, {"created_at": "2026-13-24T04:45:55.605Z"},
        {"created_at": "1926-11-24T04:45:55.605Z"}, {"created_at": 7}, {"removed": {}},
        {"removed": [{"stream": "a"}]}, {"removed": [{"stream": "a", "length": 1, "reason": 1}]},
        {"restored": [{"stream": "a", "length": 1, "kept": 2, "reason": ""}]},
        {"restored": [{"stream": "", "length": 1, "kept": 1, "reason": ""}]}, {"removed": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        parse_manifest(canonical.dumps(canonical.loads(str(MANIFEST)) | changes))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", str(HEAD) + "\n", " " + str(HEAD)])
def test_texts_that_say_nothing(text: str) -> None:
    for parse in (parse_stream_head, parse_manifest):
        with pytest.raises(InvalidProof):
            parse(text)


def test_the_tree_over_heads_is_the_tree_of_its_definition() -> None:
    chance = random.Random(5)
    tree, leaves = StreamsTree(), dict[bytes, bytes]()
    for turn in range(1500):
        key = hashlib.sha256(str(chance.randrange(700)).encode()).digest()
        if key in leaves and chance.random() < 0.2:
            tree.remove(key)
            del leaves[key]
        else:
            leaves[key] = chance.randbytes(32)
            tree.put(key, leaves[key])
        if turn % 37 == 0 or len(leaves) in (0, 1, 255, 256, 257, 512):
            ordered = sorted(leaves)
            assert tree.root() == root_of(leaves[each] for each in ordered)
            assert len(tree) == len(leaves)
            if ordered:
                place = chance.randrange(len(ordered))
                assert tree.index(ordered[place]) == place
    assert StreamsTree().root() == EMPTY_ROOT
