"""Receipts: what proves an entry, what does not, and what making one reads."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import checkpoints, guards
from nucleus_ledger.console.receipts import _keys as page_keys
from nucleus_ledger.core import canonical, inclusion, note, receipt, signing
from nucleus_ledger.core.manifest import parse_manifest
from nucleus_ledger.errors import IntegrityFailed, LedgerError, NotFound
from nucleus_ledger.evidence import receipts, stored
from nucleus_ledger.models import Entry, HashTile, Stream
from nucleus_ledger.verify.__main__ import main
from tests import attacker
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


@pytest.mark.parametrize("sequence", [3, 7], ids=["nothing before", "a manifest before"])
def test_no_byte_can_be_changed_and_none_left_out(site: SigningSite, sequence: int) -> None:
    data = checkpoints.receipt(entry(site, "payments", sequence)).encode()
    assert (b'{"before":null,' in data) == (sequence == 3)
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


def test_it_proves_between_which_checkpoints_the_entry_was_registered(site: SigningSite) -> None:
    append(site.alias, "payments", 1)
    append(site.alias, "later", 2)
    Stream.objects.using(site.alias).create(name="empty")
    site.make()
    append(site.alias, "empty", 1)
    append(site.alias, "consents", 1)
    site.make()
    log = [parse_manifest(text) for text, _heads in stored.documents(site.alias, 0, 4)]
    expected = {
        ("payments", 0): (None, 0), ("payments", 4): (None, 0), ("consents", 1): (None, 0),
        ("payments", 5): (0, 1), ("payments", 8): (0, 1), ("payments", 9): (1, 2),
        ("later", 1): (None, 2),  # new in it: that it was not there before is not proved
        ("empty", 0): (2, 3), ("consents", 2): (2, 3),
    }  # fmt: skip
    for (stream, sequence), (after, by) in expected.items():
        text = checkpoints.receipt(entry(site, stream, sequence))
        proved = receipt.check(receipt.parse(text), [site.vkey])
        assert proved.manifest == log[by], (stream, sequence)
        assert proved.before == (None if after is None else log[after])
        assert proved.checkpoint == site.said()
        assert proved.registered_by == log[by].milliseconds
        assert proved.times_judged == (by == 0 or after is not None)


def test_what_stands_before_is_of_this_stream_and_this_log(site: SigningSite) -> None:
    append(site.alias, "payments", 2)
    append(site.alias, "consents", 2)
    site.make()
    mine, other, later = (
        receipt.parse(checkpoints.receipt(entry(site, *place)))
        for place in (("payments", 7), ("consents", 2), ("payments", 10))
    )
    assert receipt.check(mine, [site.vkey]).before
    assert mine.before
    assert other.before
    assert later.before
    heads = {name: getattr(later.before, name) for name in
             ("stream_head", "streams_index", "streams_proof")}  # fmt: skip
    for before, why in (
        (other.before, "is not the one before"),
        (later.before, "is not the one before"),
        (replace(mine.before, **heads), "does not lead to the root|proof"),
        (replace(mine.before, manifest=other.before.manifest), "is not the one before"),
    ):
        with pytest.raises(LedgerError, match=why):
            receipt.check(replace(mine, before=before), [site.vkey])
    same = receipt.parse(checkpoints.receipt(entry(site, "consents", 3)))
    assert same.before == other.before
    for wrong in (same.before, later.before):
        mixed = replace(later if wrong is same.before else same, before=wrong)
        with pytest.raises(LedgerError, match="does not say that it leaves the entry out"):
            receipt.check(mixed, [site.vkey])
    covered = replace(mine, entry=entry(site, "payments", 3).serialized)
    with pytest.raises(LedgerError):
        receipt.check(covered, [site.vkey])


def test_a_manifest_that_covers_the_entry_does_not_stand_before_it(site: SigningSite) -> None:
    """Made by hand: the newest manifest as the receipt's, and one that has the entry before it."""
    append(site.alias, "payments", 1)
    site.make()
    each = entry(site, "payments", 3)
    newest = receipts._made(site.alias, each, 2, stored.checkpoints(site.alias).get(number=2))
    assert newest.before is None
    later = receipt.parse(checkpoints.receipt(entry(site, "payments", 9)))
    assert receipt.check(newest, [site.vkey])
    with pytest.raises(LedgerError, match="manifest 1 does not say that it leaves the entry out"):
        receipt.check(replace(newest, before=later.before), [site.vkey])


def test_after_a_restore_a_receipt_is_still_to_be_had(site: SigningSite) -> None:
    """Manifest 1 covers another entry of that sequence; the newest proves the one that is there."""
    guards.remove(connections[site.alias])
    history = attacker.documents(site.alias, "payments")
    attacker.rewrite(site.alias, "payments", history[:6])
    for name in ("other-6", "other-7"):
        Entry.objects.using(site.alias).append("payments", {"restored": True}, record_id=name)
    site.make(accept_restore="from the backup of this morning")
    proved = receipt.check(
        receipt.parse(checkpoints.receipt(entry(site, "payments", 7))), [site.vkey]
    )
    assert (proved.manifest.number, proved.before) == (2, None)
    for sequence, number in ((4, 0), (5, 2)):  # the neighbours of 5 below manifest 1 are gone
        text = checkpoints.receipt(entry(site, "payments", sequence))
        assert receipt.check(receipt.parse(text), [site.vkey]).manifest.number == number


def test_a_late_entry_is_told_by_whoever_checks_its_receipt(
    site: SigningSite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a stream whose writer's clock is two hours behind."""
    then = int(time.time() * 1000) - 7_200_000
    Entry.objects.using(site.alias).append("slow", {}, timestamp=then)
    site.make()
    late = Entry.objects.using(site.alias).append("slow", {}, timestamp=then)
    Entry.objects.using(site.alias).append("payments", {}, record_id="last")
    site.make()
    log = [parse_manifest(text) for text, _heads in stored.documents(site.alias, 0, 4)]
    file, error = site.folder / "receipt.json", io.StringIO()
    place = ["slow", late.record_id]
    call_command("ledger_receipt", *place, database=site.alias, output=str(file), stderr=error)
    told, notice = error.getvalue().splitlines()
    assert told.startswith(f"entry 1: registered between {log[2].created_at} and")
    assert notice.startswith("notice: entry #1 was registered between")
    options = [str(file), "--vkey", str(site.vkey), "--ledger", "persistent-ledger"]

    def said(entry: Entry, *more: str) -> tuple[int, str]:
        file.write_text(checkpoints.receipt(entry), "utf-8")
        return main([*options, *more]), capsys.readouterr().out

    code, text = said(late)
    assert code == 0
    between = f"between {log[2].created_at} and {log[3].created_at}"
    assert f"  registered: {between} (when the signer made checkpoints 3 and 4)\n" in text
    assert f"notice: registered_late in slow: entry #1 was registered {between}" in text
    code, text = said(late, "--format", "json", "--strict-times")
    assert code == 3
    document = json.loads(text)
    assert document["registered"] == {"after": log[2].created_at, "by": log[3].created_at}
    (notice,) = document["notices"]
    assert notice["greatest_lag_ms"] == log[2].milliseconds - then
    assert said(late, "--strict-times", "--clock-skew", "8000000")[0] == 0
    punctual = entry(site, "payments", 9)
    assert said(punctual, "--strict-times") == (0, said(punctual)[1])
    assert "notice" not in said(punctual)[1]
    first = entry(site, "payments", 0)
    code, text = said(first, "--strict-times")
    assert code == 0
    assert f"  registered: by {log[0].created_at} (when the signer made checkpoint 1)\n" in text
    code, text = said(entry(site, "slow", 0), "--strict-times")
    assert code == 3
    assert "the receipt does not tell after when" in text


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
        assert len(queries) <= 16
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
    each = entry(site, "payments", 100)
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
    out, error = io.StringIO(), io.StringIO()
    call_command("ledger_receipt", *arguments, database=site.alias, output=str(file), stderr=error)
    assert error.getvalue().startswith("entry 3: registered by 20")
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


def cosigned(site: SigningSite, made: receipt.Receipt, *, alone: bool) -> tuple[str, str]:
    """Return a receipt that a witness cosigned, with the signer's signature or without, and its
    vkey."""
    proof = inclusion.parse(made.checkpoint)
    signed = note.parse(proof.note)
    signer, plain = signing.generate("witness.example/w1")
    mine = signing.cosign(signed, signer, 1_700_000_000)
    signatures = (mine,) if alone else (*signed.signatures, mine)
    proof = replace(proof, note=str(note.Note(signed.text, signatures)))
    vkey = note.VerifierKey(plain.name, note.COSIGNATURE, plain.public)
    return str(replace(made, checkpoint=str(proof))), str(vkey)


def test_a_witness_never_stands_in_for_the_signer(
    site: SigningSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = receipt.parse(checkpoints.receipt(entry(site, "payments", 7)))
    file = tmp_path / "receipt.json"
    signer = ["--vkey", str(site.vkey)]
    text, witness = cosigned(site, made, alone=True)
    file.write_text(text, "utf-8")
    for keys in ([*signer, "--witness-vkey", witness], ["--vkey", witness]):
        assert main([str(file), *keys]) == 1
        assert "no signature is of a known key" in capsys.readouterr().err
    text, witness = cosigned(site, made, alone=False)
    file.write_text(text, "utf-8")
    assert main([str(file), *signer, "--witness-vkey", witness]) == 0
    assert "witnesses:  witness.example/w1" in capsys.readouterr().out


def test_fewer_witnesses_than_are_wanted_prove_too_little(
    site: SigningSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = receipt.parse(checkpoints.receipt(entry(site, "payments", 7)))
    text, witness = cosigned(site, made, alone=False)
    file = tmp_path / "receipt.json"
    file.write_text(text, "utf-8")
    wanted = ["--vkey", str(site.vkey), "--witness-vkey", witness, "--witness-threshold", "2"]
    assert main([str(file), *wanted]) == 2
    said = capsys.readouterr()
    assert (said.out, "fewer than 2 of the known witnesses" in said.err) == ("", True)
    assert main([str(file), *wanted, "--format", "json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["cosigned_by"], len(document["unmet"])) == ([witness], 1)
    file.write_text(str(made), "utf-8")
    assert main([str(file), *wanted[:4]]) == 2


def test_the_receipt_page_has_the_signers_keys_beside_those_of_witnesses(
    site: SigningSite,
) -> None:
    _text, witness = cosigned(
        site, receipt.parse(checkpoints.receipt(entry(site, "payments", 7))), alone=False
    )
    site.configure(CHECKPOINT_VKEYS=[], WITNESS_VKEYS=[witness])
    assert list(map(str, page_keys())) == [str(site.vkey), witness]
