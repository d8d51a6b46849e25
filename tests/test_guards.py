from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import guards
from nucleus_ledger.apps import mend_guards
from nucleus_ledger.models import Entry, Stream
from tests.tamper import lay_bare, sql

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


def insert(alias: str, table: str, row: dict[str, Any]) -> None:
    binary = connections[alias].Database.Binary
    values = [binary(v) if isinstance(v, bytes) else v for v in row.values()]
    sql(
        alias,
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
        values,
    )


def new_entry(alias: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "hash": b"h" * 32,
        "stream_id": Stream.objects.using(alias).get().pk,
        "sequence": 3,
        "record_id": "new",
        "timestamp": 5,
        "payload": "{}",
        "meta": None,
        "prev_hash": b"p" * 32,
        "serialized": "{}",
    } | changes


def new_stream(changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "other", "ledger": "x", "length": 1, "head_hash": b"h" * 32, "head_timestamp": 5
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"timestamp": 2**53 - 1}, {"timestamp": 1}, {"meta": "{}"}, {"sequence": 2**53}],
)
def test_rows_that_keep_the_constraints_are_taken(stored: str, changes: dict[str, Any]) -> None:
    insert(stored, ENTRY, new_entry(stored, changes))
    insert(stored, STREAM, new_stream({}))
    insert(stored, STREAM, new_stream({"name": "e", "length": 0, "head_hash": None,
                                       "head_timestamp": None}))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"hash": b"short"}, "hashes"),
        ({"hash": b"h" * 33}, "hashes"),
        ({"hash": b""}, "hashes"),
        ({"prev_hash": b"short"}, "hashes"),
        ({"prev_hash": b"h" * 33}, "hashes"),
        ({"prev_hash": None}, "link"),
        ({"sequence": -1}, "link"),
        ({"sequence": -1, "prev_hash": None}, "link"),
        ({"timestamp": 0}, "ranges"),
        ({"timestamp": -5}, "ranges"),
        ({"timestamp": 2**53}, "ranges"),
        ({"record_id": ""}, "ranges"),
        ({"serialized": ""}, "ranges"),
    ],
)
def test_check_constraints_of_entries(
    stored: str, changes: dict[str, Any], constraint: str
) -> None:
    row = new_entry(stored, changes)
    with pytest.raises(IntegrityError, match=f"{ENTRY}_{constraint}"):
        with transaction.atomic(using=stored):
            insert(stored, ENTRY, row)


def test_a_first_entry_has_no_predecessor(stored: str) -> None:
    row = new_entry(stored, {"sequence": 0})
    insert(stored, STREAM, new_stream({}))
    row["stream_id"] = Stream.objects.using(stored).get(name="other").pk
    with pytest.raises(IntegrityError, match=f"{ENTRY}_link"):
        with transaction.atomic(using=stored):
            insert(stored, ENTRY, row)
    insert(stored, ENTRY, row | {"prev_hash": None})


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"name": ""}, "labels"),
        ({"ledger": ""}, "labels"),
        ({"length": 0}, "head"),
        ({"length": -1}, "head"),
        ({"head_hash": None}, "head"),
        ({"head_timestamp": None}, "head"),
        ({"head_timestamp": 0}, "head"),
    ],
)
def test_check_constraints_of_streams(
    stored: str, changes: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=f"{STREAM}_{constraint}"):
        with transaction.atomic(using=stored):
            insert(stored, STREAM, new_stream(changes))


@pytest.mark.parametrize("column", [*COLUMNS.replace(" ", "").split(",")])
def test_only_two_columns_may_be_empty(stored: str, column: str) -> None:
    if column in ("meta", "prev_hash"):  # null there has a meaning
        return
    refused_row = new_entry(stored, {column: None})
    with pytest.raises(IntegrityError, match=r"(?i)not[- ]null"):
        with transaction.atomic(using=stored):
            insert(stored, ENTRY, refused_row)


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


@pytest.mark.parametrize("alias", ["postgres"])
@pytest.mark.parametrize("instead", ["CHECK (true)", "CHECK (sequence >= 0) NOT VALID"])
def test_a_constraint_of_the_same_name_is_told_from_the_released_one(
    ledger_db: str, instead: str
) -> None:
    name = f"{ENTRY}_link"
    sql(ledger_db, f"ALTER TABLE {ENTRY} DROP CONSTRAINT {name}")
    sql(ledger_db, f"ALTER TABLE {ENTRY} ADD CONSTRAINT {name} {instead}")
    assert guards.inspect(connections[ledger_db]).altered == [name]


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize("constraint", [f"{ENTRY}_link", f"{STREAM}_head", f"{ENTRY}_record"])
def test_a_weaker_constraint_in_a_remade_table_is_told(
    ledger_db_committed: str, constraint: str
) -> None:
    """A table remade by hand, with a constraint of the old name that refuses nothing."""
    connection = connections[ledger_db_committed]
    told = []
    with pytest.raises(ZeroDivisionError):  # the tables come back with the rollback
        with connection.constraint_checks_disabled(), transaction.atomic(using=ledger_db_committed):
            for table in (ENTRY, STREAM):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [table])
                    text = cursor.fetchone()[0]
                start = text.find(f'CONSTRAINT "{constraint}"')
                if start < 0:
                    continue
                end = text.find(", CONSTRAINT", start)
                changed = f'{text[:start]}CONSTRAINT "{constraint}" CHECK (1)'
                changed += text[end:] if end > 0 else ")"
                sql(ledger_db_committed, f"ALTER TABLE {table} RENAME TO laid_aside")
                sql(ledger_db_committed, changed)
            told = guards.inspect(connection).altered
            raise ZeroDivisionError
    # The triggers went along with the table that was laid aside.
    assert [name for name in told if not name.endswith("_v1")] == [constraint]
    assert guards.inspect(connection).ok


POSTGRESQL_SHAPES: dict[str, tuple[list[str], str, str]] = {
    "row-level security": (
        [f"ALTER TABLE {ENTRY} ENABLE ROW LEVEL SECURITY"],
        "foreign", f"row-level security on {ENTRY}",
    ),
    "forced only": (
        [f"ALTER TABLE {STREAM} FORCE ROW LEVEL SECURITY"],
        "foreign", f"row-level security on {STREAM}",
    ),
    "a rule": (
        [f"CREATE RULE quiet AS ON DELETE TO {ENTRY} DO INSTEAD NOTHING"],
        "foreign", f"rule quiet on {ENTRY}",
    ),
    "a trigger of somebody": (
        ["CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
         f"CREATE TRIGGER swallow BEFORE INSERT ON {ENTRY} FOR EACH ROW EXECUTE FUNCTION f()"],
        "foreign", f"trigger swallow on {ENTRY}",
    ),
    "a child table": (
        [f"CREATE TABLE child () INHERITS ({ENTRY})"],
        "foreign", "child table child",
    ),
    "a key": (
        [f"ALTER TABLE {ENTRY} DROP CONSTRAINT {ENTRY}_pkey"],
        "missing", f"{ENTRY}: PRIMARY KEY (hash)",
    ),
    "the key of streams, and with it the foreign key": (
        [f"ALTER TABLE {STREAM} DROP CONSTRAINT {STREAM}_pkey CASCADE"],
        "missing", f"{ENTRY}: FOREIGN KEY (stream_id) REFERENCES {STREAM}(id) "
        "DEFERRABLE INITIALLY DEFERRED",
    ),
    "NOT NULL": (
        [f"ALTER TABLE {ENTRY} ALTER serialized DROP NOT NULL"],
        "altered", f"{ENTRY}: serialized text, not serialized text NOT NULL",
    ),
    "a type": (
        [f"ALTER TABLE {ENTRY} ALTER payload TYPE json"],
        "altered", f"{ENTRY}: payload json NOT NULL, not payload jsonb NOT NULL",
    ),
    "a collation": (
        [f'ALTER TABLE {ENTRY} ALTER record_id TYPE varchar(200) COLLATE "C"'],
        "altered",
        f"{ENTRY}: record_id character varying(200) NOT NULL COLLATE another, "
        "not record_id character varying(200) NOT NULL",
    ),
    "a view in its place": (
        [f"ALTER TABLE {ENTRY} RENAME TO hidden", f"CREATE VIEW {ENTRY} AS SELECT * FROM hidden"],
        "foreign", f"{ENTRY} is a view",
    ),
    "an index that is not valid": (
        ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
         f"'{ENTRY}_sequence'::regclass"],
        "foreign", f"index {ENTRY}_sequence is not valid",
    ),
    "an operator before the server's": (
        ["CREATE FUNCTION f(varchar, varchar) RETURNS boolean LANGUAGE sql IMMUTABLE "
         "AS $$ SELECT $1::text = $2::text AND $1::text <> 'r1' $$",
         "CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = f)"],
        "foreign", "operator =(character varying,character varying)",
    ),
    "a function before the server's": (
        ["CREATE FUNCTION length(varchar) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'"],
        "foreign", "function length(character varying)",
    ),
    "an aggregate before the server's": (
        ["CREATE FUNCTION f(bigint, bytea) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
         "CREATE AGGREGATE count(bytea) (SFUNC = f, STYPE = bigint)"],
        "foreign", "function count(bytea)",
    ),
    "a cast in place of the server's": (
        ["CREATE FUNCTION f(jsonb) RETURNS text LANGUAGE plpgsql STABLE "
         "AS $$ BEGIN RETURN jsonb_out($1)::text; END $$",
         "CREATE CAST (jsonb AS text) WITH FUNCTION f(jsonb)"],
        "foreign", "cast from jsonb to text",
    ),
    "a schema before the server's": (
        ["SET LOCAL search_path = public, pg_catalog"],
        "foreign", "search_path with public before pg_catalog",
    ),
}  # fmt: skip
SQLITE_SHAPES: dict[str, tuple[list[str], str, str]] = {
    "a trigger of somebody": (
        [f"CREATE TRIGGER swallow BEFORE INSERT ON {ENTRY} BEGIN SELECT RAISE(IGNORE); END"],
        "foreign", f"trigger swallow on {ENTRY}",
    ),
    "one in another case": (
        [f"CREATE TRIGGER swallow BEFORE INSERT ON {ENTRY.upper()} "
         "BEGIN SELECT RAISE(IGNORE); END"],
        "foreign", f"trigger swallow on {ENTRY}",
    ),
    "a temporary trigger": (
        [f"CREATE TEMP TRIGGER swallow BEFORE INSERT ON main.{ENTRY} "
         "BEGIN SELECT RAISE(IGNORE); END"],
        "foreign", f"trigger swallow on {ENTRY}",
    ),
    "a temporary table before it": (
        [f"CREATE TEMP TABLE {ENTRY} (hash)"],
        "foreign", f"{ENTRY} is a temporary table",
    ),
    "a view in its place": (
        [f"ALTER TABLE {ENTRY} RENAME TO hidden", f"CREATE VIEW {ENTRY} AS SELECT * FROM hidden"],
        "foreign", f"{ENTRY} is a view",
    ),
    "a key": (
        [f"ALTER TABLE {ENTRY} RENAME TO hidden", f"CREATE TABLE {ENTRY} AS SELECT * FROM hidden"],
        "missing", f"{ENTRY}: PRIMARY KEY (hash)",
    ),
    "a foreign key": (
        [f"ALTER TABLE {ENTRY} RENAME TO hidden", f"CREATE TABLE {ENTRY} AS SELECT * FROM hidden"],
        "missing", f"{ENTRY}: FOREIGN KEY (stream_id) REFERENCES {STREAM}(id)",
    ),
    "NOT NULL": (
        [f"ALTER TABLE {STREAM} RENAME TO hidden",
         f"CREATE TABLE {STREAM} (id integer NOT NULL PRIMARY KEY, name varchar(200))"],
        "altered", f"{STREAM}: name VARCHAR(200), not name VARCHAR(200) NOT NULL",
    ),
    "a collation": (
        [f"ALTER TABLE {STREAM} RENAME TO hidden",
         f"CREATE TABLE {STREAM} (name varchar(200) NOT NULL Collate/**/'NOCASE')"],
        "foreign", f"a collation in {STREAM}",
    ),
}  # fmt: skip
SHAPES = [("postgres", name) for name in POSTGRESQL_SHAPES] + [
    ("default", name) for name in SQLITE_SHAPES
]


@pytest.mark.django_db(databases=["default", "postgres"])
@pytest.mark.parametrize(("database", "name"), SHAPES)
def test_what_the_tables_are_beside_their_guards(database: str, name: str) -> None:
    shapes = POSTGRESQL_SHAPES if database == "postgres" else SQLITE_SHAPES
    changes, word, told = shapes[name]
    connection = connections[database]
    assert guards.inspect(connection).ok
    with transaction.atomic(using=database):
        for change in changes:
            sql(database, change)
        status = guards.inspect(connection)
        transaction.set_rollback(True, using=database)
    assert told in status.as_dict()[word]
    assert not status.ok
    assert told in str(status)


@pytest.mark.parametrize("alias", ["postgres"])
def test_functions_and_operators_of_other_types_are_no_ones_business(ledger_db: str) -> None:
    for statement in (
        "CREATE FUNCTION f(integer, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR = (LEFTARG = integer, RIGHTARG = text, FUNCTION = f)",
        "CREATE FUNCTION fresh(varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE SCHEMA aside",
        "CREATE FUNCTION aside.length(varchar) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TEMP TABLE passing (x int)",
    ):
        sql(ledger_db, statement)
    assert guards.inspect(connections[ledger_db]).ok


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
    assert len(queries) > 0
    assert changing(queries) == []
    guards.remove(connection)
    with CaptureQueriesContext(connection) as queries:
        mend_guards(using=ledger_db)
    assert changing(queries) != []
    assert guards.inspect(connection).ok


def changing(queries: CaptureQueriesContext) -> list[str]:
    """The statements that do more than look."""
    return [
        query["sql"]
        for query in queries
        if query["sql"].split()[0].upper() not in ("SELECT", "PRAGMA")
    ]


@pytest.mark.parametrize("alias", ["postgres"])
def test_mending_waits_for_a_lock_no_longer_than_it_may(ledger_db: str) -> None:
    guards.remove(connections[ledger_db])
    with CaptureQueriesContext(connections[ledger_db]) as queries:
        mend_guards(using=ledger_db)
    statements = [query["sql"] for query in queries]
    first = next(n for n, sql in enumerate(statements) if "DROP TRIGGER" in sql)
    assert "SET LOCAL lock_timeout = '5s'" in statements[:first]


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


def test_each_way_of_the_guards_migration_by_itself(ledger_db_committed: str) -> None:
    """The executor sends no `post_migrate`, which would mend what the migration took away."""
    connection = connections[ledger_db_committed]
    MigrationExecutor(connection).migrate([("nucleus_ledger", "0001_initial")])
    taken = guards.inspect(connection)
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("nucleus_ledger"))
    assert not taken.triggers_ok
    assert len(taken.missing) == (4 if connection.vendor == "postgresql" else 6)
    assert guards.inspect(connection).ok


def test_tables_laid_bare_are_told_guard_by_guard(ledger_db_committed: str) -> None:
    connection = connections[ledger_db_committed]
    constraints = [
        constraint.name for model in (Entry, Stream) for constraint in model._meta.constraints
    ]
    with pytest.raises(ZeroDivisionError):  # the tables come back with the rollback
        with transaction.atomic(using=ledger_db_committed):
            lay_bare(ledger_db_committed)
            bare = guards.inspect(connection)
            raise ZeroDivisionError
    assert set(constraints) < set(bare.missing)
    triggers = 4 if connection.vendor == "postgresql" else 6
    keys = [name for name in bare.missing if "KEY (" in name]
    assert len(keys) == 3
    assert len(bare.missing) == len(constraints) + triggers + len(keys)
    assert f"{ENTRY}: " in "".join(bare.altered)  # no NOT NULL either
    assert guards.inspect(connection).ok


@pytest.mark.parametrize("alias", ["postgres"])
def test_the_indexes_on_postgresql_are_those_the_design_lists(ledger_db: str) -> None:
    with connections[ledger_db].cursor() as cursor:
        cursor.execute(
            "SELECT tablename, substring(indexdef from 'CREATE (.*) INDEX'), "
            "substring(indexdef from 'USING (.*)$') FROM pg_indexes "
            "WHERE tablename IN (%s, %s)",
            [ENTRY, STREAM],
        )
        assert sorted(cursor.fetchall()) == [
            (ENTRY, "UNIQUE", "btree (hash)"),
            (ENTRY, "UNIQUE", "btree (stream_id, record_id)"),
            (ENTRY, "UNIQUE", "btree (stream_id, sequence)"),
            (STREAM, "UNIQUE", "btree (id)"),
            (STREAM, "UNIQUE", "btree (name)"),
        ]


@pytest.mark.parametrize("alias", ["default"])
def test_the_indexes_on_sqlite_are_those_the_design_lists(ledger_db: str) -> None:
    found = []
    with connections[ledger_db].cursor() as cursor:
        for table in (ENTRY, STREAM):
            cursor.execute('SELECT name, "unique", partial FROM pragma_index_list(%s)', [table])
            for name, unique, partial in cursor.fetchall():
                cursor.execute("SELECT name FROM pragma_index_info(%s) ORDER BY seqno", [name])
                found.append((table, unique, partial, [row[0] for row in cursor.fetchall()]))
    assert sorted(found) == [  # a stream's integer key is the row's own number and needs none
        (ENTRY, 1, 0, ["hash"]),
        (ENTRY, 1, 0, ["stream_id", "record_id"]),
        (ENTRY, 1, 0, ["stream_id", "sequence"]),
        (STREAM, 1, 0, ["name"]),
    ]


@pytest.mark.parametrize(
    ("file", "digest"),
    [
        (
            "postgresql/append_only_v1.sql",
            "eb71218cd08a64031598b705f8acf6223fbef3081f870f54799d08a47684699b",
        ),
        (
            "postgresql/append_only_v1_undo.sql",
            "a9729fefdcd1b71fa7a9969a113f7c59b5297cfc27f661f4d0aba7210c1870c2",
        ),
        (
            "postgresql/constraints_v1.sql",
            "4fa3f4af529fb03c0a11189522c0c06010424f619aa73032c3e3ef15b4a2c2d9",
        ),
        (
            "postgresql/tables_v1.sql",
            "bd9ee9f965823a80a6c4be5e9f282caaf2b6c8b6b3d24e3356b4edadd53d6984",
        ),
        (
            "sqlite/tables_v1.sql",
            "63783f9f978bea20f0b91cd050fdaad0a385982b8538e9726d654b3f43b3dcd5",
        ),
        (
            "sqlite/constraints_v1.sql",
            "1065ab210266f4ac1f7cf696597e98e06a9d5ec9fb5a74b6f33d78d95ea82bce",
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
