"""Stores verifications: the run, its findings, and the status of each stream it read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import DatabaseError, InternalError, OperationalError, transaction

from nucleus_ledger import stored_breaks
from nucleus_ledger.checking import Base
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.report import Report, StreamReport
from nucleus_ledger.core.transition import Mode, Transition, decide
from nucleus_ledger.row_signatures import is_genuine, sign_run, sign_statuses

if TYPE_CHECKING:
    from nucleus_ledger.models import StreamStatus, Verification

_AT_ONCE = 500
_NAMED = 5
_UPDATED = [
    "result",
    "assurance",
    "assured",
    "length",
    "head_hash",
    "verified_at",
    "full_at",
    "verification",
    "run",
    "base_length",
    "base_hash",
    "evidence_size",
    "evidence_root",
    "signature",
]
_HASH = re.compile("[0-9a-f]{64}")
_SWALLOWED = "a trigger or rule lets no verification be stored"
_PG_READ_ONLY = "25006"  # read_only_sql_transaction


def begin(using: str, **fields: Any) -> Verification | None:
    """Store a run as running and return it; None where the database takes no writes.

    Raises Django's database errors where the row cannot be stored.
    """
    model = apps.get_model("nucleus_ledger", "Verification")
    try:
        with transaction.atomic(using=using):
            run: Verification = model._base_manager.using(using).create(**fields)
    except (OperationalError, InternalError) as exc:
        if _is_read_only(exc):
            return None
        raise
    except (TypeError, IndexError) as exc:  # Django 5.2, where the database gives back no row
        raise DatabaseError(_SWALLOWED) from exc
    if run.pk is None:  # the same in Django 6.1
        raise DatabaseError(_SWALLOWED)
    return run


def _is_read_only(exc: Exception) -> bool:
    """By the codes of the drivers: a server words its messages in its own language."""
    cause = exc.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    return code == _PG_READ_ONLY or code.startswith("SQLITE_READONLY")


def bases(
    using: str, names: Mapping[int, str], warnings: list[str] | None = None
) -> dict[int, StreamStatus]:
    """Return the stored statuses that this site wrote, by the key of their stream.

    `names` are the streams' names by key. What cannot be relied on is left out, with a warning.
    """
    stored = stored_breaks.rows(using, names)
    found = {key: status for key, status in stored.items() if is_genuine(status)}
    others = sorted(names[key] for key in stored.keys() - found.keys())
    if others and warnings is not None:
        shown = ", ".join(map(repr, others[:_NAMED]))
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        warnings.append(
            f"the stored status of {shown}{more} was changed in the database, or the site's key "
            "was: nothing rests on it"
        )
    return found


def as_base(status: StreamStatus) -> Base:
    """Return what a genuine status says was verified, for an incremental run to start after."""
    label = f"verification {status.run} of {status.verified_at.isoformat()}"
    seen = _seen(status)
    return Base(status.length, status.head_hash, status.result, label, *seen)


def _seen(status: StreamStatus) -> tuple[int, str | None]:
    """Return what the last run that found nothing saw: how many entries, and the hash there."""
    if status.result == "intact":
        return status.length, status.head_hash
    return status.base_length, status.base_hash


def finish(using: str, run: Verification, report: Report, unstored: Sequence[StreamReport]) -> None:
    """Store the result of a run, and of those of its streams that `store` has not stored yet."""
    with transaction.atomic(using=using):
        run.finished_at = datetime.fromisoformat(report.finished_at)
        run.result = report.result
        run.assurance = report.assurance
        run.streams, run.entries = len(report.streams), report.entries
        run.findings_total = report.findings_total
        run.warnings = [*report.warnings, *report.errors]
        run.evidence_size = report.checkpoint.size if report.checkpoint else None
        run.evidence_root = report.checkpoint.root if report.checkpoint else ""
        run.notices = [notice.as_dict() for notice in report.notices]
        run.lease = run.lease_until = None
        sign_run(using, run)
        run.save(using=using)
        store(using, run, unstored)


def store(using: str, run: Verification, streams: Sequence[StreamReport]) -> None:
    """Store the findings in streams of a run, and the status of each; in a transaction."""
    # What stands without a stream's row is kept by the run that found it.
    findings = [
        finding
        for stream in streams
        if stream.key is not None or stream.standing is None
        for finding in stream.findings
    ]
    _store_findings(using, run, findings)
    # By key, and one each: a tampered table may hold a stream's row twice.
    known = {stream.key: stream for stream in streams if stream.key is not None}
    for part in _parts(list(known.values())):
        _store_statuses(using, run, part)


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


def _store_statuses(using: str, run: Verification, streams: Sequence[StreamReport]) -> None:
    model = apps.get_model("nucleus_ledger", "StreamStatus")
    manager = model._base_manager.using(using)
    stored = {
        status.stream_id: status
        for status in manager.select_for_update().filter(
            stream_id__in=[stream.key for stream in streams]
        )
    }
    possible = (
        _status_after(model, stream, stored.get(stream.key or 0), run) for stream in streams
    )
    changed = [status for status in possible if status]
    sign_statuses(using, changed)
    manager.bulk_create(
        changed, update_conflicts=True, unique_fields=["stream"], update_fields=_UPDATED
    )


def _status_after(
    model: Any, stream: StreamReport, before: StreamStatus | None, run: Verification
) -> StreamStatus | None:
    """Return the status a run leaves behind; None where it leaves the stored one alone.

    `core.transition` decides.
    """
    known = stored_breaks.as_known(before)
    outcome = stored_breaks.outcome_of(stream, cast("Mode", run.mode), run.pk, known)
    transition, key = decide(known, outcome), run.pk
    if (standing := stream.standing) is not None:  # a break that an earlier run found
        hidden = standing.result == "tampered" and not (known and known.result == "tampered")
        transition = Transition("tampered", hidden, "", standing.evidence)
        key = standing.run if standing.ordered else run.pk
    if not transition.stored:
        return None
    genuine = before if known and before and is_genuine(before) else None
    length = outcome.length
    if transition.result == "tampered" and known:
        length = max(length, known.length)
    evidence = transition.evidence
    result = "intact" if transition.result == "intact_since" else transition.result
    seen = (0, None) if result == "intact" or genuine is None else _seen(genuine)
    status: StreamStatus = model(
        stream_id=stream.key,
        result=result,
        assurance=stream.assurance,
        assured=0 if stream.assured_through is None else stream.assured_through + 1,
        length=length,
        head_hash=stream.head_hash if _HASH.fullmatch(str(stream.head_hash)) else None,
        verified_at=run.started_at,
        full_at=genuine.full_at if genuine and stream.checked_from else run.started_at,
        verification_id=run.pk,
        run=key,
        base_length=seen[0],
        base_hash=seen[1],
        evidence_size=evidence.size if evidence else None,
        evidence_root=evidence.root if evidence else "",
    )
    return status


def _parts(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
