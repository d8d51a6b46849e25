"""Stores verifications: the run, its findings, and the status of each stream it read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import InternalError, OperationalError, transaction

from nucleus_ledger.checking import Base
from nucleus_ledger.conf import conf
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.report import Report, StreamReport

if TYPE_CHECKING:
    from nucleus_ledger.models import StreamStatus, Verification

_AT_ONCE = 500
_HASH = re.compile("[0-9a-f]{64}")
_PG_READ_ONLY = "25006"  # read_only_sql_transaction


def begin(using: str, **fields: Any) -> Verification | None:
    """Store a run as running and return it; None where the database takes no writes."""
    model = apps.get_model("nucleus_ledger", "Verification")
    try:
        with transaction.atomic(using=using):
            run: Verification = model._base_manager.using(using).create(**fields)
    except (OperationalError, InternalError) as exc:
        if _is_read_only(exc):
            return None
        raise
    return run


def _is_read_only(exc: Exception) -> bool:
    """By the codes of the drivers: a server words its messages in its own language."""
    cause = exc.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    return code == _PG_READ_ONLY or code.startswith("SQLITE_READONLY")


def bases(using: str, stream_ids: Iterable[int]) -> dict[int, StreamStatus]:
    """Return the stored status of the streams, by stream key."""
    model = apps.get_model("nucleus_ledger", "StreamStatus")
    found: dict[int, StreamStatus] = {}
    for part in _parts(list(stream_ids)):
        found.update(
            (status.stream_id, status)
            for status in model._base_manager.using(using).filter(stream_id__in=part)
        )
    return found


def as_base(status: StreamStatus) -> Base:
    label = "an earlier verification"
    if status.verification_id:
        label = f"verification {status.verification_id} of {status.verified_at.isoformat()}"
    return Base(status.length, status.head_hash, status.result, label)


def is_stale(status: StreamStatus, now: datetime) -> bool:
    """Whether the last full reading lies too far back for an incremental one to rest on."""
    age: timedelta = now - status.full_at
    return age > conf.full_max_age


def finish(using: str, run: Verification, report: Report, unstored: Sequence[StreamReport]) -> None:
    """Store the result of a run, and of those of its streams that `store` has not stored yet."""
    with transaction.atomic(using=using):
        run.finished_at = datetime.fromisoformat(report.finished_at)
        run.result = report.result
        run.assurance = report.assurance
        run.streams, run.entries = len(report.streams), report.entries
        run.findings_total = report.findings_total
        run.warnings = [*report.warnings, *report.errors]
        run.lease = run.lease_until = None
        run.save(using=using)
        store(using, run, unstored)


def store(using: str, run: Verification, streams: Sequence[StreamReport]) -> None:
    """Store the findings in streams of a run, and the status of each; in a transaction."""
    findings = [finding for stream in streams for finding in stream.findings]
    _store_findings(using, run, findings)
    # By key, and one each: a tampered table may hold a stream's row twice.
    known = {stream.key: stream for stream in streams if stream.key is not None}
    for part in _parts(list(known.values())):
        _store_statuses(using, run, part, run.started_at)


def stored_findings(
    using: str, run: Any, stream: str | None = None, *, most: int | None = None
) -> list[Finding]:
    """Return what the verification of that key found, in one stream or in all."""
    model = apps.get_model("nucleus_ledger", "Finding")
    rows = model._base_manager.using(using).filter(verification_id=run)
    if stream is not None:
        rows = rows.filter(stream=stream)
    return [
        Finding(
            row.kind,
            row.stream,
            row.sequence,
            row.record_id,
            tuple(row.fields),
            row.expected,
            row.actual,
            row.message,
        )
        for row in rows.order_by("pk")[:most]
    ]


def _store_findings(using: str, run: Verification, findings: Sequence[Finding]) -> None:
    model = apps.get_model("nucleus_ledger", "Finding")
    model._base_manager.using(using).bulk_create(
        (
            model(
                verification_id=run.pk,
                kind=finding.kind,
                stream=finding.stream,
                sequence=finding.sequence,
                record_id=finding.record_id,
                fields=list(finding.fields),
                expected=finding.expected,
                actual=finding.actual,
                message=finding.message,
            )
            for finding in findings
        ),
        batch_size=_AT_ONCE,
    )


def _store_statuses(
    using: str,
    run: Verification,
    streams: Sequence[StreamReport],
    started: datetime,
) -> None:
    model = apps.get_model("nucleus_ledger", "StreamStatus")
    manager = model._base_manager.using(using)
    stored = {
        status.stream_id: status
        for status in manager.select_for_update().filter(
            stream_id__in=[stream.key for stream in streams]
        )
    }
    possible = (
        _status_after(model, stream, stored.get(stream.key or 0), run, started)
        for stream in streams
    )
    changed = [status for status in possible if status]
    manager.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["stream"],
        update_fields=[
            "result",
            "assurance",
            "assured",
            "length",
            "head_hash",
            "verified_at",
            "full_at",
            "verification",
        ],
    )


def _status_after(
    model: Any,
    stream: StreamReport,
    before: StreamStatus | None,
    run: Verification,
    started: datetime,
) -> StreamStatus | None:
    """Return the status a run leaves behind; None where it leaves the stored one alone.

    A run that began earlier than the stored one says nothing newer, unless it found something; an
    incremental run never lifts a stored finding.
    """
    if stream.result == "unknown":
        return None
    if before and before.verified_at > started and stream.result != "tampered":
        return None
    if before and before.result == "tampered" and run.mode == "incremental":
        return None
    results = model.Result
    result = {
        "tampered": results.TAMPERED,
        "acknowledged": results.ACKNOWLEDGED,
    }.get(stream.result, results.INTACT)
    status: StreamStatus = model(
        stream_id=stream.key,
        result=result,
        assurance=stream.assurance,
        assured=0 if stream.assured_through is None else stream.assured_through + 1,
        # A tampered row may hold anything here.
        length=stream.length if type(stream.length) is int else 0,
        head_hash=stream.head_hash if _HASH.fullmatch(str(stream.head_hash)) else None,
        verified_at=started,
        full_at=before.full_at if before and stream.checked_from else started,
        verification_id=run.pk,
    )
    return status


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
