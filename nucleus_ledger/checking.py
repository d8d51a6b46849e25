"""Checks one stream in the database with the walk of `core.chain`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections

from nucleus_ledger import modules as stream_modules
from nucleus_ledger import rowsource
from nucleus_ledger.acknowledgements import Acknowledgement
from nucleus_ledger.core.chain import (
    Cursor,
    Finding,
    FindingsDigest,
    Head,
    Row,
    Rules,
    judge_head,
    walk,
)
from nucleus_ledger.core.report import Problem, Result, StreamReport

if TYPE_CHECKING:
    from collections.abc import Sequence

_REPORT_EVERY = 500  # entries between two calls of `progress`


@dataclass(frozen=True, slots=True)
class Base:
    """What an earlier verification of a stream stored: how far it came, and the hash there."""

    length: int
    head_hash: str | None
    result: str
    label: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check of one stream. Can be pickled: a worker process gets nothing else."""

    stream_id: int | None
    head: Head
    known: Base | None = None
    incremental: bool = False
    acknowledged: tuple[Acknowledgement, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """How to check. `limit` bounds the findings and problems kept, not those counted."""

    ledgers: frozenset[str]
    limit: int
    deep: bool = False
    validate: bool = False
    fail_fast: bool = False


@dataclass(slots=True)
class Collected:
    """Findings of one stream: all counted and digested, some kept."""

    limit: int
    kept: list[Finding] = field(default_factory=list)
    digest: FindingsDigest = field(default_factory=FindingsDigest)
    settled: int = 0

    def add(self, finding: Finding) -> None:
        self.digest.add(finding)
        if len(self.kept) < self.limit:
            self.kept.append(finding)


class _Enough(Exception):
    """The first finding of a run that is to stop there."""


def check_stream(
    using: str, plan: Plan, options: Options, progress: Callable[[int], None] = lambda _n: None
) -> tuple[StreamReport, list[Problem]]:
    """Read a stream as planned and return what was found, and the problems its modules see."""
    rules = Rules(plan.head.stream, options.ledgers, deep=options.deep)
    found = Collected(options.limit)
    problems: list[Problem] = []
    modules = stream_modules.load_modules() if options.validate else []
    start = _start(plan)
    cursor = _cursor(plan, start)
    checked = 0

    def take(finding: Finding | None) -> None:
        if finding:
            found.add(finding)
            # Where findings are acknowledged only all of them together can be judged.
            if options.fail_fast and not plan.acknowledged:
                raise _Enough

    def read(low: int, high: object) -> Iterator[Row]:
        nonlocal checked
        pending = 0
        for row in rowsource.read_rows(connections[using], plan.stream_id, low, high):
            if modules and len(problems) < options.limit:
                problems.extend(_validate(row, rules.stream, modules))
            yield row
            checked, pending = checked + 1, pending + 1
            if pending == _REPORT_EVERY:
                progress(pending)
                pending = 0
        progress(pending)

    try:
        low = start
        for acknowledgement in plan.acknowledged:
            boundary = acknowledgement.head
            if boundary.length < low or (plan.incremental and start):
                continue
            for finding in walk(read(low, boundary.length), cursor, rules):
                take(finding)
            low = boundary.length
            broken = judge_head(boundary, cursor, rules)
            take(broken)
            if found.digest.hexdigest() == acknowledgement.digest:
                found.settled = found.digest.count
            if broken:  # what was appended since follows the head as it stood then
                cursor = Cursor(boundary.length, (boundary.head_hash,), boundary.head_timestamp)
        for finding in walk(read(low, plan.head.length), cursor, rules):
            take(finding)
        take(judge_head(plan.head, cursor, rules))
        if not found.digest.count:
            take(_differs_from_known(using, plan))
    except _Enough:
        pass
    return _report(plan, found, start, cursor, checked), problems


def _start(plan: Plan) -> int:
    """Where to begin: at the entry an intact base ends with, which is read again."""
    base = plan.known
    if not plan.incremental or base is None or not base.length:
        return 0
    if type(plan.head.length) is not int or plan.head.length < base.length:
        return 0
    return base.length if base.result == "acknowledged" else base.length - 1


def _cursor(plan: Plan, start: int) -> Cursor:
    if start and plan.known and plan.known.result == "acknowledged":
        return Cursor(start, (plan.known.head_hash,))
    return Cursor.at(start)


def _differs_from_known(using: str, plan: Plan) -> Finding | None:
    """Hold a chain that is whole by itself against what an earlier verification saw of it."""
    known = plan.known
    if known is None or not known.length or known.result != "intact":
        return None
    actual = rowsource.read_hash(connections[using], plan.stream_id, known.length - 1)
    if actual == known.head_hash:
        return None
    return Finding(
        "head_mismatch",
        plan.head.stream,
        known.length - 1,
        None,
        (),
        known.head_hash,
        actual,
        f"the entry is not the one that {known.label} verified there",
    )


def _report(plan: Plan, found: Collected, start: int, cursor: Cursor, checked: int) -> StreamReport:
    head, known = plan.head, plan.known
    count = found.digest.count
    result: Result = "unknown"
    if count:
        result = "acknowledged" if count == found.settled else "tampered"
    elif start and known:
        result = "acknowledged" if known.result == "acknowledged" else "intact_since"
    elif checked:
        result = "intact"
    return StreamReport(
        name=head.stream,
        length=head.length,
        head_hash=cursor.links[0] if cursor.links else head.head_hash,
        checked_from=start if checked else None,
        checked_to=cursor.sequence - 1 if checked else None,
        entries_checked=checked,
        findings=tuple(found.kept),
        findings_total=count,
        findings_digest=found.digest.hexdigest() if count else None,
        result=result,
        based_on=known.label if start and known else None,
        key=plan.stream_id,
    )


def _validate(row: Row, stream: str, modules: Sequence[stream_modules.Module]) -> Iterator[Problem]:
    entry = apps.get_model("nucleus_ledger", "Entry")(
        hash=row.hash,
        sequence=row.sequence,
        record_id=row.record_id,
        timestamp=row.timestamp,
        payload=row.payload,
        meta=row.meta,
        prev_hash=row.prev_hash,
        serialized=row.serialized,
    )
    entry._state.adding = False
    yield from stream_modules.validate(entry, stream, modules)
