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
_PAIR = "(to_regclass('nucleus_ledger_entry'), to_regclass('nucleus_ledger_stream'))"
_POSTGRESQL_SHAPE = f"""
SELECT c.relname, a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
  || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
  || CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END
  || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE another' ELSE '' END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attrelid IN {_PAIR} AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT c.relname, pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.conrelid IN {_PAIR} AND k.contype IN ('p', 'f')
"""
# One statement: an admin page asks for all of it. What is no line yet is a kind or a trigger.
_POSTGRESQL_FOREIGN = f"""
SELECT relname, 0, 'kind', relkind::text FROM pg_class WHERE oid IN {_PAIR}
UNION ALL
SELECT relname, 1, 'line', 'row-level security on ' || relname FROM pg_class
WHERE oid IN {_PAIR} AND (relrowsecurity OR relforcerowsecurity)
UNION ALL
SELECT relname, 2, 'line', 'rule ' || rulename || ' on ' || relname
FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
WHERE ev_class IN {_PAIR} AND rulename <> '_RETURN'
UNION ALL
SELECT relname, 3, 'line', 'child table ' || inhrelid::regclass
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent WHERE inhparent IN {_PAIR}
UNION ALL
SELECT relname, 4, 'line', 'parent table ' || inhparent::regclass
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN {_PAIR}
UNION ALL
SELECT t.relname, 5, 'line', 'index ' || i.relname || ' is not valid'
FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
WHERE indrelid IN {_PAIR} AND NOT (indisvalid AND indisready AND indislive)
UNION ALL
SELECT relname, 6, 'trigger', tgname::text
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE tgrelid IN {_PAIR} AND NOT tgisinternal
"""
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
    # A cast has no schema; the server's own have keys below 16384 (FirstNormalObjectId).
    "SELECT 'cast from ' || castsource::regtype || ' to ' || casttarget::regtype FROM pg_cast "
    "WHERE oid >= 16384 AND castsource IN {ours} AND casttarget IN {ours}",
)
_NARROW = ("varchar", "bytea")
_OURS = (*_NARROW, "text", "int8", "int4", "jsonb")
# Temporary ones too: the connection that looks sees them before all others.
_SQLITE_OBJECTS = """
SELECT lower(tbl_name), 0, type, name, sql FROM sqlite_master WHERE lower(tbl_name) IN (%s, %s)
UNION ALL
SELECT lower(tbl_name), 1, type, name, sql FROM sqlite_temp_master
WHERE lower(tbl_name) IN (%s, %s)
"""
_COLLATE = re.compile(r"\bCOLLATE\b", re.IGNORECASE)


def foreign(connection: BaseDatabaseWrapper, ours: Collection[str]) -> list[str]:
    """Return what makes the tables answer otherwise than they are written; `ours` are triggers."""
    if connection.vendor == "postgresql":
        return [*_foreign_postgresql(connection, ours), *_shadows(connection)]
    return list(_foreign_sqlite(connection, ours))


def differences(
    connection: BaseDatabaseWrapper, wanted: Collection[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the lines of `wanted` that are missing, the columns that are there otherwise, and
    those that are there besides."""
    look = _shape_postgresql if connection.vendor == "postgresql" else _shape_sqlite
    there = set(look(connection))
    columns = {(table, line.split(" ", 1)[0]): line for table, line in there}
    missing, altered = [], []
    for table, line in (each.split(" ", 1) for each in wanted):
        if (table, line) in there:
            continue
        column = columns.get((table, line.split(" ", 1)[0]))
        if column is None or line.startswith(("PRIMARY", "FOREIGN")):
            missing.append(f"{table}: {line}")
        else:
            altered.append(f"{table}: {column}, not {line}")
    ours = {tuple(each.split(" ", 2)[:2]) for each in wanted}
    besides = [
        f"column {name} of {table}" for table, name in sorted(columns) if (table, name) not in ours
    ]
    return missing, altered, besides


def _all(connection: BaseDatabaseWrapper, statement: str, parameters: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _shape_postgresql(connection: BaseDatabaseWrapper) -> Iterator[tuple[str, str]]:
    yield from _all(connection, _POSTGRESQL_SHAPE, [])


def _foreign_postgresql(connection: BaseDatabaseWrapper, ours: Collection[str]) -> Iterator[str]:
    for table, _place, what, text in sorted(_all(connection, _POSTGRESQL_FOREIGN, [])):
        if what == "line":
            yield text
        elif what == "kind" and text != "r":
            yield f"{table} is {_KINDS.get(text, 'no table')}"
        elif what == "trigger" and text not in ours:
            yield f"trigger {text} on {table}"


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


def _shape_sqlite(connection: BaseDatabaseWrapper) -> Iterator[tuple[str, str]]:
    for table in TABLES:
        columns = _all(connection, "SELECT * FROM pragma_table_xinfo(%s)", [table])
        keys = []
        for _place, name, kind, not_null, _default, key, hidden in columns:
            generated = " GENERATED" if hidden else ""
            yield table, f"{name} {kind.upper()}{' NOT NULL' if not_null else ''}{generated}"
            keys += [name] if key else []
        yield table, f"PRIMARY KEY ({', '.join(keys)})"
        for row in _all(connection, "SELECT * FROM pragma_foreign_key_list(%s)", [table]):
            yield table, f"FOREIGN KEY ({row[3]}) REFERENCES {row[2]}({row[4]})"


def _foreign_sqlite(connection: BaseDatabaseWrapper, ours: Collection[str]) -> Iterator[str]:
    rows = _all(connection, _SQLITE_OBJECTS, [*TABLES, *TABLES])
    for table, temporary, kind, name, text in sorted(rows, key=lambda row: row[:4]):
        if kind == "view":
            yield f"{table} is a view"
        elif kind == "table" and temporary:
            yield f"{table} is a temporary table"
        elif kind == "trigger" and name not in ours:
            yield f"trigger {name} on {table}"
        # No pragma tells the collation of a column: only the table's own text does, and the
        # released ones do not hold that word.
        elif kind == "table" and _COLLATE.search(str(text)):
            yield f"a collation in {table}"
