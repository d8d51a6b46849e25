"""`manage.py import_nucleus LEDGER.db`: exit 0 imported, 1 findings, 2 not told."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from nucleus_ledger.core.report import EXIT_TAMPERED
from nucleus_ledger.core.visible import visible
from nucleus_ledger.management.outcomes import LedgerCommand, failure, user
from nucleus_ledger.transfer import nucleusimport
from nucleus_ledger.transfer.nucleusimport import Judged

_CHECKED = (
    "Checked by that engine's rule: the hash of each record. Checked beside it: columns against "
    "the record, links, unique ids, order of times. Its hash leaves out the link, so that nobody "
    "can tell from the file whether records were removed, added or put in another order before "
    "today."
)


class Command(LedgerCommand):
    help = (
        "Append every record of a ledger of the reference engine (Nucleus), or say what is wrong."
    )
    unknown = "nothing was imported"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="LEDGER.db")
        parser.add_argument("--dry-run", action="store_true", help="only say what is in the file")
        parser.add_argument(
            "--accept-findings",
            action="store_true",
            help="import although columns or links are wrong; records themselves must be right",
        )

    def handle_ledger(self, *args: Any, file: str, database: str, **options: Any) -> None:
        path = Path(file)
        found = nucleusimport.judge_file(path)
        self._say(found)
        wrong = sum(found.kinds.values())
        if options["dry_run"] or found.fatal or (wrong and not options["accept_findings"]):
            if wrong:
                raise failure(f"{wrong} findings", returncode=EXIT_TAMPERED)
            return
        _found, entry = nucleusimport.import_file(
            database, path, accept_findings=options["accept_findings"], by=user()
        )
        self.stdout.write(f"Imported; on record as entry {entry.sequence} of {entry.stream.name}.")

    def _say(self, found: Judged) -> None:
        streams = ", ".join(f"{count} {name}" for name, count in sorted(found.streams.items()))
        self.stdout.write(visible(f"{found.records} records ({streams}), SHA-256 {found.sha256}."))
        self.stdout.write(_CHECKED)
        for finding in found.findings:
            self.stdout.write(visible(str(finding)).replace("\n", " "))
        hidden = sum(found.kinds.values()) - len(found.findings)
        if hidden:
            self.stdout.write(f"… and {hidden} more findings")
        if found.ties:
            self.stdout.write(
                f"{found.ties} records have the time of the one before: that engine would refuse "
                "this file, and here it is no fault."
            )
        if found.floats:
            self.stdout.write(
                f"{found.floats} records have whole numbers as floats (1.0), which RFC 8785 writes "
                "as 1: where they stand is noted in nucleus.imports, for the old hashes."
            )
        if found.differing:
            self.stdout.write(
                f"{found.differing} records have a number (-0.0) from which the old hash cannot be "
                "had any more; its value is the same."
            )
