"""The database the ledger is in, where nobody names one."""

from __future__ import annotations

from django.apps import apps
from django.db import connections, router


def ledger_alias() -> str:
    """Return the database that the router names for new entries."""
    alias: str = router.db_for_write(apps.get_model("nucleus_ledger", "Entry"))
    return alias


def is_replica(using: str) -> bool:
    """Whether a database gets its rows from another one, and may be behind it.

    By the word of PostgreSQL, or of the router about a stream that was read there.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            if cursor.fetchone()[0]:
                return True
    model = apps.get_model("nucleus_ledger", "Stream")
    stream = model()
    stream._state.db = using
    return bool(router.db_for_write(model, instance=stream) != using)
