"""Receipts: what proves an entry, what does not, and what making one reads."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import checkpoints
from nucleus_ledger.core import canonical, receipt, signing
from nucleus_ledger.errors import IntegrityFailed, LedgerError, NotFound
from nucleus_ledger.models import Entry, HashTile
from nucleus_ledger.verify.__main__ import main
from tests.evidence.signing_site import ORIGIN, SigningSite


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(ledger_db, "payments", 5)
    append(ledger_db, "consents", 2)
    site.make(init=True)
    append(ledger_db, "payments", 4)
    site.make()
    return site


def append(alias: str, stream: str, count: int) -> None:
    start = Entry.objects.using(alias).filter(stream__name=stream).count()
    Entry.objects.using(alias).append_batch(
        {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"cents": n}}
        for n in range(start, start + count)
    )


def entry(site: SigningSite, stream: str, sequence: int) -> Entry:
    return Entry.objects.using(site.alias).get(stream__name=stream, sequence=sequence)


def test_every_entry_under_a_checkpoint_has_a_receipt_that_proves_it(site: SigningSite) -> None:
    entries = list(Entry.objects.using(site.alias).select_related("stream"))
    assert len(entries) == 12
    for each in entries:
        proved = receipt.check(
            receipt.parse(checkpoints.receipt(each)), [site.vkey], {"persistent-ledger"}
        )
        assert (proved.hash, proved.entry["payload"]) == (each.hash, each.payload)
        assert proved.checkpoint == site.said()
        assert proved.head.stream == each.stream.name


def test_an_entry_behind_the_checkpoint_says_so(site: SigningSite) -> None:
    append(site.alias, "payments", 1)
    append(site.alias, "later", 1)
    with pytest.raises(NotFound, match="checkpoint 2 has 9 entries of stream 'payments'"):
        checkpoints.receipt(entry(site, "payments", 9))
    with pytest.raises(NotFound, match="checkpoint 2 has 0 entries of stream 'later'"):
        checkpoints.receipt(entry(site, "later", 0))


def test_no_byte_can_be_changed_and_none_left_out(site: SigningSite) -> None:
    data = checkpoints.receipt(entry(site, "payments", 3)).encode()
    keys = [site.vkey]
    receipt.check(receipt.parse(data), keys)
    for place in range(len(data)):
        for changed in (
            data[:place],
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
            data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :],
        ):
            with pytest.raises(LedgerError):
                receipt.check(receipt.parse(changed), keys)


def test_another_key_another_ledger_another_entry(site: SigningSite) -> None:
    mine = receipt.parse(checkpoints.receipt(entry(site, "payments", 3)))
    other = receipt.parse(checkpoints.receipt(entry(site, "payments", 4)))
    _signer, stranger = signing.generate(ORIGIN)
    with pytest.raises(LedgerError, match="no signature is of a known key"):
        receipt.check(mine, [stranger])
    with pytest.raises(LedgerError, match="is of ledger 'persistent-ledger', and not of"):
        receipt.check(mine, [site.vkey], {"another"})
    for name in ("entry", "stream_proof"):
        document = json.loads(str(mine)) | {name: json.loads(str(other))[name]}
        swapped = receipt.parse(canonical.dumps(document) + "\n")
        with pytest.raises(LedgerError):
            receipt.check(swapped, [site.vkey])


@pytest.mark.parametrize("length", [3, 700])
def test_it_reads_256_entries_at_most_and_as_many_queries_in_any_stream(
    ledger_db: str, tmp_path: Path, settings: Any, length: int
) -> None:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(ledger_db, "payments", length)
    site.make(init=True)
    for sequence in {0, length // 2, length - 1}:
        each = entry(site, "payments", sequence)
        assert each.stream.name == "payments"
        with CaptureQueriesContext(
            connections[ledger_db],
        ) as queries:
            checkpoints.receipt(each)
        assert len(queries) <= 12
        reading = [q["sql"] for q in queries if "nucleus_ledger_entry" in q["sql"]]
        hashes = [sql for sql in reading if "sequence" in sql and '"hash"' in sql]
        assert len(hashes) <= 1  # of one tile: bounded on both sides
        assert all(re.search(r'"sequence" < \d+', sql) for sql in hashes)


def test_damaged_tiles_are_told_and_made_anew(site: SigningSite) -> None:
    append(site.alias, "payments", 600)
    site.make()
    tiles = HashTile.objects.using(site.alias)
    assert tiles.count() == 1
    before = bytes(tiles.get().hashes)
    assert len(before) == 2 * 32
    each = entry(site, "payments", 3)
    for damaged in (b"\0" * 64, before[:32], b""):
        tiles.update(hashes=damaged)
        with pytest.raises(IntegrityFailed, match="--rebuild-tiles"):
            checkpoints.receipt(each)
    call_command("checkpoint_ledger", rebuild_tiles=True, database=site.alias)
    assert bytes(tiles.get().hashes) == before
    receipt.check(receipt.parse(checkpoints.receipt(each)), [site.vkey])


def test_the_command_and_the_auditor(site: SigningSite, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.folder / "receipt.json"
    arguments = ["payments", "payments-3"]
    call_command("ledger_receipt", *arguments, database=site.alias, output=str(file))
    out = io.StringIO()
    call_command("ledger_receipt", *arguments, database=site.alias, stdout=out)
    assert out.getvalue() == file.read_text("utf-8")
    options = [str(file), "--vkey", str(site.vkey)]
    assert main(options) == 0
    assert "PROVED: entry 3 of payments, record payments-3" in (said := capsys.readouterr().out)
    assert "the ledger is not pinned" in said
    assert main([*options, "--ledger", "persistent-ledger", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["ledger_pinned"] is True
    assert main([*options, "--ledger", "other"]) == 1
    assert main([str(file)]) == 2
    file.write_text(file.read_text("utf-8").replace("cents", "euros"), "utf-8")
    assert main(options) == 1
    with pytest.raises(CommandError, match="has no record 'nobody'"):
        call_command("ledger_receipt", "payments", "nobody", database=site.alias)
