"""The sample site with more databases than the ledger's, as the environment says."""

from __future__ import annotations

import os
from typing import Any

from project.settings import *  # noqa: F403
from project.settings import BASE_DIR, DATABASES


class Apart:
    """The ledger in a database of its own, which `LEDGER_ALIAS` names."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return os.environ["LEDGER_ALIAS"] if self._is_ours(model._meta.app_label) else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return (db == os.environ["LEDGER_ALIAS"]) is self._is_ours(app_label)

    def _is_ours(self, app_label: str) -> bool:
        return app_label == "nucleus_ledger"


# Nothing connects to it: its folder is not there.
DATABASES["legacy"] = {
    "ENGINE": "tests.management.foreign_database",
    "NAME": str(BASE_DIR / "nowhere" / "legacy.sqlite3"),
}
if os.environ.get("LEGACY_FILE"):
    DATABASES["legacy"]["NAME"] = os.environ["LEGACY_FILE"]
if os.environ.get("SECOND_FILE"):
    from nucleus_ledger.storage import sqlite_storage

    DATABASES["second"] = sqlite_storage(os.environ["SECOND_FILE"])
if os.environ.get("LEDGER_ALIAS"):
    DATABASE_ROUTERS = [Apart()]
