"""The app: registers checks and guards, and runs no query."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _


class NucleusLedgerConfig(AppConfig):
    name = "nucleus_ledger"
    verbose_name = _("Nucleus ledger")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Checks are imported to be registered.
        from nucleus_ledger import checks, database_checks, processes  # noqa: F401
        from nucleus_ledger.testing import checks as test_checks  # noqa: F401

        processes.watch()
        pre_migrate.connect(keep_entries, sender=self, dispatch_uid="nucleus_ledger.entries")
        post_migrate.connect(mend_guards, sender=self, dispatch_uid="nucleus_ledger.guards")


def keep_entries(using: str = DEFAULT_DB_ALIAS, plan: Any = (), **_kwargs: Any) -> None:
    """Refuse to undo the ledger before the tables that refer to it are deleted."""
    from nucleus_ledger.operations import refuse_plan

    refuse_plan(plan, using)


def mend_guards(using: str = DEFAULT_DB_ALIAS, **_kwargs: Any) -> None:
    """Put back guards that a migration dropped: Django remakes SQLite tables without them.

    Looks first and issues DDL only on a difference, so that an ordinary `migrate` takes no lock.
    """
    from nucleus_ledger import guards

    connection = connections[using]
    if connection.vendor not in guards.VENDORS:
        return
    if not router.allow_migrate(using, "nucleus_ledger", model_name="entry"):
        return
    tables = connection.introspection.table_names()
    if not {"nucleus_ledger_entry", "nucleus_ledger_stream"} <= set(tables):
        return
    if not guards.inspect(connection).triggers_ok:
        guards.install(connection)
