"""Checkpoints and proofs as texts: what is published is read, and nothing near it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import checkpoint, inclusion, merkle, signing
from nucleus_ledger.core import note as notes
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.inclusion import InclusionProof
from nucleus_ledger.errors import InvalidNote, InvalidProof

# A tree head of Go's checksum database: its origin is not the name of its key.
SUMDB = (
    "go.sum database tree\n6476701\nmb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=\n\n"
    "— sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvim"
    "WEPWL+o3GeoWwOoAw=\n"
)
SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
ROOT = base64.b64encode(bytes(range(32))).decode()
BODY = f"example.com/log\n5\n{ROOT}\n"
PROOF = (
    "c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n"
    "rzFuy5Go7nrpkhBwKy1HWPMM3eO/YePY54fXRoH5Cm4=\n\ncheckpoint data\n"
)


def test_a_published_checkpoint() -> None:
    note = notes.parse(SUMDB)
    assert signing.verify(note, [notes.parse_vkey(SUMDB_VKEY)])
    found = checkpoint.parse(note.text)
    assert (found.origin, found.size) == ("go.sum database tree", 6476701)
    assert str(found) == note.text


def test_lines_behind_the_root_are_kept() -> None:
    found = checkpoint.parse(f"{BODY}6086d1a9\nWaxing gibbous\n")
    assert found.extensions == ("6086d1a9", "Waxing gibbous")
    assert str(found) == f"{BODY}6086d1a9\nWaxing gibbous\n"


@pytest.mark.parametrize(
    "body",
    [
        "Head\n9944\n",
        f"\n9944\n{ROOT}\n",
        BODY[:-1],
        "",
        "\n",
        f"{BODY}\n",
        f"{BODY}one\n\ntwo\n",
        f"Log\nbananas\n{ROOT}\n",
        f"Log\n-34\n{ROOT}\n",
        f"Log\n+34\n{ROOT}\n",
        f"Log\n034\n{ROOT}\n",
        f"Log\n00\n{ROOT}\n",
        f"Log\n 34\n{ROOT}\n",
        f"Log\n3_4\n{ROOT}\n",
        f"Log\n٣\n{ROOT}\n",
        f"Log\n{1 << 63}\n{ROOT}\n",
        f"Log\n{'9' * 5000}\n{ROOT}\n",
        "Log\n5\nYmFuYW5hcw==\n",
        f"Log\n5\n{ROOT[:-1]}\n",
        f"Log\n5\n{ROOT} \n",
        f"Log\n5\n{ROOT[:-2]}9=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(body: str) -> None:
    with pytest.raises(InvalidNote):
        checkpoint.parse(body)


@pytest.mark.parametrize(
    "bad",
    [
        Checkpoint("", 0, bytes(32)),
        Checkpoint("a\nb", 0, bytes(32)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 1 << 63, bytes(32)),
        Checkpoint("a", 0, bytes(31)),
        Checkpoint("a", 0, bytes(32), ("",)),
        Checkpoint("a", 0, bytes(32), ("x\ny",)),
    ],
)
def test_what_could_not_be_read_again_is_not_written(bad: Checkpoint) -> None:
    with pytest.raises(InvalidNote):
        str(bad)


@given(
    st.text(min_size=1, max_size=20),
    st.integers(0, (1 << 63) - 1),
    st.binary(min_size=32, max_size=32),
)
def test_checkpoints_are_read_and_written_alike(origin: str, size: int, root: bytes) -> None:
    if "\n" not in origin:
        found = Checkpoint(origin, size, root)
        assert checkpoint.parse(str(found)) == found


def test_proofs_are_read_and_written_alike() -> None:
    found = inclusion.parse(PROOF)
    assert (found.index, len(found.hashes), found.extra) == (10, 1, b"extra information")
    assert found.note == "checkpoint data\n"
    assert str(found) == PROOF
    short = "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"
    assert str(inclusion.parse(short)) == short
    assert inclusion.parse(short) == InclusionProof(0, (), "checkpoint\n")


@pytest.mark.parametrize(
    "text",
    [
        "wrong-header\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\n\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex notanumber\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 05\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nYmFuYW5hcw==\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n\n",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{(ROOT + chr(10)) * 64}\ncheckpoint\n",
        "",
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(InvalidProof):
        inclusion.parse(text)


def test_a_proof_from_leaf_to_signature() -> None:
    leaves = [merkle.leaf_hash(f"entry {number}".encode()) for number in range(7)]
    signer, key = signing.generate("example.com/log")
    note = signing.sign(str(Checkpoint("example.com/log", 7, merkle.root_of(leaves))), [signer])
    hashes = [
        merkle.fold([merkle.root_of(leaves[n.position << n.level : (n.position + 1) << n.level])
                     for n in each])
        for each in merkle.inclusion_nodes(4, 7)
    ]  # fmt: skip
    text = str(InclusionProof(4, tuple(hashes), str(note)))

    def judge(text: str, leaf: bytes) -> None:
        proof = inclusion.parse(text)
        read = notes.parse(proof.note)
        signing.verify(read, [key])
        head = checkpoint.parse(read.text)
        merkle.check_inclusion(leaf, proof.index, head.size, proof.hashes, head.root)

    judge(text, leaves[4])
    with pytest.raises(InvalidProof):
        judge(text, leaves[3])
    data = text.encode()
    for place in range(len(data)):
        for changed in (
            data[:place],
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        ):
            with pytest.raises((InvalidProof, InvalidNote, UnicodeDecodeError)):
                judge(changed.decode(), leaves[4])
