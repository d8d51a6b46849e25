"""Holds our signed notes against Go's own library, both ways; run by `.ci/run`, which has Go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nucleus_ledger.core import note, signing
from nucleus_ledger.core.checkpoint import Checkpoint

HERE = Path(__file__).parent
# Debian's package of golang.org/x/mod lies in this GOPATH.
ENVIRONMENT = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}


def main() -> None:
    text = str(Checkpoint("example.com/ledger", 7, b"\7" * 32))
    signer, vkey = signing.generate("example.com/ledger")
    mine = signing.sign(text, [signer])
    done = go(str(mine), str(vkey))
    public, private, theirs = done.stdout.split("\n", 2)
    parsed = note.parse(theirs)
    assert parsed.text == text
    (verified,) = signing.verify(parsed, [note.parse_vkey(public)])
    assert str(verified.key) == public
    assert str(note.parse_signer(private)) == private
    assert str(signing.sign(text, [note.parse_signer(private)])) == theirs
    wrong = str(mine).replace("ledger\n7\n", "ledger\n8\n")
    refused = go(wrong, str(vkey), check=False)
    assert refused.returncode == 1, refused
    print("a note of ours holds in Go, Go's holds here, and a changed one in neither")


def go(text: str, vkey: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["go", "run", str(HERE / "notes.go"), vkey],
        input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check and done.returncode:
        sys.exit(done.stderr)
    return done


if __name__ == "__main__":
    main()
