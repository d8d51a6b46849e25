"""`manage.py ledger_receipt STREAM RECORD_ID`: exit 0 made, 1 no proof holds, 2 not there yet."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from nucleus_ledger import checkpoints
from nucleus_ledger.core.report import EXIT_UNKNOWN
from nucleus_ledger.management.files import replace_file
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.models import Entry


class Command(LedgerCommand):
    help = "Write the receipt of an entry, which proves it to somebody who sees nothing else."
    unknown = "no receipt was made"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", metavar="STREAM")
        parser.add_argument("record_id", metavar="RECORD_ID")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="the database alias")
        parser.add_argument("--output", metavar="FILE", help="write the receipt there")

    def handle(
        self, *args: Any, stream: str, record_id: str, database: str, **options: Any
    ) -> None:
        if database not in connections:
            raise CommandError(f"there is no database {database!r}", returncode=EXIT_UNKNOWN)
        entry = Entry.objects.using(database).get_by_id(stream, record_id)
        text = checkpoints.receipt(entry)
        if options["output"] is None:
            self.stdout.write(text, ending="")
        else:
            replace_file(Path(options["output"]), text)
