"""Ledgers of the reference engine: judged by its rule and by stricter ones, and carried over."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from nucleus_ledger.core import nucleusrule
from nucleus_ledger.models import Entry, Stream
from nucleus_ledger.transfer import nucleusimport

TABLE = """CREATE TABLE entries (hash TEXT PRIMARY KEY, prev_hash TEXT, record_id TEXT NOT NULL,
  stream TEXT NOT NULL, timestamp INTEGER NOT NULL, payload TEXT NOT NULL, meta TEXT,
  serialized TEXT NOT NULL, created_at INTEGER NOT NULL)"""


def record(n: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"r-{n}",
        "stream": f"s/{n % 2}",
        "timestamp": 1_700_000_000_000 + n,
        "payload": {"n": n, "score": n + 0.0, "half": n + 0.5, "name": "Søren 𝄞"},
        **({"meta": {"source": "api"}} if n % 3 == 0 else {}),
        **changes,
    }


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write a file as that engine does: one chain over all streams."""
    connection = sqlite3.connect(path)
    connection.execute(TABLE)
    link = None
    for said in records:
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        digest = nucleusrule.parse(text).hash
        connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (digest, link, said["id"], said["stream"], said["timestamp"],
             json.dumps(said["payload"]), json.dumps(said["meta"]) if "meta" in said else None,
             text, said["timestamp"]),
        )  # fmt: skip
        link = digest
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger.db", [record(n) for n in range(10)])


def edit(path: Path, statement: str, *parameters: Any) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, parameters)
    connection.commit()
    connection.close()


def run(alias: str, path: Path, **options: Any) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("import_nucleus", str(path), database=alias, stdout=out, **options)
    except CommandError as exc:
        return exc.returncode, out.getvalue() + str(exc)
    return 0, out.getvalue()


def test_every_record_is_carried_over_and_its_old_hash_is_still_to_be_had(
    ledger_db: str, file: Path
) -> None:
    before = file.read_bytes()
    code, said = run(ledger_db, file)
    assert code == 0, said
    assert "Its hash leaves out the link" in said
    entries = list(Entry.objects.using(ledger_db).filter(stream__name__startswith="s/"))
    assert len(entries) == 10
    notes = Entry.objects.using(ledger_db).in_chain_order("nucleus.imports")
    floats = {tuple(each[:2]): each[2] for each in notes[0].payload["records"]}
    for entry in entries:
        n = int(entry.record_id.removeprefix("r-"))
        wanted = record(n)
        assert (entry.payload, entry.timestamp) == (wanted["payload"], wanted["timestamp"])
        assert entry.meta == wanted.get("meta")
        text = json.dumps(wanted, ensure_ascii=False)
        places = floats.get((entry.stream.name, entry.record_id), [])
        assert nucleusimport.old_hash(entry, places) == nucleusrule.parse(text).hash
    payload = notes[1].payload
    assert payload["sha256"] == nucleusimport.sha256_of(file)
    assert payload["records"] == 10
    assert payload["streams"] == {"s/0": {"from": 0, "to": 4}, "s/1": {"from": 0, "to": 4}}
    assert (payload["findings"], payload["hash_differs"]) == ({}, 0)
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["ledger.db"]
    assert Entry.objects.using(ledger_db).verify_integrity().intact
    code, said = run(ledger_db, file)
    assert code == 2
    assert "imported before" in said


@pytest.mark.parametrize(
    ("statement", "kind", "fatal"),
    [
        ("UPDATE entries SET payload = '{}' WHERE rowid = 4", "field_mismatch", False),
        # One after the other the same value: neither the hash nor a column says anything.
        ("UPDATE entries SET payload = replace(payload, '{', '{\"n\": 9, ') WHERE rowid = 4",
         "repeated_key", False),
        ("UPDATE entries SET serialized = replace(serialized, '{\"n\"', '{\"n\":9,\"n\"')",
         "repeated_key", False),
        ("UPDATE entries SET payload = '{' WHERE rowid = 4", "field_mismatch", False),
        ("UPDATE entries SET stream = 'other' WHERE rowid = 4", "field_mismatch", False),
        ("UPDATE entries SET record_id = 'other' WHERE rowid = 4", "field_mismatch", False),
        ("UPDATE entries SET timestamp = 7 WHERE rowid = 4", "field_mismatch", False),
        ("UPDATE entries SET meta = NULL WHERE rowid = 4", "field_mismatch", False),
        ("UPDATE entries SET prev_hash = NULL WHERE rowid = 4", "link_broken", False),
        ("DELETE FROM entries WHERE rowid = 4", "link_broken", False),
        ("UPDATE entries SET hash = 'x' WHERE rowid = 4", "hash_mismatch", True),
        ("UPDATE entries SET serialized = replace(serialized, 'S', 's') WHERE rowid = 4",
         "hash_mismatch", True),
        ("UPDATE entries SET serialized = '{' WHERE rowid = 4", "undecodable", True),
    ],
)  # fmt: skip
def test_what_that_engine_does_not_see(
    ledger_db: str, file: Path, statement: str, kind: str, fatal: bool
) -> None:
    edit(file, statement)
    code, said = run(ledger_db, file)
    assert code == 1
    assert kind in said
    assert not Stream.objects.using(ledger_db).exists()
    code, said = run(ledger_db, file, accept_findings=True)
    assert code == (1 if fatal else 0), said
    if not fatal:
        entry = Entry.objects.using(ledger_db).in_chain_order("nucleus.imports").last()
        assert kind in entry.payload["findings"]
        assert Entry.objects.using(ledger_db).filter(record_id="r-8").exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"payload": {"n": 2**60}},
        {"payload": "text"},
        {"meta": "text"},
        {"stream": "nucleus.incidents"},
        {"timestamp": 1},
        {"id": "r-0", "stream": "s/0"},
        {"stream": "a\u0007"},
    ],
    ids=str,
)
def test_records_that_cannot_be_entries_leave_nothing(
    ledger_db: str, tmp_path: Path, odd: dict[str, Any]
) -> None:
    path = write(tmp_path / "odd.db", [*(record(n) for n in range(8)), record(8, **odd)])
    code, said = run(ledger_db, path, accept_findings=True)
    assert code == 1
    assert "row 9: " in said
    assert not Entry.objects.using(ledger_db).exists()


def test_equal_times_are_no_fault_here(ledger_db: str, tmp_path: Path) -> None:
    time = {"timestamp": 1_700_000_000_000}
    path = write(tmp_path / "ties.db", [record(n, **time) for n in range(4)])
    code, said = run(ledger_db, path, dry_run=True)
    assert code == 0
    assert "3 records have the time of the one before" in said
    assert not Entry.objects.using(ledger_db).exists()
    assert run(ledger_db, path)[0] == 0


def test_a_record_that_is_there_already_rolls_everything_back(ledger_db: str, file: Path) -> None:
    Entry.objects.using(ledger_db).append("s/1", {}, record_id="r-9", timestamp=1)
    code, said = run(ledger_db, file)
    assert code == 2
    assert "already holds record 'r-9'" in said
    assert Entry.objects.using(ledger_db).count() == 1


@pytest.mark.parametrize("content", [b"", b"no database", None])
def test_what_is_no_ledger(ledger_db: str, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.db"
    if content is not None:
        path.write_bytes(content)
    assert run(ledger_db, path)[0] == 2
