"""The migration operations: one installs the guards, one keeps a migration in one transaction, one
keeps a ledger from being deleted."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import connections, router
from django.db.migrations.operations.base import Operation

from nucleus_ledger import guards

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.migration import Migration
    from django.db.migrations.state import ProjectState


class AppendOnlyGuards(Operation):
    """Install the append-only guards of one released version; undone by removing them."""

    reversible = True
    reduces_to_sql = True

    def __init__(self, version: int) -> None:
        self.version = version

    def deconstruct(self) -> Any:
        return type(self).__qualname__, [], {"version": self.version}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Triggers are no part of Django's model state."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        # First away with what `post_migrate` may have put back after a migration to zero.
        self._run(app_label, schema_editor, guards.undo_statements)
        self._run(app_label, schema_editor, guards.statements)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._run(app_label, schema_editor, guards.undo_statements)

    def describe(self) -> str:
        return f"Install the append-only guards, version {self.version}"

    @property
    def migration_name_fragment(self) -> str:
        return f"append_only_guards_v{self.version}"

    def _run(self, app_label: str, schema_editor: Any, statements: Any) -> None:
        connection = schema_editor.connection
        if connection.vendor not in guards.VENDORS:
            return
        if not router.allow_migrate(connection.alias, app_label, model_name="entry"):
            return
        for statement in statements(connection.vendor, self.version):
            schema_editor.execute(statement, params=None)


class RunDeferredSQL(Operation):
    """Run the statements that Django holds back until after a migration's last operation.

    Django commits a migration with such statements first and records it afterwards, so a process
    killed in between leaves tables that the next `migrate` tries to make again. With none held
    back, the migration and its record are one transaction. Requires to be last of those that
    change tables.
    """

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """There is nothing to change."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        while schema_editor.deferred_sql:
            schema_editor.execute(schema_editor.deferred_sql.pop(0), params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """The tables take with them what was run."""

    def describe(self) -> str:
        return "Run what is held back inside this migration's transaction"

    @property
    def migration_name_fragment(self) -> str:
        return "run_deferred_sql"


DESTROY = "NUCLEUS_LEDGER_DESTROY"
_ENTRIES = "SELECT 1 FROM nucleus_ledger_entry LIMIT 1"
_LEDGERS = (
    "SELECT ledger, COUNT(*), SUM(length) FROM nucleus_ledger_stream GROUP BY ledger ORDER BY 1"
)


class KeepEntries(Operation):
    """Refuse to undo a migration while there are entries, which undoing it leads to deleting.

    Stands last in a migration, so that it comes first when one is undone, and nothing of the
    ledger is undone yet when it refuses. What depends on the ledger is undone even before it:
    `refuse_plan` looks before that. The environment variable `NUCLEUS_LEDGER_DESTROY`, holding
    the ids of the ledgers that are there, lets it go.
    """

    reversible = True
    reduces_to_sql = False

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """There is nothing to change."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """There is nothing to do."""

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if not schema_editor.collect_sql:  # sqlmigrate only prints
            _refuse_to_delete(schema_editor.connection)

    def describe(self) -> str:
        return "Refuse to be undone while there are entries"

    @property
    def migration_name_fragment(self) -> str:
        return "keep_entries"


def refuse_plan(plan: list[tuple[Migration, bool]], using: str) -> None:
    """Refuse a plan of `migrate` that undoes the ledger, before anything of it is done.

    A site's own tables may refer to entries; Django undoes their migrations, and so deletes them,
    first. `--fake` deletes nothing.
    """
    undone = any(
        isinstance(operation, KeepEntries)
        for migration, backwards in plan
        if backwards
        for operation in migration.operations
    )
    if undone and "--fake" not in sys.argv:
        _refuse_to_delete(connections[using])


def _refuse_to_delete(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        if "nucleus_ledger_entry" not in connection.introspection.table_names(cursor):
            return
        cursor.execute(_ENTRIES)
        if cursor.fetchone() is None:
            return
        cursor.execute(_LEDGERS)
        ledgers = {name: (streams, entries) for name, streams, entries in cursor.fetchall()}
    named = ",".join(ledgers) or "?"
    if os.environ.get(DESTROY) == named:
        return
    there = "; ".join(
        f"{entries} entries in {streams} streams of {name!r}"
        for name, (streams, entries) in ledgers.items()
    )
    raise CommandError(
        f"undoing the migrations of nucleus_ledger deletes the ledger in database "
        f"{connection.alias!r} for good: {there or 'entries without a stream'}. Nothing of it was "
        "undone. Export it first: `manage.py export_ledger FILE`. To delete it all the same, "
        f"name it for this one command: {DESTROY}={named!r} manage.py migrate …"
    )
