"""Appends until there is no room, then tries some more.

`python -m tests.faults.filling KIND LIMIT SIZE` runs on the sample site. LIMIT is in bytes: of each
file that this process writes (KIND `file`), of the SQLite database (`pages`), or of nothing
(`server`: the server has its own). Prints what was acknowledged, and how many appends failed.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from tests.faults.killing import acknowledge

TRIES_AFTER = 20


def limit(kind: str, size: int) -> None:
    from django.db import connection

    connection.ensure_connection()
    if kind == "file":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    elif kind == "pages":
        with connection.cursor() as cursor:
            page = cursor.execute("PRAGMA page_size").fetchone()[0]
            cursor.execute(f"PRAGMA max_page_count={size // page}")


def main(kind: str, most: int, size: int) -> None:
    import django

    django.setup()
    from django.db import DatabaseError

    from nucleus_ledger.models import Entry

    limit(kind, most)
    failures = number = 0
    while failures < TRIES_AFTER:
        record = f"full-{number}"
        number += 1
        try:
            Entry.objects.append("a", {"text": os.urandom(size // 2).hex()}, record_id=record)
        except DatabaseError:
            failures += 1
        else:
            acknowledge(record)
    print(json.dumps({"failures": failures}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
