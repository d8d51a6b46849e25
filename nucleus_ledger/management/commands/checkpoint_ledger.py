"""`manage.py checkpoint_ledger`: exit 0 made, or nothing new; 1 the ledger is not what it was;
2 it could not be told; 3 made, but a sink or a witness failed."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any

from nucleus_ledger.core.report import EXIT_NOT_STRICT
from nucleus_ledger.errors import LedgerError
from nucleus_ledger.evidence import growing, making
from nucleus_ledger.management.outcomes import LedgerCommand, failure, user

logger = logging.getLogger("nucleus_ledger.checkpoints")


class Command(LedgerCommand):
    help = (
        "Sign a checkpoint over all streams and hand it to the sinks. It goes on from the newest "
        "one that a sink holds, or is refused."
    )

    unknown = "no checkpoint was made"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--init", action="store_true", help="make the first checkpoint of all")
        parser.add_argument(
            "--accept-restore",
            metavar="REASON",
            help="what is missing was lost honestly; stays in the manifest for ever",
        )
        parser.add_argument(
            "--witness",
            action="append",
            metavar="URL",
            help="ask this witness, and not those of CHECKPOINT_WITNESSES; may be repeated",
        )
        parser.add_argument(
            "--rebuild-tiles", action="store_true", help="make the stored hash tiles anew, and stop"
        )

    def handle_ledger(self, *args: Any, database: str, **options: Any) -> None:
        if options["rebuild_tiles"]:
            count = growing.rebuild_tiles(database)
            self.stdout.write(f"The tiles of {count} trees were made anew.")
            return
        try:
            made = making.make(
                database,
                init=options["init"],
                accept_restore=options["accept_restore"],
                witnesses=options["witness"],
                by=user(),
            )
        except LedgerError as exc:
            logger.critical("no checkpoint was made of the ledger in %r (%s)", database, exc)
            raise
        for warning in made.warnings:
            self.stderr.write(f"warning: {warning}")
        self._say(made)
        if made.failures:
            raise failure("; ".join(made.failures), returncode=EXIT_NOT_STRICT)

    def _say(self, made: making.Made) -> None:
        if made.number is None:
            self.stdout.write(f"Nothing is new since checkpoint {made.size} of {made.origin}.")
            return
        self.stdout.write(
            f"Checkpoint {made.size} of {made.origin}: {made.entries} entries in {made.streams} "
            f"streams are new.\n\n{made.note}"
        )
