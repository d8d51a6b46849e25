"""`manage.py ledger_receipt STREAM RECORD_ID`: exit 0 made, 1 no proof holds, 2 not there yet."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from nucleus_ledger.conf import conf
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.evidence import receipts
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
        entry = Entry.objects.using(database).get_by_id(stream, record_id)
        receipt, proved = receipts.make(entry)
        if output is None:
            self.write_exactly(str(receipt))
        else:
            write_text(Path(output), str(receipt))
        # Not to the standard output, which may be the receipt.
        self.stderr.write(f"entry {entry.sequence}: {one_line(proved.registered)}")
        for notice in proved.notices(conf.entry_limits[2]):
            self.stderr.write(f"notice: {one_line(notice.message)}")
