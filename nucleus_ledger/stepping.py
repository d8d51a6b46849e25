"""A verification in short steps, for those who cannot wait and have no worker process: web pages.

Each step reads a bounded number of entries with the walk that everything else uses, and stores
where it stands; the next may come from another process, minutes later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, cast

from django.core import signing
from django.db import IntegrityError, connections, transaction
from django.db.models import F, Sum

from nucleus_ledger import (
    clocks,
    guards,
    rowsource,
    statuses,
    step_leases,
    stored_breaks,
    verification,
)
from nucleus_ledger.alarms import announce
from nucleus_ledger.checking import Plan, StreamCheck
from nucleus_ledger.conf import conf
from nucleus_ledger.core.against import Evidence
from nucleus_ledger.core.report import Report, StreamReport
from nucleus_ledger.core.transition import CheckpointRef, Mode
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.errors import InvalidData, NotFound
from nucleus_ledger.evidence import against
from nucleus_ledger.models import Stream, Verification, VerificationStep
from nucleus_ledger.standing import Found, Standing, as_step, options, read_all_found, read_standing

ENTRIES = 20_000
MOST_NAMES = 5_000
_STREAMS_AT_ONCE = 100
_ATTEMPTS = 20  # to begin or join a run, while others begin and end one
_STREAM_COSTS = 50  # entries: a stream costs statements of its own, however short it is


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, in entries. Not `moved` where another step was under way."""

    run: Verification
    done: int
    total: int
    moved: bool = True

    @property
    def finished(self) -> bool:
        return bool(self.run.result != Verification.Result.RUNNING)


class _Overtaken(Exception):
    """Somebody else stored this step, or ended the run, while it was computed."""


def begin(
    using: str,
    streams: Sequence[str] | None = None,
    *,
    mode: Literal["full", "incremental"] = "full",
    user: str = "",
) -> Verification:
    """Return the run that `step` takes forward: a new one, or the same if it is under way.

    Raises `NotFound` for an unknown stream, and `InvalidData` for too many names, another mode,
    a database that takes no writes, or one whose constraints or triggers refuse the run's row.
    Other database errors stay Django's.
    """
    if mode not in ("full", "incremental"):
        raise InvalidData(f"mode is neither 'full' nor 'incremental': {mode!r}")
    names = None if streams is None else sorted(set(streams))
    if names is not None and len(names) > MOST_NAMES:
        raise InvalidData(f"{len(names)} streams are named: name {MOST_NAMES} at most, or none")
    total = _entries(using, names, mode)
    asked = json.dumps([mode, names]).encode()
    lease = step_leases.NAME + sha256(asked).hexdigest()[:40]
    refused = 0
    while True:
        now = datetime.now(UTC)
        run: Verification | None = _runs(using).filter(lease=lease).first()
        if run is not None and not step_leases.is_abandoned(run, now):
            return run
        if run is not None:
            _end(using, run, "left unfinished")
        try:
            with transaction.atomic(using=using):
                run = statuses.begin(
                    using,
                    started_at=now,
                    origin="admin",
                    user=user,
                    mode=mode,
                    scope=names,
                    lease=lease,
                    lease_until=now,
                )
                if run is None:
                    raise InvalidData(f"database {using!r} is read-only: nothing can be stored")
                as_step(run, 0, Standing(total=total), Found()).save(using=using)
        except IntegrityError as exc:
            refused += 1
            if refused < _ATTEMPTS:
                continue  # somebody else began it at the same moment
            raise InvalidData(f"no run can be stored: {one_line(exc)}") from exc
        return run


def step(using: str, key: int, entries: int | None = None) -> Progress:
    """Take a run forward by so many entries (`ENTRIES`), unless somebody else is at it.

    Raises `NotFound` where there is no such run. A database error leaves the run as it was.
    """
    now = datetime.now(UTC)
    claimed = _running(using, key).filter(step_leases.is_free(now))
    moved = bool(claimed.update(lease_until=now + step_leases.LEASE_TIME))
    run = _run(using, key)
    if moved:
        try:
            _take(using, run, entries or ENTRIES)
        except _Overtaken:
            moved = False
        finally:
            _running(using, key).update(lease_until=datetime.now(UTC))
    return progress(using, key, moved=moved)


def progress(using: str, key: int, *, moved: bool = False) -> Progress:
    """Return how far a run has come, without doing anything for it."""
    run = _run(using, key)
    try:
        _number, standing = _latest(using, run)
    except signing.BadSignature:  # it has ended, or the next step says so
        return Progress(run, run.entries, run.entries, moved)
    return Progress(run, standing.done, max(standing.total, standing.done), moved)


def cancel(using: str, key: int, user: str) -> Verification:
    """End a run where it is: what it found stays, and what it did not read stays unknown."""
    run = _run(using, key)
    if _running(using, key).exists():
        _end(using, run, f"cancelled by {user}")
    return _run(using, key)


def _take(using: str, run: Verification, entries: int) -> None:
    report = None
    found = Found()
    try:
        number, standing = _latest(using, run)
        ended = _read(using, run, standing, found, entries)
        with transaction.atomic(using=using):
            _hold(using, run)
            _store_step(using, run, number + 1, standing, found)
            statuses.store(using, run, found.reports)
            if ended:
                report = _finish(using, run, standing)
    except signing.BadSignature:
        _end(using, run, "what it stored was changed in the database, or the site's key was")
    if report:
        announce(report, using)


def _read(using: str, run: Verification, standing: Standing, found: Found, entries: int) -> bool:
    """Read on, and return whether nothing is left to be read."""
    plans: Iterator[tuple[int, int, Plan]] = iter(())
    earlier = stored_breaks.last_found(using)
    while entries > 0:
        if standing.check is None:
            following = next(plans, None)
            if following is None:
                batch = _next_plans(using, run, standing, found)
                plans = iter(batch)
                following = next(plans, None)
            if following is None:
                return True
            standing.key, standing.rows, plan = following
            standing.check = StreamCheck(using, plan, options(using))
        check = standing.check
        before = check.cursor.checked
        at_end = check.advance(entries)
        read = check.cursor.checked - before
        standing.done += read
        entries -= read + _STREAM_COSTS
        if not at_end and not _is_over_the_limit(check):
            continue
        report = _judged(using, run, standing, at_end, found, earlier)
        kept = report.findings[: max(conf.max_stored_findings - standing.kept, 0)]
        standing.kept += len(kept)
        standing.found += report.findings_total
        found.reports.append(replace(report, findings=kept))
        standing.rows += 1
        standing.check = None
    return False


def _next_plans(
    using: str, run: Verification, standing: Standing, found: Found
) -> list[tuple[int, int, Plan]]:
    """Plan the next streams by key; with each, its key and how many rows of that key are before it.

    A key occurs once, unless somebody took the table's primary key away.
    """
    connection = connections[using]
    # Before the heads are read, which are no shorter then than a checkpoint says.
    evidence = _evidence(using, standing, found)
    keys = rowsource.read_keys(connection, standing.key, _STREAMS_AT_ONCE, run.scope)
    stored = [
        item
        for item in rowsource.read_heads(connection, ids=keys)
        if run.scope is None or item.head.stream in run.scope
    ]
    names = {item.id: str(item.head.stream) for item in stored if item.id is not None}
    known = statuses.bases(using, names, found.warnings)
    mode = run.mode
    plans = verification.plan(using, stored, known, mode, run.started_at, found.warnings)
    plans = [replace(each, expected=evidence.expectation(each.head.stream)) for each in plans]
    rows = dict.fromkeys(keys, 0)
    following = []
    for plan in sorted(plans, key=lambda plan: plan.stream_id or 0):
        key = plan.stream_id or 0
        if key != standing.key or rows[key] >= standing.rows:
            following.append((key, rows[key], plan))
        rows[key] += 1
    return following


def _evidence(using: str, standing: Standing, found: Found) -> Evidence:
    """Return what to hold the ledger against: the checkpoint that was the newest at first."""
    if standing.looked and standing.anchor is None:
        return Evidence()
    evidence = against.prepared()
    if not standing.looked:
        standing.anchor = against.find_anchor(using, evidence)
        standing.looked = True
    if standing.anchor:
        against.settle(using, evidence, standing.anchor)
    found.errors.extend(evidence.errors)
    found.warnings.extend(evidence.warnings)
    return evidence


def _is_over_the_limit(check: StreamCheck) -> bool:
    """Whether a stream has more findings than can be carried from step to step."""
    return check.found.digest.count >= conf.max_stored_findings


def _judged(
    using: str,
    run: Verification,
    standing: Standing,
    at_end: bool,
    found: Found,
    earlier: Mapping[str, int],
) -> StreamReport:
    check = standing.check
    assert check is not None
    report = check.report()
    name, count = report.name, report.findings_total
    found.errors.extend([report.error] if report.error else [])
    if not at_end and check.plan.acknowledged:
        found.errors.append(
            f"stream {name!r} has {count} findings or more, too many to compare with those on "
            "record in steps: manage.py verify_ledger can"
        )
        return replace(report, findings=(), findings_total=0, result="unknown")
    if not at_end:
        found.warnings.append(
            f"stream {name!r}: reading stopped after {count} findings; manage.py verify_ledger "
            "finds all"
        )
        report = replace(report, result="tampered")
    return _with_stored_break(using, run, report, standing, found, earlier)


def _with_stored_break(
    using: str,
    run: Verification,
    report: StreamReport,
    standing: Standing,
    found: Found,
    earlier: Mapping[str, int],
) -> StreamReport:
    """Return the report of a stream, which hides no stored break."""
    if report.key is None:
        return report
    stored = stored_breaks.rows(using, [report.key])
    known = stored_breaks.known_of(using, report.name, stored.get(report.key), earlier)
    check = standing.check
    evidence = None
    if check and check.plan.expected and (report.evident or (known and known.evidence)):
        evidence = _evidence(using, standing, Found())
    mode = cast("Mode", run.mode)
    return verification.with_stored_break(
        using, report, mode, run, stored, earlier, evidence, found.warnings
    )


def _finish(using: str, run: Verification, standing: Standing) -> Report:
    """Judge what no single stream tells, and store the run's result; in a transaction."""
    found = _all_found(using, run)
    heads = rowsource.read_heads(connections[using], run.scope)
    found.warnings.extend(clocks.warnings_of(heads))
    there = {stored.head.stream for stored in heads}
    evidence = _evidence(using, standing, found)
    loose = [
        report
        for report in [
            *verification.orphan_reports(using),
            *map(verification.without_row, evidence.missing(there)),
        ]
        if run.scope is None or report.name in run.scope
    ]
    mode = cast("Mode", run.mode)
    loose += stored_breaks.loose_reports(
        using,
        there | {report.name for report in loose},
        run.scope,
        mode,
        evidence,
        found.warnings,
    )
    found.reports.extend(loose)
    keyless = rowsource.count_without_key(connections[using])
    if keyless:
        found.errors.append(f"{keyless} streams have no key: manage.py verify_ledger reads them")
    return _conclude(using, run, found, loose, evidence.checkpoint if evidence.log else None)


def _end(using: str, run: Verification, why: str) -> None:
    """Give a run up: what it found stays, and it is never intact."""
    unstored = []
    try:
        found = _all_found(using, run)
        standing = _latest(using, run)[1]
        why = f"{why}, after {standing.done} of {standing.total} entries"
        check = standing.check
        if check and check.found.digest.count and not check.plan.acknowledged:
            unstored = [replace(check.report(), result="tampered")]
    except signing.BadSignature:
        found = Found(reports=stored_breaks.reports_of(using, run.pk))
    found.reports.extend(unstored)
    found.errors.append(why)
    try:
        with transaction.atomic(using=using):
            _hold(using, run)
            report = _conclude(using, run, found, unstored)
    except _Overtaken:
        return
    announce(report, using)


def _conclude(
    using: str,
    run: Verification,
    found: Found,
    unstored: Sequence[StreamReport],
    checkpoint: CheckpointRef | None = None,
) -> Report:
    gathered = verification.Gathered(
        streams=found.reports,
        warnings=found.warnings,
        errors=found.errors,
        checkpoint=checkpoint,
    )
    mode = cast("Literal['full', 'incremental']", run.mode)
    standing = guards.inspect(connections[using])
    report = verification.assemble(
        using, mode, run.started_at, options(using), gathered, standing, run
    )
    statuses.finish(using, run, report, unstored)
    _steps(using).filter(verification=run).delete()
    return report


def _hold(using: str, run: Verification) -> None:
    """Lock a run that is under way: by a write, with which a transaction on SQLite must begin."""
    if not _running(using, run.pk).update(lease_until=F("lease_until")):
        raise _Overtaken


def _entries(using: str, names: Sequence[str] | None, mode: str) -> int:
    """Return about how many entries a run has to read; only the bar on the page rests on it."""
    streams = Stream._base_manager.using(using).order_by()
    if names is not None:
        streams = streams.filter(name__in=names)
        verification.refuse_unknown(names, set(streams.values_list("name", flat=True)))
    sums = streams.aggregate(all=Sum("length"), known=Sum("status__length"))
    known = sums["known"] or 0 if mode == "incremental" else 0
    return max(int(sums["all"] or 0) - int(known), 0)


def _latest(using: str, run: Verification) -> tuple[int, Standing]:
    """Return the number of a run's last step and where it stands; raises `BadSignature`."""
    step = _steps(using).filter(verification=run).order_by("-number").first()
    if step is None:
        raise signing.BadSignature("there is no step")
    return step.number, read_standing(using, run, step)


def _store_step(
    using: str, run: Verification, number: int, standing: Standing, found: Found
) -> None:
    try:
        with transaction.atomic(using=using):
            as_step(run, number, standing, found).save(using=using, force_insert=True)
    except IntegrityError:
        raise _Overtaken from None
    _steps(using).filter(verification=run, number=number - 1).update(standing="")
    _running(using, run.pk).update(entries=standing.done, findings_total=standing.found)


def _all_found(using: str, run: Verification) -> Found:
    return read_all_found(run, list(_steps(using).filter(verification=run).order_by("number")))


def _run(using: str, key: int) -> Verification:
    run: Verification | None = _runs(using).filter(pk=key).first()
    if run is None:
        raise NotFound(f"there is no verification {key}")
    return run


def _runs(using: str) -> Any:
    return Verification._base_manager.using(using)


def _running(using: str, key: int) -> Any:
    """Only runs that go in steps: the command's and the startup's are not ours to take forward."""
    running = Verification.Result.RUNNING
    return _runs(using).filter(pk=key, result=running, lease__startswith=step_leases.NAME)


def _steps(using: str) -> Any:
    return VerificationStep._base_manager.using(using)
