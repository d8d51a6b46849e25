"""`manage.py acknowledge_findings STREAM --reason …`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from django.db import Error as DatabaseError

from nucleus_ledger import incidents
from nucleus_ledger.errors import LedgerError
from nucleus_ledger.management.outcomes import user


class Command(BaseCommand):
    help = (
        "Put all findings of a broken stream on record in nucleus.incidents. Appends and startup "
        "go on then; the stream is shown as acknowledged, never as intact."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", metavar="STREAM")
        parser.add_argument("--reason", required=True, help="why; stays in the ledger for ever")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="the database alias")

    def handle(self, *args: Any, stream: str, reason: str, database: str, **options: Any) -> None:
        try:
            entry, report = incidents.acknowledge(database, stream, reason=reason, by=user())
        except LedgerError as exc:
            raise CommandError(str(exc)) from exc
        except DatabaseError as exc:
            raise CommandError(f"database error, nothing was acknowledged: {exc}") from exc
        self.stdout.write(
            f"{report.findings_total} finding(s) in stream {stream!r} acknowledged by entry "
            f"#{entry.sequence} of {entry.stream.name} (digest {entry.payload['digest']})."
        )
        if any(finding.kind == "head_mismatch" for finding in report.findings):
            self.stdout.write(
                "The stream's row disagrees with its entries: new entries follow the row. If one "
                "stands at or behind its length, appends fail until that entry is dealt with."
            )
