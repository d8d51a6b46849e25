"""Kills `migrate` before each statement, and does what the documentation says: runs it again.

`python -m tests.faults.killing_migrate` runs on the sample site, its other apps already migrated.
What is left by a kill is told by the catalogue and the recorded migrations.
"""

from __future__ import annotations

import hashlib
import json
import os

from tests.faults.killing import Killer, answer, fork, was_killed

_CATALOGUE = {
    "sqlite": ("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2",),
    "postgresql": (
        "SELECT relname, relkind::text FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2",
        "SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    ),
}
STUCK = (
    "migrate cannot go on after a kill: a migration that changes tables ends with RunDeferredSQL()"
)
_RECORDED = "SELECT app, name FROM django_migrations ORDER BY 1, 2"


def state() -> str:
    """Return a digest of what stands in the database: tables, constraints, guards, migrations."""
    from django.db import connection

    with connection.cursor() as cursor:
        found = []
        for statement in (*_CATALOGUE[connection.vendor], _RECORDED):
            cursor.execute(statement)
            found.append(cursor.fetchall())
    return hashlib.sha256(repr(found).encode()).hexdigest()


def migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def use() -> None:
    """Append to the ledger that came of it all, and verify it with its guards."""
    from nucleus_ledger.models import Entry

    Entry.objects.append("after", {"n": 1})
    report = Entry.objects.verify_integrity()
    assert (report.result, report.entries, report.guards["ok"]) == ("intact", 1, True), report


def kill_before_each_statement() -> dict[str, int]:
    """Return how many were killed, and how many of these left something new behind.

    Each goes on from what the one before left: killed one statement later where it left nothing
    new, and from the first statement on where it did.
    """
    kills = left = step = 0
    before = answer(state)
    while True:

        def killed(step: int = step) -> None:
            Killer(step, ends=False).arm()
            migrate()

        status = fork(killed)
        if not was_killed(status):
            assert status == 0, STUCK
            assert fork(use) == 0
            return {"kills": kills, "left": left}
        kills += 1
        now = answer(state)
        step = 0 if now != before else step + 1
        left += now != before
        before = now


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from django.core.management.commands import migrate as _command  # noqa: F401
    from django.db.migrations.loader import MigrationLoader

    MigrationLoader(None)  # imports every migration once, and not in each process
    print(json.dumps(kill_before_each_statement()))
