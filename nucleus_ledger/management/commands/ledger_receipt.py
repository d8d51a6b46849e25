"""`manage.py ledger_receipt STREAM RECORD_ID`: exit 0 made, 1 no proof holds, 2 not there yet."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from nucleus_ledger import checkpoints
from nucleus_ledger.management.files import check_writable, write_text
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.models import Entry


class Command(LedgerCommand):
    help = "Write the receipt of an entry, which proves it to somebody who sees nothing else."
    unknown = "no receipt was made"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("stream", metavar="STREAM")
        parser.add_argument("record_id", metavar="RECORD_ID")
        parser.add_argument("--output", metavar="FILE", help="write the receipt there")

    def handle_ledger(
        self, *args: Any, stream: str, record_id: str, database: str, **options: Any
    ) -> None:
        output = options["output"]
        if output is not None:
            check_writable(Path(output))
        text = checkpoints.receipt(Entry.objects.using(database).get_by_id(stream, record_id))
        if output is None:
            self.write_exactly(text)
        else:
            write_text(Path(output), text)
