"""Forks with open connections, in a process of its own: `python -m tests.faults.forking CASE`.

Each process prints one line of JSON: who it is, what was acknowledged, and what was refused.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
from typing import Any

import django
from django.db import connection, connections, transaction

ENTRIES = 40


def append(who: str) -> dict[str, Any]:
    """Append one by one, and return what was acknowledged, and the first refusal."""
    from nucleus_ledger.errors import LedgerError
    from nucleus_ledger.models import Entry

    acknowledged = []
    for number in range(ENTRIES):
        try:
            entry = Entry.objects.append(who, {"n": number}, record_id=f"{who}-{number}")
        except (LedgerError, django.db.Error) as exc:
            return {"who": who, "acknowledged": acknowledged, "refused": f"{exc}"}
        acknowledged.append([entry.record_id, entry.hash])
    return {"who": who, "acknowledged": acknowledged, "refused": None}


def tell(said: dict[str, Any]) -> None:
    os.write(1, (json.dumps(said) + "\n").encode())


def child() -> None:
    tell(append("child"))
    connections.close_all()
    gc.collect()
    sys.exit()  # not os._exit: what finalizers do must not reach the parent's session either


def hold_connections(opened: threading.Event, done: threading.Event) -> None:
    """Keep a second connection of the parent open, in another thread."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM nucleus_ledger_entry")
        opened.set()
        done.wait()
    connections.close_all()


def open_in_transaction() -> None:
    """Fork in the middle of the parent's transaction; both append at once."""
    opened, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold_connections, args=(opened, done))
    if connection.vendor == "postgresql":  # SQLite has one writer at a time
        thread.start()
        opened.wait()
    with transaction.atomic():
        before = append("before")
        forked = os.fork()
        if not forked:
            tell(append("in the parent's transaction"))
            transaction.set_rollback(True)
    if not forked:
        child()
    tell(before)
    tell(append("parent"))
    os.waitpid(forked, 0)
    done.set()
    tell(append("parent afterwards"))


def unhooked() -> None:
    """Fork as a C program does, which runs no hook of Python's."""
    append("before")
    forked = ctypes.PyDLL(None).fork()
    if not forked:
        tell(append("child"))
        os._exit(0)
    os.waitpid(forked, 0)
    tell(append("parent"))


def main(case: str) -> None:
    django.setup()
    if case == "memory":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    {"transaction": open_in_transaction, "unhooked": unhooked, "memory": memory}[case]()


def memory() -> None:
    append("before")
    connections.close_all()
    forked = os.fork()
    if not forked:
        child()
    os.waitpid(forked, 0)
    tell(append("parent"))


if __name__ == "__main__":
    main(sys.argv[1])
