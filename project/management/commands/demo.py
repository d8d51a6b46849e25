"""`manage.py demo`: the ledger in two minutes, on a SQLite file of its own."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections

from nucleus_ledger.core.report import Report
from nucleus_ledger.management.rendering import report_lines
from nucleus_ledger.models import Entry
from nucleus_ledger.storage import sqlite_storage
from project.settings import BASE_DIR

ALICE, BOB = "oid:onoal:user:alice", "oid:onoal:user:bob"
RECORDS: list[dict[str, Any]] = [
    {
        "stream": "proofs",
        "record_id": "record-1",
        "payload": {"type": "proof", "subject_oid": ALICE},
    },
    {
        "stream": "proofs",
        "record_id": "record-2",
        "payload": {"type": "proof", "subject_oid": BOB},
        "meta": {"source": "api"},
    },
    {"stream": "assets", "payload": {"type": "ticket", "owner_oid": ALICE, "seat": "12A"}},
    {"stream": "assets", "payload": {"type": "ticket", "owner_oid": BOB, "seat": "12B"}},
    *(
        {
            "stream": "payments",
            "record_id": f"payment-{number}",
            "payload": {"from": ALICE, "to": BOB, "cents": 1250 * number, "currency": "EUR"},
        }
        for number in range(1, 9)
    ),
]


class Command(BaseCommand):
    help = "Append sample entries, verify them, show tampering on a copy, and serve the admin."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-serve", action="store_true", help="stop before the admin")
        parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1")
        parser.add_argument(
            "--file",
            type=Path,
            default=BASE_DIR / "demo.sqlite3",
            help="the SQLite file to write, and to begin afresh",
        )

    def handle(self, *args: Any, file: Path, port: int, no_serve: bool, **options: Any) -> None:
        copy = file.with_name(f"{file.stem}-tampered{file.suffix}")
        for stale in (file, copy):
            _remove(stale)
        _use(file, "default")
        self._step(f"1. A fresh ledger in {file.name}")
        call_command("migrate", verbosity=0)

        self._step("2. Append sample entries, all in one transaction")
        entries = Entry.objects.append_batch(RECORDS)
        for entry in entries[:4]:
            self.stdout.write(f"   {entry.stream.name} #{entry.sequence}  {entry.hash}")
        self.stdout.write(f"   … {len(entries)} entries")

        self._step("3. Verify them: manage.py verify_ledger")
        self._report(Entry.objects.verify_integrity(origin="demo"))

        self._step("4. Tampering, on a copy: somebody with access to the file changes a payment")
        self._tamper(copy, file)
        _use(copy, "copy")
        self._report(Entry.objects.using("copy").verify_integrity(origin="demo"))

        self._step("5. The admin, on the untouched ledger")
        password = secrets.token_urlsafe(12)
        get_user_model().objects.create_superuser("demo", password=password)
        self.stdout.write(f"   user: demo   password: {password}")
        if no_serve:
            self.stdout.write("   (not served: --no-serve)")
            return
        self.stdout.write(f"   http://127.0.0.1:{port}/admin/nucleus_ledger/   Ctrl-C stops it\n")
        call_command(
            "runserver",
            f"127.0.0.1:{port}",
            use_reloader=False,
            insecure_serving=True,  # the admin's own style sheets, without DEBUG
            skip_checks=True,
        )

    def _step(self, text: str) -> None:
        self.stdout.write("")
        self.stdout.write(self.style.MIGRATE_HEADING(text))

    def _report(self, report: Report) -> None:
        for line in report_lines(report):
            self.stdout.write(f"   {line}".rstrip())

    def _tamper(self, copy: Path, file: Path) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(file, copy)
        statements = (
            "DROP TRIGGER nucleus_ledger_entry_update_v1",
            "UPDATE nucleus_ledger_entry SET payload = json_set(payload, '$.cents', 99) "
            "WHERE record_id = 'payment-3'",
        )
        database = sqlite3.connect(copy)
        for statement in statements:
            self.stdout.write(f"   sqlite> {statement};")
            database.execute(statement)
        database.commit()
        database.close()


def _use(file: Path, alias: str) -> None:
    """Let an alias stand for a SQLite file, whatever the settings say of it."""
    described = connections.configure_settings({"default": sqlite_storage(file)})
    connections.settings[alias] = described["default"]
    connections[alias].close()
    del connections[alias]


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
