"""Checks one stream in the database with the walk of `core.chain`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db import connections

from nucleus_ledger import acknowledgements, rowsource
from nucleus_ledger.acknowledgements import Acknowledgement
from nucleus_ledger.core.chain import (
    Cursor,
    Finding,
    FindingsDigest,
    Head,
    judge_head,
)
from nucleus_ledger.core.manifestlog import Expectation, Follower, mismatch
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.registration import LateEntries
from nucleus_ledger.core.report import (
    Assurance,
    Problem,
    StreamReport,
    with_late_entries,
)
from nucleus_ledger.core.shown import evidence
from nucleus_ledger.core.transition import Result
from nucleus_ledger.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("nucleus_ledger.verification")


@dataclass(frozen=True, slots=True)
class Base:
    """What an earlier verification of a stream stored: how far it came, and the hash there.

    `seen_length` and `seen_hash` are of the last one that found nothing, which a break that was
    found since may contradict.
    """

    length: int
    head_hash: str | None
    result: str
    label: str
    seen_length: int = 0
    seen_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check of one stream. Can be pickled: a worker process gets nothing else."""

    stream_id: int | None
    head: Head
    known: Base | None = None
    incremental: bool = False
    acknowledged: tuple[Acknowledgement, ...] = ()
    expected: Expectation | None = None


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
    # Digest of what the walk alone found, and what came of holding the stream against the rest.
    walked: str | None = None
    outside: list[str] = field(default_factory=list)
    evident: bool = False

    def add(self, finding: Finding) -> None:
        self.digest.add(finding)
        if len(self.kept) < self.limit:
            self.kept.append(finding)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a walk over start <= sequence < end of a stream found, and the cursors at both ends.

    Its beginning rests on the entry before it being what it seems: it holds for a walk that comes
    to `start` with a cursor equal to `before`. Not `complete` where findings were left out.
    """

    start: int
    end: int
    before: Cursor
    after: Cursor
    findings: tuple[Finding, ...]
    problems: tuple[Problem, ...]
    complete: bool
    process: int

    @classmethod
    def unread(cls, start: int, end: int) -> Piece:
        """A part that could not be read: whoever joins the pieces tries, and says why."""
        nowhere = Cursor.at(start)
        return cls(start, end, nowhere, nowhere, (), (), complete=False, process=os.getpid())


class _Enough(Exception):
    """The first finding of a run that is to stop there."""


def _no_progress(_entries: int) -> None:
    pass


class StreamCheck:
    """The check of one stream. It can stop between rows, and go on from where it stood.

    Where it stands are `low` (every sequence below it was read), `cursor`, `found`, `judged` (how
    many of the plan's acknowledgements were come by), `follower`, which holds the entries against
    checkpoints, and `late`, which holds their times against them. `observe` is handed all windows
    that are read, where nothing is held against checkpoints.
    """

    def __init__(
        self,
        using: str,
        plan: Plan,
        options: Options,
        progress: Callable[[int], None] = _no_progress,
        observe: Callable[[Window], None] | None = None,
    ) -> None:
        self._using, self.plan, self._options = using, plan, options
        self.start = self.low = first_entry(plan)
        self.follower: Follower | None = None
        self.late: LateEntries | None = None
        if plan.expected:
            self.late = LateEntries(plan.head.stream, plan.expected, options.limit)
            observe = self._hold_against
        if plan.expected and not self.start:
            self.follower = Follower(plan.head.stream, plan.expected)
        self._reader = StreamReader(using, plan, options, progress, observe)
        self.cursor = _cursor(plan, self.start)
        self.found = Collected(options.limit)
        self.judged = 0
        self.error = ""

    @property
    def problems(self) -> list[Problem]:
        return self._reader.problems

    def read(self, most: int | None = None) -> bool:
        """Read on, over `most` sequence numbers at most, and return whether the end is reached."""
        end = None if most is None else self.low + most
        for acknowledgement in self.plan.acknowledged[self.judged :]:
            boundary = acknowledgement.head
            if boundary.length >= self.low and not (self.plan.incremental and self.start):
                if not self._read_to(boundary.length, end):
                    return False
                self._settle(acknowledgement)
            self.judged += 1
        return self._read_to(self.plan.head.length, end)

    def advance(self, most: int | None = None) -> bool:
        """Read on as `read` does, conclude at the end, and return whether the check is over.

        It is, with an `error`, where a row brings out what nobody thought of.
        """
        with self.unforeseen():
            if not self.read(most):
                return False
            self.conclude()
        return True

    @contextmanager
    def unforeseen(self) -> Iterator[None]:
        """Let a fault of ours that a tampered row brings out end the check of its stream alone."""
        try:
            yield
        except (_Enough, DatabaseError):
            raise
        except Exception as exc:
            self.fail(exc)

    def fail(self, exc: Exception) -> None:
        """Give the check up; requires to be called where the exception is handled."""
        name, done = self.plan.head.stream, self.cursor.checked
        logger.exception("stream %r: not checked beyond %s entries", name, done)
        told = f"{type(exc).__name__}: {exc}".strip()[:300]
        self.error = f"stream {name!r}: not checked beyond {done} entries: {told}"

    def join(self, pieces: Iterable[Piece]) -> None:
        """Go on with what other processes found, from `low` to the stream's length.

        Pieces that do not hold are read again here, so that the findings are those of one walk.
        """
        for piece in pieces:
            if piece.complete and piece.before == self.cursor:
                self._take(piece.findings)
                self.problems.extend(piece.problems)
                checked = self.cursor.checked + piece.after.checked
                self.cursor = replace(piece.after, checked=checked)
            else:
                self._take(self._reader.walk(piece.start, piece.end, self.cursor))
            self.low = piece.end

    def conclude(self) -> None:
        """Judge the head, and what an earlier verification saw; requires that all was read."""
        self._take([judge_head(self.plan.head, self.cursor, self._reader.rules)])
        self.found.walked = self.found.digest.hexdigest()
        if not self.found.digest.count:
            self._take_outside([_differs_from_known(self._using, self.plan)])
        if self.follower:
            self.follower.conclude()
            self._take_outside(self.follower.findings)
        elif self.plan.expected:
            self._take_outside(_heads_that_differ(self._using, self.plan, self.plan.expected))

    def report(self) -> StreamReport:
        expected = self.plan.expected
        report = _report(self.plan, self.found, self.start, self.cursor)
        if self.error:  # what was found is told; what was not read is unknown
            result: Result = "tampered" if report.result == "tampered" else "unknown"
            report = replace(report, result=result, error=self.error)
        report = with_late_entries(report, self.late, expected)
        if self.error:  # no checkpoint was compared to its end
            return report
        if self.follower is None or expected is None or not expected.recorded:
            return report
        if not self.follower.fits or not expected.length:
            return report
        assurance: Assurance = "witnessed" if expected.witnessed else "checkpoint"
        return replace(report, assurance=assurance, assured_through=expected.length - 1)

    def _hold_against(self, window: Window) -> None:
        if self.follower:
            self.follower.feed(window)
        if self.late:
            self.late.feed(window)

    def _read_to(self, stop: Any, end: int | None) -> bool:
        """Read to `stop`, or to `end` if that comes first; a tampered length is any value."""
        if end is None:
            self._take(self._reader.walk(self.low, stop, self.cursor))
            self.low = stop
            return True
        last = stop if type(stop) is int else rowsource.BEYOND_ALL
        if self.low < last:
            high = min(end, last)
            before = self.cursor.checked
            self._take(self._reader.walk(self.low, high, self.cursor))
            self.low = high
            if self.cursor.checked == before and high < last:  # a hole: over it at once
                following = rowsource.first_at(
                    connections[self._using], self.plan.stream_id, high, last
                )
                self.low = last if following is None else following
        return self.low >= last

    def _settle(self, acknowledgement: Acknowledgement) -> None:
        boundary, found = acknowledgement.head, self.found
        broken = judge_head(boundary, self.cursor, self._reader.rules)
        self._take([broken])
        if found.digest.hexdigest() == acknowledgement.digest:
            found.settled = found.digest.count
        if broken:  # what was appended since follows the head as it stood then
            self.cursor = Cursor(
                boundary.length,
                (boundary.head_hash,),
                boundary.head_timestamp,
                checked=self.cursor.checked,
            )

    def _take_outside(self, findings: Iterable[Finding | None]) -> None:
        """Take what the chain alone does not show, and settle what of it is on record."""
        on_record = {each for known in self.plan.acknowledged for each in known.outside}
        for finding in findings:
            if finding is None:
                continue
            found_by = acknowledgements.found_by(finding)
            self.found.outside.append(found_by)
            self.found.evident |= finding.kind == "checkpoint_mismatch"
            self.found.settled += found_by in on_record
            self._take([finding])

    def _take(self, findings: Iterable[Finding | None]) -> None:
        for finding in findings:
            if finding:
                self.found.add(finding)
                # Where findings are acknowledged only all of them together can be judged.
                if self._options.fail_fast and not self.plan.acknowledged:
                    raise _Enough


def check_stream(
    using: str,
    plan: Plan,
    options: Options,
    progress: Callable[[int], None] = _no_progress,
    pieces: Sequence[Piece] = (),
) -> tuple[StreamReport, list[Problem]]:
    """Read a stream as planned and return what was found, and the problems its modules see.

    `pieces` are what other processes found of its ranges, from `first_entry` to its length.
    """
    check = StreamCheck(using, plan, options, progress)
    try:
        with check.unforeseen():
            check.join(pieces)
            check.advance()
    except _Enough:
        pass
    except DatabaseError as exc:
        if not rowsource.answers(connections[using]):
            raise
        check.fail(exc)  # one damaged page hides no other stream
    return check.report(), check.problems


def check_range(using: str, plan: Plan, options: Options, start: int, end: int) -> Piece:
    """Read a part of a stream that has no acknowledged findings; see `Piece`."""
    reader = StreamReader(using, plan, options, _no_progress)
    if start == first_entry(plan):
        cursor = _cursor(plan, start)
    else:
        cursor = Cursor.at(start - 1)
        before = StreamReader(using, plan, replace(options, validate=False), _no_progress)
        for _finding in before.walk(start - 1, start, cursor):
            pass  # told by the walk over the range that this entry is in
        cursor.checked = 0
    before_it = replace(cursor, runs=dict(cursor.runs))
    kept: list[Finding] = []
    complete = True
    for finding in reader.walk(start, end, cursor):
        if len(kept) == options.limit or options.fail_fast:
            complete = False
            break
        kept.append(finding)
    return Piece(
        start,
        end,
        before_it,
        cursor,
        tuple(kept),
        tuple(reader.problems),
        complete,
        os.getpid(),
    )


def first_entry(plan: Plan) -> int:
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
    if known is None or not known.seen_length:
        return None
    last = known.seen_length - 1
    actual = rowsource.read_hash(connections[using], plan.stream_id, last)
    if actual == known.seen_hash:
        return None
    return Finding(
        "head_mismatch",
        plan.head.stream,
        last,
        None,
        (),
        known.seen_hash,
        evidence(actual),
        "the entry is not the one that an earlier verification saw there",
    )


def _heads_that_differ(using: str, plan: Plan, expected: Expectation) -> Iterator[Finding]:
    """Hold the entries where checkpoints end against them, where not all entries are read.

    The first difference tells: all marks behind it differ too, unless somebody forged a hash.
    """
    for mark in expected.marks:
        head = mark.head
        if head is None or not head.length:
            continue
        actual = rowsource.read_hash(connections[using], plan.stream_id, head.length - 1)
        if actual != head.head_hash:
            yield mismatch(head, mark.first, {"head_hash": evidence(actual)}, expected.notes)
            return


def _report(plan: Plan, found: Collected, start: int, cursor: Cursor) -> StreamReport:
    head, known, checked = plan.head, plan.known, cursor.checked
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
        length=head.length if type(head.length) is int else evidence(head.length),
        head_hash=evidence(cursor.links[0] if cursor.links else head.head_hash),
        checked_from=start if checked else None,
        checked_to=cursor.sequence - 1 if checked else None,
        entries_checked=checked,
        findings=tuple(found.kept),
        findings_total=count,
        findings_digest=found.digest.hexdigest() if count else None,
        walked=found.walked,
        outside=tuple(found.outside),
        evident=found.evident,
        on_record=tuple(each.lifts for each in plan.acknowledged if each.lifts is not None),
        result=result,
        based_on=known.label if start and known else None,
        key=plan.stream_id,
    )
