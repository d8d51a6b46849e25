"""The migration operation that installs the guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.migrations.operations.base import Operation

from nucleus_ledger import guards

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
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
