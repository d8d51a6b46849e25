"""What somebody does who owns the tables: everything laid bare, then raw SQL."""

from __future__ import annotations

from typing import Any

from django.db import connections

from nucleus_ledger import guards
from nucleus_ledger.core import canonical, hashing

_TABLES = ("nucleus_ledger_entry", "nucleus_ledger_streamstatus", "nucleus_ledger_stream")


def lay_bare(alias: str) -> None:
    """Put look-alike tables in place of the real ones: same rows, no guard, no constraint."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cascade = "CASCADE" if connection.vendor == "postgresql" else ""
        for table in _TABLES:
            cursor.execute(f"CREATE TABLE bare AS SELECT * FROM {table}")
            cursor.execute(f"DROP TABLE {table} {cascade}")
            cursor.execute(f"ALTER TABLE bare RENAME TO {table}")
        # Verifications store their result by this key.
        cursor.execute("CREATE UNIQUE INDEX bare_status ON nucleus_ledger_streamstatus (stream_id)")


def sql(alias: str, statement: str, parameters: list[Any] | None = None) -> int:
    """Run raw SQL and return how many rows it touched; bytes may stand for hashes."""
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def rehashed(text: str, **changes: Any) -> tuple[str, bytes]:
    """Return an entry's text with members changed, and the hash that goes with it."""
    document = canonical.loads(text) | changes
    text = canonical.dumps(document)
    return text, bytes.fromhex(hashing.hash_text(text))


def edit_payload(alias: str, record: str, payload: str = '{"n":1000}') -> None:
    """Make a record's payload another, with the guards out of the way only meanwhile."""
    guards.remove(connections[alias])
    cast = "::jsonb" if alias == "postgres" else ""
    if alias == "postgres":  # what waits for the end of the transaction bars the guards' DDL
        sql(alias, "SET CONSTRAINTS ALL IMMEDIATE")
    sql(
        alias,
        f"UPDATE nucleus_ledger_entry SET payload = %s{cast} WHERE record_id = %s",
        [payload, record],
    )
    guards.install(connections[alias])
