"""Verifies the ledger in a database: plans the streams, has them checked, stores and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from django.apps import apps
from django.db import Error as DatabaseError
from django.db import IntegrityError, connections, router

from nucleus_ledger import (
    acknowledgements,
    clocks,
    guards,
    index_check,
    reliance,
    rowsource,
    statuses,
    stored_breaks,
    workers,
)
from nucleus_ledger.alarms import announce
from nucleus_ledger.checking import Options, Plan, check_range, check_stream
from nucleus_ledger.conf import conf
from nucleus_ledger.core.against import Evidence
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.report import Problem, Report, StreamReport
from nucleus_ledger.core.transition import CheckpointRef, Mode
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.errors import InvalidData, NotFound

if TYPE_CHECKING:
    from nucleus_ledger.models import StreamStatus, Verification


@dataclass(slots=True)
class Gathered:
    """What a run gathers on its way."""

    streams: list[StreamReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    checkpoint: CheckpointRef | None = None


def verify(
    using: str,
    streams: Iterable[str] | None = None,
    *,
    mode: Literal["full", "incremental"] = "full",
    deep: bool = False,
    validate: bool = False,
    fail_fast: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    origin: str = "api",
    user: str = "",
    store: bool = True,
    run: Verification | None = None,
    evidence: Evidence | None = None,
) -> Report:
    """Verify all streams of a database, or those named, and return the report.

    Raises `NotFound` for an unknown stream and `InvalidData` for a bad option; a broken chain
    raises nothing, and a database error on the way stands in the report's `errors`. `progress` is
    called with (entries done, entries in all). `run` is an already stored run to go on with.
    `evidence` is what to hold the ledger against, beside itself.
    """
    if mode not in ("full", "incremental"):
        raise InvalidData(f"mode is neither 'full' nor 'incremental': {mode!r}")
    if type(workers) is not int or workers < 1:
        raise InvalidData(f"workers is not a whole number >= 1: {workers!r}")
    if workers > 1 and conf.has_ledger_per_connection:
        raise InvalidData(
            "LEDGER_ID is a function of the connection, and other processes do not know which "
            "schema this connection is in: use one worker"
        )
    started = datetime.now(UTC)
    names = None if streams is None else list(dict.fromkeys(streams))
    options = Options(conf.ledgers_of(using), conf.max_stored_findings, deep, validate, fail_fast)
    connection = connections[using]
    standing = guards.inspect(connection)
    stored = rowsource.read_heads(connection, names)
    orphans = rowsource.find_orphans(connection)
    there = {item.head.stream for item in stored}
    outside = evidence or Evidence()
    refuse_unknown(names, there | {orphan.stream for orphan in orphans} | outside.names())
    gathered = Gathered()
    source = using
    if store and run is None:
        run, read_only = _begin(
            using,
            gathered,
            started_at=started,
            origin=origin,
            user=user,
            mode=mode,
            scope=names,
            deep=deep,
            validated=validate,
        )
        if read_only and mode == "incremental":
            source = _writable(using)
    gathered.warnings.extend(clocks.warnings_of(stored))
    known = _known(using, source, stored, gathered.warnings)
    plans = plan(using, stored, known, mode, started, gathered.warnings)
    plans = [replace(each, expected=outside.expectation(each.head.stream)) for each in plans]
    _check_all(using, plans, options, workers, progress, gathered)
    gathered.streams.extend(
        without_row(orphan) for orphan in orphans if names is None or orphan.stream in names
    )
    hold_against(outside, gathered, there, names)
    gathered.streams = _with_stored_breaks(source, gathered, mode, run, outside)
    reported = there | {each.name for each in gathered.streams}
    gathered.streams.extend(
        stored_breaks.loose_reports(source, reported, names, mode, outside, gathered.warnings)
    )
    report = assemble(using, mode, started, options, gathered, standing, run)
    if run is not None:
        try:
            statuses.finish(using, run, report, report.streams)
        except DatabaseError as exc:  # what was found must not be lost with it
            failure = f"the result could not be stored: {type(exc).__name__}: {exc}".strip()
            report = replace(report, errors=[*report.errors, failure])
    announce(report, using)
    return report


def _begin(using: str, gathered: Gathered, **fields: Any) -> tuple[Verification | None, bool]:
    """Store a run as running, and return it and whether the database is read-only.

    That nothing can be stored (no room, a key that is taken, a table that somebody spoilt) must
    not keep the ledger from being read: the report says so, and never that all is well.
    """
    try:
        run = statuses.begin(using, **fields)
    except DatabaseError as exc:
        if not rowsource.answers(connections[using]):
            raise
        hint = ""
        if isinstance(exc, IntegrityError):
            hint = (
                ". If the sequence of keys is behind the table: manage.py sqlsequencereset "
                "nucleus_ledger"
            )
        gathered.errors.append(f"this run could not be stored: {one_line(exc)}{hint}")
        return None, False
    if run is None:
        gathered.warnings.append(f"database {using!r} is read-only: nothing of this run is stored")
    return run, run is None


def assemble(
    using: str,
    mode: Literal["full", "incremental"],
    started: datetime,
    options: Options,
    gathered: Gathered,
    standing: guards.GuardStatus,
    run: Verification | None,
) -> Report:
    """Make a run's report of what it gathered."""
    if not standing.ok:
        gathered.warnings.append(f"guards in the database: {standing}")
    return Report(
        mode=mode,
        database=using,
        ledger=conf.ledger_of(using),
        started_at=started.isoformat(),
        finished_at=datetime.now(UTC).isoformat(),
        streams=_in_order(gathered.streams, options.limit),
        guards=standing.as_dict(),
        deep=options.deep,
        validated=options.validate,
        warnings=gathered.warnings,
        errors=gathered.errors,
        evidence=gathered.evidence,
        problems=gathered.problems[: options.limit],
        verification=run.pk if run else None,
        checkpoint=gathered.checkpoint,
    )


def orphan_reports(using: str) -> list[StreamReport]:
    """Return a report for each group of entries that stand without a row of their stream."""
    return [without_row(orphan) for orphan in rowsource.find_orphans(connections[using])]


def hold_against(
    evidence: Evidence, gathered: Gathered, there: Iterable[str], names: Sequence[str] | None
) -> None:
    """Add what evidence says of no single stream that is there: of those gone, and of the log."""
    gathered.streams.extend(
        without_row(finding)
        for finding in evidence.missing(there)
        if names is None or finding.stream in names
    )
    gathered.streams.extend(map(without_row, evidence.findings))
    gathered.evidence.extend(evidence.lines)
    gathered.checkpoint = evidence.checkpoint if evidence.log else None
    gathered.warnings.extend(evidence.warnings)
    gathered.errors.extend(evidence.errors)


def judge_entries(using: str, stream_id: int, low: int, high: int) -> list[Finding] | None:
    """Judge low <= sequence < high and their link to what is before, at this moment.

    Returns what a full verification would find there, and None where there is no such stream.
    Nothing is stored. It says nothing of other entries, of the head, or of what stood here before.
    """
    stored = rowsource.read_heads(connections[using], ids=[stream_id])
    if not stored:
        return None
    plan = Plan(stream_id, stored[0].head)
    options = Options(conf.ledgers_of(using), conf.max_stored_findings)
    return list(check_range(using, plan, options, low, high).findings)


def refuse_unknown(names: Sequence[str] | None, there: set[str]) -> None:
    """Raise `NotFound` for names of which there is no stream."""
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise NotFound(f"there is no stream named {', '.join(map(repr, unknown))}")


def _writable(using: str) -> str:
    """Return where the base of an incremental verification of a read-only database is.

    The router gets a stream of that database as its hint. Raises `InvalidData` if it names none.
    """
    stream = apps.get_model("nucleus_ledger", "Stream")()
    stream._state.db = using
    status_model = apps.get_model("nucleus_ledger", "StreamStatus")
    source: str = router.db_for_write(status_model)
    if source == using:
        source = router.db_for_write(status_model, instance=stream)
    if source == using:
        raise InvalidData(
            f"database {using!r} is read-only and there is no writable one to take the base "
            "of an incremental verification from"
        )
    return source


def _known(
    using: str, source: str, stored: Sequence[rowsource.StoredStream], warnings: list[str]
) -> dict[int, StreamStatus]:
    """Return the statuses that earlier verifications stored, by the key of their stream.

    Of another database only what belongs to the same chain, and no more than has arrived here: a
    replica that lags is behind, and not tampered with.
    """
    names = {item.id: str(item.head.stream) for item in stored if item.id is not None}
    known = statuses.bases(source, names, warnings)
    if source == using:
        return known
    here, there = connections[using], connections[source]
    for item in stored:
        status = known.get(item.id) if item.id is not None else None
        if item.id is None or status is None or not status.length:
            continue
        name, first = item.head.stream, rowsource.read_hash(here, item.id, 0)
        if first is not None and first != rowsource.read_hash(there, item.id, 0):
            raise InvalidData(
                f"stream {name!r} begins with another entry in database {source!r} than in "
                f"{using!r}: no base for an incremental verification can be taken from there"
            )
        arrived = type(item.head.length) is int and item.head.length >= status.length
        if not arrived and rowsource.read_hash(there, item.id, status.length - 1) == (
            status.head_hash
        ):
            del known[item.id]
            warnings.append(
                f"stream {name!r}: database {using!r} is behind {source!r}, where more of it was "
                "verified: what is here is read in full"
            )
    return known


def plan(
    using: str,
    stored: Sequence[rowsource.StoredStream],
    known: dict[int, StreamStatus],
    mode: str,
    now: datetime,
    warnings: list[str],
) -> list[Plan]:
    """Decide from where each stream is to be read; `known` are the stored statuses by key."""
    acknowledged = acknowledgements.read_all(using)
    plans = []
    for item in stored:
        status = None if item.id is None else known.get(item.id)
        incremental = mode == "incremental" and status is not None
        if status and status.result == "tampered":
            incremental = False
        elif status and incremental and reliance.needs_full(status, now):
            incremental = False
            when = (
                "in the future"
                if reliance.is_ahead(status.full_at, now)
                else ("more than FULL_MAX_AGE ago")
            )
            warnings.append(
                f"stream {item.head.stream!r} was last read in full {when}: all of it is read"
            )
        plans.append(
            Plan(
                item.id,
                item.head,
                statuses.as_base(status) if status else None,
                incremental,
                acknowledged.get(item.head.stream, ()),
            )
        )
    return plans


def _check_all(
    using: str,
    plans: Sequence[Plan],
    options: Options,
    count: int,
    progress: Callable[[int, int], None] | None,
    gathered: Gathered,
) -> None:
    total = sum(map(workers.entries_of, plans))
    done = 0

    def advance(entries: int) -> None:
        nonlocal done
        done += entries
        if progress:
            progress(done, total)

    if progress:
        progress(0, total)
    try:
        for report, problems in _checked(using, plans, options, count, advance):
            gathered.streams.append(report)
            gathered.problems.extend(problems)
            gathered.errors.extend([report.error] if report.error else [])
            if options.fail_fast and report.findings_total:
                break
        if options.deep:
            found = index_check.check(connections[using])
            gathered.errors.extend(found.errors)
            gathered.warnings.extend(found.warnings)
    except DatabaseError as exc:
        gathered.errors.append(f"database error: {type(exc).__name__}: {one_line(exc)}")
    except BrokenExecutor:
        gathered.errors.append("a worker process ended before its work was done")
    except KeyboardInterrupt:
        gathered.errors.append("interrupted")


def _checked(
    using: str,
    plans: Sequence[Plan],
    options: Options,
    count: int,
    advance: Callable[[int], None],
) -> Iterator[tuple[StreamReport, list[Problem]]]:
    if count > 1 and (
        len(plans) > 1 or sum(map(workers.entries_of, plans)) > workers.SMALLEST_RANGE
    ):
        for report, problems, _processes in workers.check_streams(
            using, plans, options, count, advance
        ):
            yield report, problems
        return
    for plan in plans:
        yield check_stream(using, plan, options, advance)


def _with_stored_breaks(
    source: str,
    gathered: Gathered,
    mode: Mode,
    run: Verification | None,
    evidence: Evidence,
) -> list[StreamReport]:
    """Return the reports of a run, which hide no stored break.

    The statuses are read now: another run may have found something meanwhile.
    """
    keys = [report.key for report in gathered.streams if report.key is not None]
    stored, found = stored_breaks.rows(source, keys), stored_breaks.last_found(source)
    return [
        with_stored_break(source, report, mode, run, stored, found, evidence, gathered.warnings)
        for report in gathered.streams
    ]


def with_stored_break(
    source: str,
    report: StreamReport,
    mode: Mode,
    run: Verification | None,
    stored: Mapping[int, StreamStatus],
    found: Mapping[str, int],
    evidence: Evidence | None,
    warnings: list[str],
) -> StreamReport:
    """Return the report of one stream as `stored_breaks` has it, with what it was held against."""
    key = report.key
    if key is None:
        return report
    if evidence and evidence.log and (report.evident or not report.checked_from):
        report = replace(report, held=evidence.checkpoint)
    known = stored_breaks.known_of(source, report.name, stored.get(key), found)
    return stored_breaks.with_stored_break(source, report, mode, run, known, evidence, warnings)


def _in_order(streams: list[StreamReport], limit: int) -> list[StreamReport]:
    """Sort by the byte order of the names; keep as many findings, and notices, as may be held."""
    ordered = sorted(streams, key=lambda stream: str(stream.name).encode(errors="replace"))
    kept = []
    findings = notices = limit
    for stream in ordered:
        kept.append(
            replace(
                stream,
                findings=stream.findings[: max(findings, 0)],
                notices=stream.notices[: max(notices, 0)],
            )
        )
        findings -= len(stream.findings)
        notices -= len(stream.notices)
    return kept


def without_row(finding: Finding) -> StreamReport:
    """Return the report of what is found where no stream's row stands."""
    return StreamReport(
        name=finding.stream,
        length=0,
        head_hash=None,
        checked_from=None,
        checked_to=None,
        entries_checked=0,
        findings=(finding,),
        findings_total=1,
        result="tampered",
    )
