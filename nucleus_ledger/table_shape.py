"""What the catalogue says of the two tables beside their guards: columns, keys, what is not ours.

A column of another type, a lost key or NOT NULL let in what the released tables refuse. A row
security policy, a rule, a trigger of somebody else or a child table make them answer otherwise
than they are written, and a view in the place of a table answers whatever it likes. So does an
operator or a function that the server takes for its own, and a column that compares by another
collation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

TABLES = ("nucleus_ledger_entry", "nucleus_ledger_stream")
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table",
          "p": "a partitioned table"}  # fmt: skip
_POSTGRESQL_SHAPE = """
SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
  || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
  || CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END
  || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE another' ELSE '' END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = to_regclass(%s) AND contype IN ('p', 'f')
"""
# Each gives lines of what is there beside the released table.
_POSTGRESQL_FOREIGN = (
    "SELECT 'row-level security on ' || relname FROM pg_class "
    "WHERE oid = to_regclass(%s) AND (relrowsecurity OR relforcerowsecurity)",
    "SELECT 'rule ' || rulename || ' on ' || relname FROM pg_rewrite JOIN pg_class ON "
    "pg_class.oid = ev_class WHERE ev_class = to_regclass(%s) AND rulename <> '_RETURN'",
    "SELECT 'child table ' || inhrelid::regclass FROM pg_inherits "
    "WHERE inhparent = to_regclass(%s)",
    "SELECT 'parent table ' || inhparent::regclass FROM pg_inherits "
    "WHERE inhrelid = to_regclass(%s)",
    "SELECT 'index ' || relname || ' is not valid' FROM pg_index JOIN pg_class ON "
    "pg_class.oid = indexrelid WHERE indrelid = to_regclass(%s) "
    "AND NOT (indisvalid AND indisready AND indislive)",
)
_POSTGRESQL_TRIGGERS = (
    "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal"
)
# A server prefers what fits the types of its arguments exactly, wherever it stands. Its own = and
# count() take a varchar or a bytea as something else, so that somebody's = (varchar, varchar) in
# `public` answers every query by name instead of the server's.
_POSTGRESQL_SHADOWS = (
    "SELECT 'operator ' || oid::regoperator FROM pg_operator o "
    "WHERE oprnamespace <> 'pg_catalog'::regnamespace AND pg_operator_is_visible(oid) "
    "AND (oprleft IN {narrow} OR oprright IN {narrow}) "
    "AND oprleft IN {ours} AND oprright IN {ours} AND EXISTS (SELECT 1 FROM pg_operator "
    "WHERE oprname = o.oprname AND oprnamespace = 'pg_catalog'::regnamespace)",
    "SELECT 'function ' || oid::regprocedure FROM pg_proc p "
    "WHERE pronamespace <> 'pg_catalog'::regnamespace AND pg_function_is_visible(oid) "
    "AND proargtypes::oid[] && ARRAY{narrow_array}::oid[] "
    "AND proargtypes::oid[] <@ ARRAY{ours_array}::oid[] AND EXISTS (SELECT 1 FROM pg_proc "
    "WHERE proname = p.proname AND pronamespace = 'pg_catalog'::regnamespace)",
)
_NARROW = ("varchar", "bytea")
_OURS = (*_NARROW, "text", "int8", "int4", "jsonb")
_COLLATE = re.compile(r"\bCOLLATE\b", re.IGNORECASE)


def foreign(connection: BaseDatabaseWrapper, ours: Collection[str]) -> list[str]:
    """Return what makes the tables answer otherwise than they are written; `ours` are triggers."""
    postgresql = connection.vendor == "postgresql"
    look = _foreign_postgresql if postgresql else _foreign_sqlite
    found = [line for table in TABLES for line in look(connection, table, ours)]
    return [*found, *_shadows(connection)] if postgresql else found


def differences(
    connection: BaseDatabaseWrapper, wanted: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the lines of `wanted` that are missing, and the columns that are there otherwise."""
    look = _shape_postgresql if connection.vendor == "postgresql" else _shape_sqlite
    missing, altered = [], []
    for table in TABLES:
        there = set(look(connection, table))
        names = {line.split(" ", 1)[0]: line for line in there}
        for line in (
            line.removeprefix(f"{table} ") for line in wanted if line.startswith(f"{table} ")
        ):
            if line in there:
                continue
            column = names.get(line.split(" ", 1)[0])
            if column is None or line.startswith(("PRIMARY", "FOREIGN")):
                missing.append(f"{table}: {line}")
            else:
                altered.append(f"{table}: {column}, not {line}")
    return missing, altered


def _all(connection: BaseDatabaseWrapper, statement: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _shape_postgresql(connection: BaseDatabaseWrapper, table: str) -> list[str]:
    name = connection.ops.quote_name(table)
    return [row[0] for row in _all(connection, _POSTGRESQL_SHAPE, [name, name])]


def _foreign_postgresql(
    connection: BaseDatabaseWrapper, table: str, ours: Collection[str]
) -> Iterator[str]:
    name = [connection.ops.quote_name(table)]
    for (kind,) in _all(
        connection, "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", name
    ):
        if kind != "r":
            yield f"{table} is {_KINDS.get(kind, 'no table')}"
    for statement in _POSTGRESQL_FOREIGN:
        yield from sorted(row[0] for row in _all(connection, statement, name))
    for (trigger,) in sorted(_all(connection, _POSTGRESQL_TRIGGERS, name)):
        if trigger not in ours:
            yield f"trigger {trigger} on {table}"


def _shadows(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Yield what stands before the server's own operators and functions for our columns."""
    path = _all(connection, "SELECT array_to_json(current_schemas(true))::text", [])[0][0]
    # A temporary schema may come first: no function or operator is ever looked for there.
    schemas = [name for name in json.loads(path) if not name.startswith("pg_temp")]
    before = schemas[: schemas.index("pg_catalog")]
    if before:
        yield f"search_path with {', '.join(before)} before pg_catalog"
    narrow, ours = (", ".join(f"'{name}'::regtype" for name in names) for names in (_NARROW, _OURS))
    for statement in _POSTGRESQL_SHADOWS:
        filled = statement.format(
            narrow=f"({narrow})",
            ours=f"({ours})",
            narrow_array=f"[{narrow}]",
            ours_array=f"[{ours}]",
        )
        yield from sorted(row[0] for row in _all(connection, filled, []))


def _shape_sqlite(connection: BaseDatabaseWrapper, table: str) -> Iterator[str]:
    columns = _all(connection, "SELECT * FROM pragma_table_xinfo(%s)", [table])
    keys = []
    for _place, name, kind, not_null, _default, key, hidden in columns:
        yield (
            f"{name} {kind.upper()}{' NOT NULL' if not_null else ''}"
            f"{' GENERATED' if hidden else ''}"
        )
        keys += [name] if key else []
    yield f"PRIMARY KEY ({', '.join(keys)})"
    for row in _all(connection, "SELECT * FROM pragma_foreign_key_list(%s)", [table]):
        yield f"FOREIGN KEY ({row[3]}) REFERENCES {row[2]}({row[4]})"


def _foreign_sqlite(
    connection: BaseDatabaseWrapper, table: str, ours: Collection[str]
) -> Iterator[str]:
    # Temporary ones too: they stand for the connection that looks, and come before all others.
    for schema in ("sqlite_master", "sqlite_temp_master"):
        found = _all(
            connection,
            f"SELECT type, name, tbl_name FROM {schema} WHERE lower(tbl_name) = %s",
            [table],
        )
        for kind, name, _table in sorted(found):
            if kind == "view":
                yield f"{table} is a view"
            elif kind == "table" and schema == "sqlite_temp_master":
                yield f"{table} is a temporary table"
            elif kind == "trigger" and name not in ours:
                yield f"trigger {name} on {table}"
    # No pragma tells the collation of a column: only the table's own text does, and the released
    # ones do not hold that word.
    for (text,) in _all(
        connection,
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = %s",
        [table],
    ):
        if _COLLATE.search(str(text)):
            yield f"a collation in {table}"
