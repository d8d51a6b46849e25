"""Makes the site's ledger: `python -m tests.startup_site.prepare [empty|intact|tampered]`.

`edit` and `edit-unguarded` change an entry of a ledger that is there, and put the guards back or
leave them down.
"""

from __future__ import annotations

import sys

import django


def main(kind: str) -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from nucleus_ledger import guards
    from nucleus_ledger.models import Entry

    call_command("migrate", verbosity=0)
    if kind == "empty":
        return
    if not kind.startswith("edit"):
        Entry.objects.append_batch([{"stream": "proofs", "payload": {"n": n}} for n in range(5)])
    if kind != "intact":
        guards.remove(connection)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE nucleus_ledger_entry SET serialized = serialized || ' ' WHERE sequence = 3"
            )
        if kind != "edit-unguarded":
            guards.install(connection)


if __name__ == "__main__":
    main(sys.argv[1])
