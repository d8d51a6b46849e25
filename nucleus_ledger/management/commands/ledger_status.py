"""`manage.py ledger_status`: what is there, and what the last verification said of it.

Exit 0: shown; 2: it could not be.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django.db import connections

from nucleus_ledger import clocks, guards, reliance, stored_breaks
from nucleus_ledger.conf import conf
from nucleus_ledger.core.moments import age, moment
from nucleus_ledger.core.visible import visible
from nucleus_ledger.evidence import stored
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.management.rendering import table
from nucleus_ledger.models import Stream

_DOUBTS: dict[reliance.Doubt, str] = {
    "changed": "its status was changed in the database, or the site's key was: verify again",
    "of other entries": "its status is of entries that it does not have any more: verify again",
    "in the future": "its status is of a time in the future, so it counts as old: verify again",
}


class Command(LedgerCommand):
    help = "Show the streams, their heads and last verifications, and the guards. Checks nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--format", choices=("text", "json"), default="text")

    def handle_ledger(self, *args: Any, database: str, format: str, **options: Any) -> None:
        now = datetime.now(UTC)
        queryset = Stream.objects.using(database).select_related("status").order_by("name")
        broken = {each.stream for each in stored_breaks.known_breaks(database)}
        streams = [_facts(stream, now, broken) for stream in queryset]
        standing = guards.inspect(connections[database])
        checkpoints = _checkpoints(database)
        if format == "json":
            document = {
                "database": database,
                "ledger": conf.ledger_of(database),
                "guards": standing.as_dict(),
                "checkpoints": checkpoints,
                "streams": streams,
            }
            self.write_json(document)
            return
        header = ("stream", "entries", "last entry", "head", "verification", "since")
        for line in table(header, [_row(facts, now) for facts in streams]):
            self.stdout.write(line)
        for facts in streams:
            if facts["doubt"]:
                name = visible(str(facts["name"]))
                self.stdout.write(f"warning: stream {name!r}: {_DOUBTS[facts['doubt']]}")
        lengths = [facts["length"] for facts in streams]
        total = sum(each for each in lengths if type(each) is int)  # a tampered one may be text
        self.stdout.write(
            f"\n{total} entries in {len(streams)} streams of {conf.ledger_of(database)!r}"
        )
        for warning in clocks.warnings(clocks.streams_ahead(database)):
            self.stdout.write(f"warning: {warning}")
        self.stdout.write(f"guards in the database: {standing}")
        self.stdout.write(f"checkpoints: {_in_words(checkpoints)}")


def _checkpoints(database: str) -> dict[str, Any]:
    """Return what the database says of its checkpoints; the sinks are not asked."""
    size = stored.size(database)
    waiting = stored.checkpoints(database).exclude(undelivered=[])
    return {"size": size, "undelivered": waiting.count(), "sinks": list(conf.checkpoint_sinks)}


def _in_words(facts: dict[str, Any]) -> str:
    if not facts["size"]:
        return "none"
    waiting = facts["undelivered"]
    return f"{facts['size']}, {f'{waiting} not delivered everywhere' if waiting else 'delivered'}"


def _facts(stream: Stream, now: datetime, broken: Collection[str]) -> dict[str, Any]:
    status = getattr(stream, "status", None)
    ahead = clocks.ahead(stream.name, stream.head_timestamp)
    facts: dict[str, Any] = {
        "name": stream.name,
        "length": stream.length,
        "head_hash": stream.head_hash,
        "head_timestamp": stream.head_timestamp,
        "result": "never verified",
        "verified_at": None,
        "entries_since": stream.length,
        "ahead_ms": ahead.by if ahead else 0,
        "doubt": None,
    }
    if status is not None:
        facts["result"] = reliance.status_name(status, stream, now)
        facts["doubt"] = reliance.doubt(status, stream, now)
        facts["verified_at"] = status.verified_at and status.verified_at.isoformat()
        if type(status.length) is int and type(stream.length) is int:
            facts["entries_since"] = max(stream.length - status.length, 0)
    if stream.name in broken:  # also where its status was deleted, or an older one put back
        facts["result"] = "tampered"
    return facts


def _row(facts: dict[str, Any], now: datetime) -> tuple[Any, ...]:
    verified = facts["result"]
    if facts["verified_at"]:
        verified += f", {age(datetime.fromisoformat(facts['verified_at']), now)}"
    return (
        facts["name"],
        facts["length"],
        moment(facts["head_timestamp"]),
        (facts["head_hash"] or "")[:12],
        verified,
        f"+{facts['entries_since']}",
    )
