"""What the signed notes in a sink's folder commit to, read as docs/format.md describes it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.oracle import jcs
from tests.oracle.oracle import Verdict


class Recorded(NamedTuple):
    """A state of a stream that was signed: so many entries, under this root."""

    stream: str
    length: int
    head_hash: str | None
    root: str


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, in its own words; takes the hashes of the leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def read(folder: Path, vkey: str) -> list[Recorded]:
    """Return all that the newest note of a log's folder commits to.

    Fails where the folder does not hold together: it is what the ledger is judged by.
    """
    newest = max(folder.glob("checkpoints/*/*/*.txt"), key=_number)
    size, signed_root = _check_note(newest.read_text("utf-8"), vkey)
    assert size == _number(newest)
    recorded: list[Recorded] = []
    heads: dict[bytes, str] = {}
    manifests = []
    for number in range(size):
        for line in _file(folder, "heads", number, "jsonl").read_text("utf-8").splitlines():
            head = json.loads(line)
            assert jcs.write(head) == line
            heads[hashlib.sha256(head["stream"].encode()).digest()] = line
            recorded.append(
                Recorded(head["stream"], head["length"], head["head_hash"], head["root"])
            )
        text = _file(folder, "manifests", number, "json").read_text("utf-8")
        manifest = json.loads(text)
        assert manifest["number"] == number
        assert (manifest["removed"], manifest["restored"]) == ([], [])
        streams = [leaf(heads[key].encode()) for key in sorted(heads)]
        assert manifest["streams"] == len(streams)
        assert manifest["streams_root"] == root(streams).hex()
        manifests.append(leaf(text.encode()))
    assert root(manifests) == signed_root
    return recorded


def differing(recorded: Sequence[Recorded], verdicts: Sequence[Verdict]) -> set[str]:
    """Return the streams whose entries are not those that were signed."""
    by_name = {each.name: each for each in verdicts if each.name is not None}
    return {each.stream for each in recorded if not _stands(each, by_name.get(each.stream))}


def _stands(state: Recorded, verdict: Verdict | None) -> bool:
    rows = verdict.rows[: state.length] if verdict else []
    if [each.sequence for each in rows] != list(range(state.length)):
        return False
    if verdict is None or not all(isinstance(each.hash, bytes) for each in rows):
        return False
    return root([leaf(each.hash) for each in rows]).hex() == state.root


def _check_note(text: str, vkey: str) -> tuple[int, bytes]:
    """Return size and root that a note says, once the key has signed it."""
    body, signatures = text.rsplit("\n\n", 1)
    body += "\n"
    name, key_id, data = vkey.split("+", 2)
    key = base64.b64decode(data)
    assert key[0] == 1, "Ed25519"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        raw = base64.b64decode(signature)
        if (dash, signer, raw[:4].hex()) == ("—", name, key_id):
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], body.encode())
            break
    else:
        raise AssertionError("the note is not signed by this key")
    _origin, size, encoded = body.splitlines()[:3]
    return int(size), base64.b64decode(encoded)


def _file(folder: Path, kind: str, number: int, suffix: str) -> Path:
    digits = f"{number:09}"
    return folder / kind / digits[:3] / digits[3:6] / f"{digits[6:]}.{suffix}"


def _number(path: Path) -> int:
    return int("".join([path.parts[-3], path.parts[-2], path.stem]))
