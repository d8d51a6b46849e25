"""The database the ledger is in, where nobody names one."""

from __future__ import annotations

from django.apps import apps
from django.db import router


def ledger_alias() -> str:
    """Return the database that the router names for new entries."""
    alias: str = router.db_for_write(apps.get_model("nucleus_ledger", "Entry"))
    return alias
