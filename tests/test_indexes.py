"""Every index earns its place by a statement of the package's own that uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import connections

from nucleus_ledger import rowsource, statuses, stepping
from nucleus_ledger.core.manifest import StreamHead
from nucleus_ledger.core.merkle import Node
from nucleus_ledger.evidence import stored, trees
from nucleus_ledger.models import Entry, HashTile, Verification

Statement = tuple[str, Any]


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Two streams, verified, with enough entries that an index is worth its while."""
    Entry.objects.using(ledger_db).append_batch(
        {"stream": f"s{n % 2}", "record_id": f"r{n}", "timestamp": 1000 + n, "payload": {"n": n}}
        for n in range(12_000)
    )
    Entry.objects.using(ledger_db).verify_integrity()
    for number in range(40):
        heads = [
            StreamHead("persistent-ledger", f"s{n}", number + 1, "00" * 32, "00" * 32, 1)
            for n in range(2)
        ]
        stored.store(ledger_db, number, "{}", [], [(head, [b"\0" * 32]) for head in heads])
    HashTile.objects.using(ledger_db).create(tree=7, level=1, number=0, hashes=bytes(32))
    with connections[ledger_db].cursor() as cursor:
        cursor.execute("ANALYZE")
    return ledger_db


@contextmanager
def recorded(alias: str) -> Iterator[list[Statement]]:
    statements: list[Statement] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r"\s*(SELECT|WITH|UPDATE|DELETE)\b", sql):
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(record):
        yield statements


def plan(alias: str, statement: Statement) -> str:
    connection = connections[alias]
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {statement[0]}", statement[1])
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def use_everything(alias: str) -> None:
    """What a site does, as far as it reads, and what a verification does on its way."""
    entries = Entry.objects.using(alias)
    first = entries.get_by_id("s0", "r0")
    assert entries.load_entry(first.hash) == first
    assert len(entries.load_entries_range("s1", limit=10)) == 10
    assert entries.latest_hash("s0")
    assert [e.timestamp for e in entries.in_time_range("s0", 1500, 1504)] == [1500, 1502]
    entries.append("s0", {}, record_id="another")
    (stream, _) = rowsource.read_heads(connections[alias])
    assert rowsource.read_hash(connections[alias], stream.id, 7)
    assert sum(w.size for w in rowsource.read_windows(connections[alias], stream.id, 0, 999)) == 999
    assert rowsource.find_orphans(connections[alias]) == []
    assert len(statuses.bases(alias, {stream.id or 0: "s"})) == 1
    list(Verification.objects.using(alias).get().findings.all())
    Verification.objects.using(alias).filter(lease="startup").exists()
    stepping.step(alias, stepping.begin(alias).pk, 10)
    assert stored.size(alias) == 40
    assert len(list(stored.documents(alias, 0, 1))) == 1
    assert len(stored.heads_at(alias, 39)) == 2
    assert stored.first_covering(alias, "s0", 7) == 7
    stored.refill(alias, "s0", [])
    assert len(trees.proof(alias, 7, [[Node(8, 0)]], lambda low, high: [])) == 1


def indexes(alias: str) -> set[str]:
    connection = connections[alias]
    found = set()
    with connection.cursor() as cursor:
        for model in apps.get_app_config("nucleus_ledger").get_models():
            table = model._meta.db_table
            for name, facts in connection.introspection.get_constraints(cursor, table).items():
                if facts["index"] or facts["unique"]:
                    found.add(name)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE "
                           "'nucleus_ledger_%'")  # fmt: skip
            return {row[0] for row in cursor.fetchall()}
    return found


# Their tables are looked up by the id of a row that is at hand.
KEYS = {"nucleus_ledger_finding_pkey", "nucleus_ledger_stream_pkey",
        "nucleus_ledger_verification_pkey"}  # fmt: skip


def test_every_index_is_used_by_a_statement(ledger: str) -> None:
    with recorded(ledger) as statements:
        use_everything(ledger)
    if connections[ledger].vendor == "postgresql":
        with connections[ledger].cursor() as cursor:  # the small tables would not need one
            cursor.execute("SET LOCAL enable_seqscan = off")
    plans = "\n".join(plan(ledger, one) for one in statements)
    unused = {name for name in indexes(ledger) if not re.search(rf"\b{name}\b", plans)}
    assert unused - KEYS == set()
    assert len(indexes(ledger)) >= 6


WHOLE = re.compile(r"Seq Scan on nucleus_ledger_entry|SCAN (nucleus_ledger_)?(entry|e)\b")
SORTED = re.compile(r"TEMP B-TREE FOR ORDER BY|Sort Key")


def test_no_statement_reads_or_sorts_all_entries(ledger: str) -> None:
    with recorded(ledger) as statements:
        use_everything(ledger)
    assert len(statements) > 15
    for statement in statements:
        sql = statement[0]
        # SQLite knows that no column of that kind is null, and so reads nothing.
        if "stream_id IS NULL" in sql:
            continue
        steps = plan(ledger, statement)
        assert not WHOLE.search(steps), (sql, steps)
        # What is bounded, by a record or by two sequences, may be sorted: that is no cost.
        if (
            "nucleus_ledger_entry" in sql
            and "LIMIT" in sql
            and not re.search(r'record_id"? =', sql)
        ):
            assert not SORTED.search(steps), f"{sql}\n{steps}"


@pytest.mark.parametrize("length", [0, 1, 2, 7, 64])
def test_a_time_is_found_wherever_it_is(ledger_db: str, length: int) -> None:
    entries = Entry.objects.using(ledger_db)
    times = [1000 + 10 * (n // 3) for n in range(length)]
    entries.append_batch({"stream": "s", "timestamp": t, "payload": {}} for t in times)
    entries.append("other", {}, timestamp=5)
    for start in range(985, 1230, 5):
        for end in (None, start, start + 5, start + 35):
            found = [entry.timestamp for entry in entries.in_time_range("s", start, end)]
            assert found == [t for t in times if start <= t and (end is None or t < end)]
    assert list(entries.in_time_range("nowhere", 0)) == []
