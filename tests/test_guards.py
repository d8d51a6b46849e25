from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, models, transaction
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import guards
from nucleus_ledger.apps import mend_guards
from nucleus_ledger.models import Entry, Stream
from tests.tamper import sql

ENTRY, STREAM = "nucleus_ledger_entry", "nucleus_ledger_stream"
COLUMNS = "hash, stream_id, sequence, record_id, timestamp, payload, meta, prev_hash, serialized"


@pytest.fixture
def stored(ledger_db: str) -> str:
    Entry.objects.using(ledger_db).append_batch(
        [{"stream": "things", "record_id": f"r{n}", "payload": {"n": n}} for n in range(3)]
    )
    return ledger_db


def refused(alias: str, statement: str, parameters: list[Any] | None = None) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        sql(alias, statement, parameters)


COMMON = [
    f"UPDATE {ENTRY} SET record_id = 'x' WHERE sequence = 1",
    f"UPDATE {ENTRY} SET sequence = sequence",
    f"DELETE FROM {ENTRY} WHERE sequence = 2",
    f"DELETE FROM {STREAM}",
    f"UPDATE {STREAM} SET name = 'y'",
    f"UPDATE {STREAM} SET ledger = 'y'",
    f"UPDATE {STREAM} SET id = id + 100",
    f"UPDATE {STREAM} SET length = length - 1",
    f"INSERT INTO {ENTRY} ({COLUMNS}) SELECT {COLUMNS} FROM {ENTRY} WHERE sequence = 1",
    f"INSERT INTO {ENTRY} ({COLUMNS}) SELECT {COLUMNS} FROM {ENTRY} WHERE sequence = 1 "
    "ON CONFLICT (hash) DO UPDATE SET record_id = 'z'",
]


@pytest.mark.parametrize("statement", COMMON)
def test_raw_changes_are_refused(stored: str, statement: str) -> None:
    before = list(Entry.objects.using(stored).order_by("pk").values())
    refused(stored, statement)
    assert list(Entry.objects.using(stored).order_by("pk").values()) == before
    assert Stream.objects.using(stored).get().length == 3


def test_growing_a_stream_is_allowed_by_the_guard(stored: str) -> None:
    assert sql(stored, f"UPDATE {STREAM} SET length = length + 1") == 1


@pytest.mark.parametrize("alias", ["postgres"])
@pytest.mark.parametrize(
    "statement",
    [
        f"TRUNCATE {ENTRY}",
        f"TRUNCATE {STREAM} CASCADE",
        f"SET LOCAL session_replication_role = replica; DELETE FROM {ENTRY}",
        f"UPDATE {ENTRY} SET payload = '{{}}'::jsonb",
    ],
)
def test_postgresql_refuses(stored: str, statement: str) -> None:
    sql(stored, "SET CONSTRAINTS ALL IMMEDIATE")  # no trigger events of this test left pending
    with pytest.raises(IntegrityError) as caught, transaction.atomic(using=stored):
        sql(stored, statement)
    assert getattr(caught.value.__cause__, "sqlstate", None) == "23001"


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT OR REPLACE INTO {ENTRY} ({COLUMNS}) SELECT {COLUMNS} FROM {ENTRY} "
        "WHERE sequence = 1",
        f"INSERT OR REPLACE INTO {ENTRY} ({COLUMNS}) SELECT x'{'ab' * 32}', stream_id, sequence, "
        f"'new', timestamp, payload, meta, prev_hash, serialized FROM {ENTRY} WHERE sequence = 1",
        f"INSERT OR REPLACE INTO {ENTRY} ({COLUMNS}) SELECT x'{'ab' * 32}', stream_id, 9, "
        f"record_id, timestamp, payload, meta, hash, serialized FROM {ENTRY} WHERE sequence = 1",
        f"INSERT OR REPLACE INTO {ENTRY} (rowid, {COLUMNS}) SELECT rowid, x'{'ab' * 32}', "
        "stream_id, 9, 'new', timestamp, payload, meta, hash, serialized "
        f"FROM {ENTRY} WHERE sequence = 1",
        f"UPDATE OR REPLACE {ENTRY} SET sequence = 1 WHERE sequence = 2",
        f"UPDATE OR REPLACE {STREAM} SET name = 'other'",
    ],
)
def test_sqlite_refuses(stored: str, statement: str) -> None:
    refused(stored, statement)


@pytest.mark.parametrize("alias", ["default"])
def test_replacing_a_stream_row_does_nothing_on_sqlite(stored: str) -> None:
    sql(stored, f"INSERT OR REPLACE INTO {STREAM} (name, ledger, length) VALUES ('things', 'x', 0)")
    stream = Stream.objects.using(stored).get()
    assert (stream.ledger, stream.length) == ("persistent-ledger", 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 3, "prev_hash": None},
        {"sequence": -1},
        {"timestamp": 0},
        {"timestamp": 2**53},
        {"hash": b"short"},
        {"prev_hash": b"short"},
        {"record_id": ""},
        {"serialized": ""},
        {"sequence": 0},
    ],
)
def test_check_constraints_on_what_a_row_says_of_itself(
    stored: str, changes: dict[str, Any]
) -> None:
    stream = Stream.objects.using(stored).get()
    binary = connections[stored].Database.Binary
    row = {
        "hash": b"h" * 32,
        "stream_id": stream.pk,
        "sequence": 3,
        "record_id": "new",
        "timestamp": 5,
        "payload": "{}",
        "meta": None,
        "prev_hash": b"p" * 32,
        "serialized": "{}",
    } | changes
    row = {key: binary(v) if isinstance(v, bytes) else v for key, v in row.items()}
    refused(
        stored,
        f"INSERT INTO {ENTRY} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
        list(row.values()),
    )


def test_inspect_says_what_does_not_stand(ledger_db: str) -> None:
    connection = connections[ledger_db]
    assert guards.inspect(connection).ok
    guards.remove(connection)
    gone = guards.inspect(connection)
    assert len(gone.missing) == (4 if connection.vendor == "postgresql" else 6)
    guards.install(connection)
    assert guards.inspect(connection).ok
    if connection.vendor == "postgresql":
        sql(ledger_db, f"ALTER TABLE {ENTRY} DISABLE TRIGGER {ENTRY}_rows_v1")
        assert guards.inspect(connection).disabled == [f"{ENTRY}_rows_v1"]
        sql(ledger_db, f"ALTER TABLE {ENTRY} ENABLE TRIGGER {ENTRY}_rows_v1")  # not ALWAYS
        assert guards.inspect(connection).disabled == [f"{ENTRY}_rows_v1"]
        guards.install(connection)
        sql(
            ledger_db,
            f"CREATE OR REPLACE FUNCTION {ENTRY}_refuse_v1() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN OLD; END'",
        )
        assert guards.inspect(connection).altered == [f"{ENTRY}_rows_v1", f"{ENTRY}_truncate_v1"]
        guards.install(connection)
        sql(ledger_db, f"DROP TRIGGER {ENTRY}_rows_v1 ON {ENTRY}")
        sql(
            ledger_db,
            f"CREATE TRIGGER {ENTRY}_rows_v1 BEFORE UPDATE OR DELETE ON {ENTRY} FOR EACH ROW "
            f"WHEN (false) EXECUTE FUNCTION {ENTRY}_refuse_v1()",
        )
        sql(ledger_db, f"ALTER TABLE {ENTRY} ENABLE ALWAYS TRIGGER {ENTRY}_rows_v1")
        assert guards.inspect(connection).altered == [f"{ENTRY}_rows_v1"]
        sql(ledger_db, f"ALTER TABLE {ENTRY} DROP CONSTRAINT nucleus_ledger_entry_link")
        assert guards.inspect(connection).missing == ["nucleus_ledger_entry_link"]
    else:
        sql(ledger_db, f"DROP TRIGGER {ENTRY}_update_v1")
        sql(ledger_db, f"CREATE TRIGGER {ENTRY}_update_v1 BEFORE UPDATE ON {ENTRY} WHEN 0 "
                       "BEGIN SELECT RAISE(ABORT, 'x'); END")  # fmt: skip
        assert guards.inspect(connection).altered == [f"{ENTRY}_update_v1"]
        assert guards.inspect(connection).missing == []


def test_verification_says_that_a_guard_is_missing(ledger_db: str) -> None:
    Entry.objects.using(ledger_db).append("things", {})
    guards.remove(connections[ledger_db])
    report = Entry.objects.using(ledger_db).verify_integrity()
    assert report.result == "intact"
    assert report.guards["ok"] is False
    assert report.guards["missing"]
    assert any("guards" in warning for warning in report.warnings)
    assert report.exit_code(strict_guards=True) == 3


def test_post_migrate_mends_only_on_a_difference(ledger_db: str) -> None:
    connection = connections[ledger_db]
    with CaptureQueriesContext(connection) as queries:
        mend_guards(using=ledger_db)
    assert not [q for q in queries if "TRIGGER" in q["sql"] and "SELECT" not in q["sql"]]
    guards.remove(connection)
    mend_guards(using=ledger_db)
    assert guards.inspect(connection).ok


@pytest.mark.parametrize("alias", ["default"])
def test_a_remade_table_gets_its_guards_back(ledger_db_committed: str) -> None:
    connection = connections[ledger_db_committed]
    old = Entry._meta.get_field("serialized")
    new = models.TextField(null=True)
    new.set_attributes_from_name("serialized")
    new.model = Entry
    with connection.schema_editor() as editor:
        editor.alter_field(Entry, old, new)
    assert any(name.startswith(f"{ENTRY}_") for name in guards.inspect(connection).missing)
    with connection.schema_editor() as editor:
        editor.alter_field(Entry, new, old)
    call_command("migrate", database=ledger_db_committed, verbosity=0)
    assert guards.inspect(connection).ok


def test_the_guards_migration_can_be_undone(ledger_db_committed: str) -> None:
    connection = connections[ledger_db_committed]
    call_command(
        "migrate", "nucleus_ledger", "0001", database=ledger_db_committed, verbosity=0,
        skip_checks=True,
    )  # fmt: skip
    call_command("migrate", database=ledger_db_committed, verbosity=0)
    assert guards.inspect(connection).ok
    plan = guards.statements(connection.vendor)
    assert len(plan) >= 6


def test_the_indexes_are_those_the_design_lists(ledger_db: str) -> None:
    connection = connections[ledger_db]
    with connection.cursor() as cursor:
        found = {
            table: sorted(
                tuple(facts["columns"])
                for facts in connection.introspection.get_constraints(cursor, table).values()
                if facts["index"] or facts["unique"] or facts["primary_key"]
            )
            for table in (ENTRY, STREAM)
        }
    assert found[ENTRY] == [("hash",), ("stream_id", "record_id"), ("stream_id", "sequence")]
    assert found[STREAM] == [("id",), ("name",)]


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        (
            "postgresql/append_only_v1.sql",
            "f000175f4a2e4fbb52501d011e0c55b1476ea8eadafa2c990b5883ffe9559d1b",
        ),
        (
            "postgresql/append_only_v1_undo.sql",
            "a9729fefdcd1b71fa7a9969a113f7c59b5297cfc27f661f4d0aba7210c1870c2",
        ),
        (
            "sqlite/append_only_v1.sql",
            "76625b77008fae738bdc9d01af7f242a537999786f1b8cb7ef42972255346eac",
        ),
        (
            "sqlite/append_only_v1_undo.sql",
            "960608369f79856bb17cca8dfd241fc185d5baf20293c7b1c415cc4d5ff35d2d",
        ),
    ],
)
def test_released_sql_is_frozen(file: str, digest: str) -> None:
    """A change to a guard is a new version with a new file, never an edit of this one."""
    data = (resources.files("nucleus_ledger") / "sql" / file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
