"""`manage.py import_ledger FILE`: exit 0 imported, 1 something in it is wrong, 2 not imported."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from nucleus_ledger.conf import conf
from nucleus_ledger.core import note
from nucleus_ledger.core.bundlecheck import Trust
from nucleus_ledger.core.report import notice_lines
from nucleus_ledger.core.visible import visible
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.transfer.importing import import_bundle


class Command(LedgerCommand):
    help = "Put a bundle into an empty ledger, byte for byte, after all of it was verified."
    unknown = "nothing was imported"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE")
        parser.add_argument(
            "--vkey",
            action="append",
            default=[],
            metavar="KEY",
            help="whose checkpoint counts; else those of CHECKPOINT_VKEYS",
        )
        parser.add_argument(
            "--chain-only",
            action="store_true",
            help="import it although no checkpoint says that it is what was written",
        )

    def handle_ledger(self, *args: Any, file: str, database: str, **options: Any) -> None:
        keys = list(map(note.parse_vkey, options["vkey"])) or conf.checkpoint_vkeys
        _depth, _size, skew = conf.entry_limits
        trust = Trust(keys=keys, ledgers=conf.ledgers_of(database), slack=skew)
        header, report = import_bundle(
            database, Path(file), trust, chain_only=options["chain_only"]
        )
        for warning in report.warnings:
            self.stderr.write(f"warning: {warning}")
        for line in notice_lines(report):
            self.stderr.write(visible(line))
        self.stdout.write(
            f"{report.entries} entries of {len(header.streams)} streams imported; assurance: "
            f"{report.assurance}."
        )
