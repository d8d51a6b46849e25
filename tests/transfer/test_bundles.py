"""Bundles: there and back again, and every way in which one can be wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from nucleus_ledger import guards
from nucleus_ledger.core import bundle, canonical, note, signing
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry, Stream
from nucleus_ledger.transfer.exporting import export
from nucleus_ledger.verify.__main__ import main
from tests import attacker
from tests.evidence.signing_site import SigningSite
from tests.tamper import edit_payload, sql


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    Entry.objects.using(ledger_db).append_batch(
        {
            "stream": f"s/{n % 2}",
            "record_id": f"r{n}",
            "payload": {"n": n, "text": "naïve 𝄞 \u2028"},
            "meta": {"source": "api"} if n % 3 == 0 else None,
        }
        for n in range(9)
    )
    Stream.objects.using(ledger_db).create(name="empty")
    site.make(init=True)
    return site


def write(site: SigningSite, *streams: str, name: str = "b.jsonl", **options: Any) -> Path:
    file = site.folder / name
    call_command("export_ledger", str(file), *streams, database=site.alias, **options)
    return file


def verify(site: SigningSite, file: Path, *options: str) -> int:
    return main([str(file), "--vkey", str(site.vkey), "--ledger", "persistent-ledger", *options])


def rows(alias: str) -> list[Any]:
    return list(
        Entry.objects.using(alias)
        .order_by("stream__name", "sequence")
        .values_list("stream__name", "sequence", "hash", "serialized", "payload", "meta")
    )


def empty(alias: str) -> None:
    guards.remove(connections[alias])
    if alias == "postgres":
        sql(alias, "SET CONSTRAINTS ALL IMMEDIATE")
    for name in ("s/0", "s/1", "empty", "nucleus.keys"):
        attacker.delete(alias, name)
    guards.install(connections[alias])


def forged(lines: Iterable[bytes]) -> bytes:
    """The lines with the trailer that goes with them."""
    parts: list[bytes] = []
    writer = bundle.Writer(parts.append)
    for line in lines:
        writer.line(line.decode().removesuffix("\n"))
    writer.end()
    return b"".join(parts)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_there_and_back_byte_for_byte(
    site: SigningSite, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(site, gzip=packed)
    assert verify(site, file) == 0
    assert "INTACT: 10 entries in 4 streams" in capsys.readouterr().out
    before = rows(site.alias)
    streams = list(Stream.objects.using(site.alias).order_by("name").values("name", "length"))
    empty(site.alias)
    assert rows(site.alias) == []
    call_command("import_ledger", str(file), database=site.alias)
    assert rows(site.alias) == before
    assert (
        list(Stream.objects.using(site.alias).order_by("name").values("name", "length")) == streams
    )
    report = site.verify(site.kept())
    assert (report.result, report.assurance) == ("intact", "checkpoint")
    assert {each.assurance for each in report.streams if each.length} == {"checkpoint"}


def test_only_into_an_empty_ledger_and_only_what_was_checked(site: SigningSite) -> None:
    file = write(site)
    with pytest.raises(CommandError, match="the ledger is not empty"):
        call_command("import_ledger", str(file), database=site.alias)
    bare = write(site, name="bare.jsonl", no_checkpoint=True)
    assert verify(site, bare) == 2
    part = write(site, "s/0", name="part.jsonl", low=2)
    empty(site.alias)
    with pytest.raises(CommandError, match="there is no checkpoint in it"):
        call_command("import_ledger", str(bare), database=site.alias)
    with pytest.raises(CommandError, match="begins in the middle"):
        call_command("import_ledger", str(part), database=site.alias)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2].replace(b'"n":', b'"m":')
    file.write_bytes(forged(lines[:-1]))
    with pytest.raises(CommandError, match="checkpoint_mismatch"):
        call_command("import_ledger", str(file), database=site.alias)
    assert not Stream.objects.using(site.alias).exists()
    call_command("import_ledger", str(bare), database=site.alias, chain_only=True)
    assert len(rows(site.alias)) == 10


def test_no_byte_can_be_changed_and_none_left_out(site: SigningSite) -> None:
    data = write(site).read_bytes()
    file = site.folder / "changed.jsonl"
    for place in range(len(data)):
        if place % 7 and place > 600 and place < len(data) - 200:
            continue  # a seventh of the middle is enough for one run
        for changed in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            file.write_bytes(changed)
            assert verify(site, file) in (1, 2), place


def test_who_makes_the_trailer_fit_is_found_all_the_same(site: SigningSite) -> None:
    lines = write(site).read_bytes().splitlines(keepends=True)[:-1]
    first = next(i for i, line in enumerate(lines) if line.startswith(b'{"id"'))
    file = site.folder / "forged.jsonl"
    for index in range(len(lines)):
        line = lines[index]
        for changed in (
            [*lines[:index], *lines[index + 1 :]],
            [*lines[:index], line, *lines[index:]],
            [*lines[:index], line.replace(b"1", b"2", 1), *lines[index + 1 :]],
        ):
            if changed == lines:
                continue
            if index == 0 and b'"created_at"' in line and changed[1:] == lines[1:]:
                continue  # when a bundle was written is the word of who wrote it
            file.write_bytes(forged(changed))
            assert verify(site, file) in (1, 2), (index, first)


def test_a_cut_tail_and_a_missing_stream_are_never_called_intact(
    site: SigningSite, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (
        write(site, "s/0", name="one.jsonl"),
        write(site, "s/0", name="cut.jsonl", high=3),
        write(site, "s/0", name="late.jsonl", low=2),
    ):
        assert verify(site, file) == 2
        assert "NOT VERIFIED: it is a part of what its checkpoint has" in capsys.readouterr().out
        assert verify(site, file, "--part") == 0
        assert "A PART" in capsys.readouterr().out
        assert verify(site, file, "--part", "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["intact"] is None


def test_a_compressed_file_that_is_cut_off(site: SigningSite) -> None:
    file = write(site, gzip=True, name="b.gz")
    data = file.read_bytes()
    for length in range(0, len(data), 11):
        file.write_bytes(data[:length])
        assert verify(site, file) == 2
    text = gzip.decompress(data)
    file.write_bytes(gzip.compress(text[:-1]))
    assert verify(site, file) == 2


def test_what_is_not_right_is_not_exported(site: SigningSite) -> None:
    edit_payload(site.alias, "r4")
    written: list[bytes] = []
    with pytest.raises(IntegrityFailed, match="stream 's/0' at sequence 2: field_mismatch"):
        export(site.alias, written.append)
    with pytest.raises(CommandError) as refused:
        write(site, name="not-there.jsonl")
    assert refused.value.returncode == 1
    assert not (site.folder / "not-there.jsonl").exists()
    assert write(site, "s/1", name="s1.jsonl").exists()


def test_witnesses_that_are_wanted_and_did_not_cosign(
    site: SigningSite, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(site)
    _signer, plain = signing.generate("witness.example/w1")
    witness = str(note.VerifierKey(plain.name, note.COSIGNATURE, plain.public))
    capsys.readouterr()
    assert verify(site, file, "--witness-vkey", witness) == 2
    out = capsys.readouterr().out
    assert "NOT VERIFIED: fewer than 1 of the known witnesses cosigned" in out


def test_bad_options(site: SigningSite) -> None:
    for streams, options in (
        (["nothing"], {}),
        (["s/0", "s/1"], {"low": 1}),
        ([], {"high": 1}),
        (["s/0"], {"high": 99}),
        (["s/0"], {"low": 3, "high": 2}),
    ):
        with pytest.raises(CommandError) as refused:
            write(site, *streams, **options)  # type: ignore[arg-type]
        assert refused.value.returncode == 2


def test_the_auditors_tool_needs_no_django(site: SigningSite) -> None:
    file = write(site)
    code = (
        "import sys; sys.modules['django'] = None\n"
        "from nucleus_ledger.verify.__main__ import main\n"
        f"code = main([{str(file)!r}, '--vkey', {str(site.vkey)!r}])\n"
        "assert not [m for m in sys.modules if m.startswith('django.')]\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "INTACT" in done.stdout


def test_a_line_of_another_kind_in_the_header(site: SigningSite) -> None:
    lines = write(site).read_bytes().splitlines(keepends=True)[:-1]
    header = canonical.loads(lines[0])
    file = site.folder / "odd.jsonl"
    for changes in (
        {"streams": [*header["streams"], header["streams"][0]]},
        {"streams": 1},
        {"streams": [{**header["streams"][0], "from": -1}]},
        {"streams": [{**header["streams"][0], "prev_hash": "00"}]},
        {"checkpoint_size": True},
        {"ledger": "another"},
        {"more": 1},
        {"schema": "nucleus-ledger/bundle/v2"},
    ):
        file.write_bytes(forged([canonical.dumps(header | changes).encode() + b"\n", *lines[1:]]))
        assert verify(site, file) == 2, changes
