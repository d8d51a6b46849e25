"""`manage.py acknowledge_findings STREAM --reason …`: exit 0 on record, 2 not."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from nucleus_ledger import incidents
from nucleus_ledger.conf import conf
from nucleus_ledger.core import note
from nucleus_ledger.core.against import Evidence
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.evidence import against
from nucleus_ledger.management.outcomes import LedgerCommand, failure, user


def _evidence(database: str, options: dict[str, Any]) -> Evidence | None:
    if not options["against"]:
        if options["vkey"]:
            raise failure("--vkey needs --against: sinks have the keys of settings")
        return None
    keys = list(map(note.parse_vkey, options["vkey"])) or conf.checkpoint_vkeys
    return against.load(database, options["against"], keys, [])


class Command(LedgerCommand):
    unknown = "nothing was acknowledged"
    help = (
        "Put all findings of a broken stream on record in nucleus.incidents. Appends and startup "
        "go on then; the stream is shown as acknowledged, never as intact."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("stream", metavar="STREAM")
        parser.add_argument("--reason", required=True, help="why; stays in the ledger for ever")
        parser.add_argument(
            "--against",
            action="append",
            default=[],
            metavar="CHECKPOINT",
            help="hold the stream against this signed note, or the folder of a sink, and put what "
            "that finds on record; else the newest checkpoint of the sinks",
        )
        parser.add_argument(
            "--vkey",
            action="append",
            default=[],
            metavar="KEY",
            help="a key that checkpoints may be signed with; else those of CHECKPOINT_VKEYS",
        )

    def handle_ledger(
        self, *args: Any, stream: str, reason: str, database: str, **options: Any
    ) -> None:
        try:
            entry, report = incidents.acknowledge(
                database, stream, reason=reason, by=user(), evidence=_evidence(database, options)
            )
        except IntegrityFailed as exc:  # also where there is no finding: 1 would say there is one
            raise failure(f"{self.unknown}: {visible(str(exc))}") from exc
        self.stdout.write(
            f"{report.findings_total} finding(s) in stream {stream!r} acknowledged by entry "
            f"#{entry.sequence} of {entry.stream.name} (digest {entry.payload['digest']})."
        )
        if any(finding.kind == "head_mismatch" for finding in report.findings):
            self.stdout.write(
                "The stream's row disagrees with its entries: new entries follow the row. If one "
                "stands at or after its length, appends fail until that entry is dealt with."
            )
