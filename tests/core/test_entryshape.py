"""What a document must be to be an entry: each verifier says the same of each vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nucleus_ledger.core import canonical, receipt, signing
from nucleus_ledger.core.chain import Cursor, Finding, Rules, judge_head, walk
from nucleus_ledger.errors import LedgerError
from nucleus_ledger.verify.__main__ import main
from tests import entryvectors
from tests.chains import LEDGER, make_chain, make_head, relink, row_of, windows
from tests.entryvectors import AT, BAD, VECTORS


@pytest.mark.parametrize("name", VECTORS)
def test_a_receipt_of_each(name: str, tmp_path: Path) -> None:
    changes, good = VECTORS[name]
    signer, vkey = signing.generate(entryvectors.ORIGIN)
    text = entryvectors.receipt_of(entryvectors.document(changes), signer)
    file = tmp_path / "receipt"
    file.write_text(text, "utf-8")
    assert main([str(file), "--vkey", str(vkey)]) == (0 if good else 1)
    if good:
        assert receipt.check(receipt.parse(text), [vkey]).head.stream == "proofs"
        return
    with pytest.raises(LedgerError):
        receipt.check(receipt.parse(text), [vkey])


def in_a_chain(changes: dict[str, Any]) -> list[Finding]:
    """Walk a chain with that entry in it whose links, hashes and head are all right."""
    rows = make_chain(8)
    said = entryvectors.document({"prev_hash": rows[AT - 1].hash} | changes)
    rows[AT] = row_of(canonical.dumps(said))
    if said.get("meta") is None:  # the column is as an honest writer leaves it
        rows[AT] = rows[AT]._replace(meta=None)
    rows = relink(rows, AT + 1)
    found = []
    for deep, size in ((False, 1), (False, 2), (False, 8), (True, 1)):
        cursor, rules = Cursor(), Rules("proofs", frozenset({LEDGER}), deep=deep)
        # Times are right too, where there is one.
        found.append(list(walk(windows(rows, size), cursor, rules)))
        assert judge_head(make_head(rows), cursor, rules) is None
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize(
    "name", [name for name in BAD if "first of a stream" not in name and " no " not in f" {name}"]
)
def test_an_entry_of_a_chain_that_is_none(name: str) -> None:
    (finding, *more) = [f for f in in_a_chain(BAD[name]) if f.kind != "timestamp_out_of_order"]
    assert more == []
    assert finding.sequence == AT
    kind = {"another tag": "unknown_schema", "another ledger": "wrong_ledger",
            "another stream": "field_mismatch"}.get(name, "undecodable")  # fmt: skip
    assert finding.kind == (kind if name != "a meta of null" else "not_canonical")
    if kind == "undecodable":
        assert finding.message


def test_the_beginning_of_a_stream_is_known_without_the_entry_before_it() -> None:
    """Where a walk begins in the middle, and no link can be compared."""
    for changes, broken in (
        ({"prev_hash": None}, True),
        ({}, False),
    ):
        row = row_of(canonical.dumps(entryvectors.document(changes)))
        found = list(walk(windows([row]), Cursor.at(AT), Rules("proofs", frozenset({LEDGER}))))
        assert [finding.kind for finding in found] == (["link_broken"] if broken else [])
