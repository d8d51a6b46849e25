"""Puts findings on record: the owner's way on from a chain that is known to be broken."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections, transaction

from nucleus_ledger import acknowledgements, appending, rowsource, stored_breaks, verification
from nucleus_ledger.conf import INCIDENTS
from nucleus_ledger.core.record import Record
from nucleus_ledger.errors import IntegrityFailed, InvalidData
from nucleus_ledger.evidence.against import newest

if TYPE_CHECKING:
    from nucleus_ledger.core.against import Evidence
    from nucleus_ledger.core.report import Report, StreamReport
    from nucleus_ledger.models import Entry


def acknowledge(
    using: str, stream: str, *, reason: str, by: str = "", evidence: Evidence | None = None
) -> tuple[Entry, Report]:
    """Record all findings of a stream, and return the entry and the verification behind it.

    Reads the whole stream first, and holds it against `evidence`, else against the newest
    checkpoint of the sinks. The record is an entry of `nucleus.incidents` with the digest of the
    findings; a stored break that this run does not find again, because its evidence is not at
    hand, goes on record too. Appends to the stream go on afterwards. Raises `InvalidData` without
    a reason, `IntegrityFailed` where there is nothing to acknowledge or it cannot be.
    """
    if not reason.strip():
        raise InvalidData("reason is empty")
    evidence = evidence or newest(using)
    found = verification.verify(using, [stream], origin="acknowledge", user=by, evidence=evidence)
    part = _tampered_part(found, stream)
    head = rowsource.read_heads(connections[using], [stream])[0].head
    payload = acknowledgements.payload(
        head,
        part.findings_digest or "",
        reason=reason,
        by=by,
        findings_total=part.findings_total,
        kinds=dict(Counter(finding.kind for finding in part.findings)),
        verification=found.verification,
        walked=part.walked,
        outside=list(part.outside),
        lifts=_stored_break(using, part.key),
    )
    # Rolled back unless the stream is acknowledged then: half a record would help nobody.
    with transaction.atomic(using=using):
        (entry,) = appending.append_records(
            [Record(INCIDENTS, payload)], using=using, reserved=True
        )
        again = verification.verify(
            using, [stream], origin="acknowledge", user=by, evidence=evidence
        )
        if again.result != "acknowledged":
            raise IntegrityFailed(
                f"stream {stream!r} changed while its findings were recorded: try again"
            )
    return entry, found


def _stored_break(using: str, key: int | None) -> int | None:
    """Return the key of the run whose break is stored of a stream; None where none is."""
    known = stored_breaks.as_known(stored_breaks.rows(using, [key or 0]).get(key or 0))
    return known.run if known and known.result == "tampered" else None


def _tampered_part(report: Report, stream: str) -> StreamReport:
    for error in report.errors:
        raise IntegrityFailed(f"stream {stream!r} could not be read to its end: {error}")
    if report.result == "acknowledged":
        raise IntegrityFailed(f"every finding in stream {stream!r} is acknowledged already")
    if report.result != "tampered":
        raise IntegrityFailed(f"stream {stream!r} has no finding to acknowledge")
    rows = [part for part in report.streams if part.name == stream and part.key is not None]
    if len(rows) > 1:
        raise IntegrityFailed(
            f"{len(rows)} rows bear the name {stream!r}: remove those that are not the "
            "stream's first, since an acknowledgement names a stream by its name"
        )
    for part in report.streams:
        if part.key is None:
            raise IntegrityFailed(
                f"stream {stream!r} has no row, and an acknowledgement is bound to it: put the row "
                "back from a backup first. Where the whole stream is gone for good, `manage.py "
                "checkpoint_ledger --accept-restore REASON` puts that on record"
            )
    return next(part for part in report.streams if part.findings_total)
