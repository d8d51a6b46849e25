"""The database's own check of its tables and indexes, for `--deep`.

The walk reads entries through an index: a row that the index lacks is hidden from it, and may be
found by a query that goes another way. Only the database can hold an index against its table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from django.db import transaction

from nucleus_ledger.table_shape import TABLES

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_MOST = 10  # lines of one table that are told
_INDEXES = """
SELECT indexrelid::bigint, indexrelid::regclass::text FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = to_regclass(%s) AND amname = 'btree' ORDER BY 2
"""
_SCHEMA = """
SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'amcheck'
"""


@dataclass(slots=True)
class IndexCheck:
    """What the database says of itself: `errors` it found, and what it could not look at."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(connection: BaseDatabaseWrapper) -> IndexCheck:
    """Have the database hold each index of the ledger's tables against its table."""
    found = IndexCheck()
    look = _check_postgresql if connection.vendor == "postgresql" else _check_sqlite
    for table in TABLES:
        look(connection, table, found)
    found.warnings = list(dict.fromkeys(found.warnings))
    return found


def _check_sqlite(connection: BaseDatabaseWrapper, table: str, found: IndexCheck) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"PRAGMA integrity_check({table})")
            lines = [str(row[0]) for row in cursor.fetchall()]
        except DatabaseError as exc:
            lines = [f"{type(exc).__name__}: {exc}"]
    wrong = [line for line in lines if line != "ok"]
    found.errors.extend(f"PRAGMA integrity_check of {table}: {line}" for line in wrong[:_MOST])
    if len(wrong) > _MOST:
        found.errors.append(f"PRAGMA integrity_check of {table}: {len(wrong) - _MOST} lines more")


def _check_postgresql(connection: BaseDatabaseWrapper, table: str, found: IndexCheck) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SCHEMA)
        schema = cursor.fetchone()
        if schema is None:
            found.warnings.append(
                "no index was held against its table: the extension amcheck is not installed "
                "(CREATE EXTENSION amcheck)"
            )
            return
        cursor.execute(_INDEXES, [connection.ops.quote_name(table)])
        indexes = cursor.fetchall()
    for oid, name in indexes:
        # In a savepoint of its own: what it finds is an error, after which no statement works.
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT {schema[0]}.bt_index_check(index => %s::oid::regclass, "
                    "heapallindexed => true)",
                    [oid],
                )
        except DatabaseError as exc:
            told = f"bt_index_check of {name}: {type(exc).__name__}: {exc}".strip()
            state = getattr(exc.__cause__, "sqlstate", None)
            # 42501: it may not look; 0A000: the server cannot here.
            (found.warnings if state in ("42501", "0A000") else found.errors).append(told)
