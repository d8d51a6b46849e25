"""Checks streams, and ranges of long ones, in several processes, each with its own connection."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import django
from django.db import connections

from nucleus_ledger import rowsource
from nucleus_ledger.checking import (
    Options,
    Piece,
    Plan,
    check_range,
    check_stream,
    first_entry,
)
from nucleus_ledger.errors import InvalidData

if TYPE_CHECKING:
    from nucleus_ledger.core.report import Problem, StreamReport

# The pool hands a process its next two ranges ahead of time, which nobody can take from it at the
# end: so they are many, and small.
_RANGES_PER_WORKER = 64
SMALLEST_RANGE, _LARGEST_RANGE, _MOST_RANGES = 5_000, 500_000, 1000

logger = logging.getLogger("nucleus_ledger.verification")

_Part = tuple[int, int] | None  # a range of a stream, or the whole of it
_Task = tuple[int, _Part]  # with the index of its plan
_Result = Piece | tuple["StreamReport", "list[Problem]"]


def check_streams(
    using: str,
    plans: Sequence[Plan],
    options: Options,
    workers: int,
    progress: Callable[[int], None],
) -> Iterator[tuple[StreamReport, list[Problem], set[int]]]:
    """Yield each stream's report with the ids of the processes that made it, as they come in.

    Requires two `workers` at least, of which this process is one. Long streams are read in
    ranges, and go first, so that no process is left alone with one at the end. Stops after the
    first finding where the options say so. Raises `concurrent.futures.BrokenExecutor` where a
    process dies.
    """
    connection: Any = connections[using]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise InvalidData("several processes cannot read a database in memory: use one worker")
    ordered = sorted(plans, key=entries_of, reverse=True)
    size = sum(map(entries_of, plans)) // (workers * _RANGES_PER_WORKER)
    size = min(max(size, SMALLEST_RANGE), _LARGEST_RANGE)
    parts: list[Sequence[_Part]] = [ranges(plan, size) or [None] for plan in ordered]
    tasks = [(index, part) for index, each in enumerate(parts) for part in each]
    pieces: dict[int, list[Piece]] = {}
    for index, result, process in _results(using, ordered, options, workers, tasks):
        if isinstance(result, Piece):
            progress(result.after.checked)
            found = pieces.setdefault(index, [])
            found.append(result)
            if len(found) < len(parts[index]):
                continue
            found = sorted(pieces.pop(index), key=attrgetter("start"))
            report, problems = check_stream(using, ordered[index], options, pieces=found)
            processes = {piece.process for piece in found}
        else:
            report, problems = result
            progress(report.entries_checked)
            processes = {process}
        logger.info("stream %s checked in processes %s", report.name, sorted(processes))
        yield report, problems, processes
        if options.fail_fast and report.findings_total:
            return


def _results(
    using: str,
    plans: Sequence[Plan],
    options: Options,
    workers: int,
    tasks: Sequence[_Task],
) -> Iterator[tuple[int, _Result, int]]:
    """Yield what comes of the tasks, with its plan's index and its process.

    This process takes tasks from the end while the others begin at the front, so that nobody
    waits for them to start.
    """
    # Not fork: a forked child would share this process's connections.
    context = multiprocessing.get_context("spawn")
    settings_dict = connections[using].settings_dict
    pool = ProcessPoolExecutor(
        workers - 1, context, initializer=_prepare, initargs=(using, settings_dict)
    )
    try:
        waiting: dict[Future[tuple[_Result, int]], _Task] = {
            pool.submit(_check, using, plans[index], options, part): (index, part)
            for index, part in tasks
        }
        while waiting:
            own = next((future for future in reversed(waiting) if future.cancel()), None)
            if own is not None:
                index, part = waiting.pop(own)
                yield (index, *_check(using, plans[index], options, part))
            else:
                wait(waiting, return_when=FIRST_COMPLETED)
            for future in [future for future in waiting if future.done()]:
                yield (waiting.pop(future)[0], *future.result())
    finally:
        pool.shutdown(cancel_futures=True)


def entries_of(plan: Plan) -> int:
    """Return how many entries a check of the plan reads, as far as the stream's row tells."""
    length = plan.head.length if type(plan.head.length) is int else 0
    return max(length - first_entry(plan), 0)


def ranges(plan: Plan, size: int) -> list[tuple[int, int]]:
    """Cut what is to be read of a stream.

    Acknowledged findings, and the tree that checkpoints commit to, need one walk over all of it.
    """
    if plan.acknowledged or plan.expected or type(plan.head.length) is not int:
        return []
    size = max(size, entries_of(plan) // _MOST_RANGES)  # a tampered length may be any number
    starts = range(first_entry(plan), plan.head.length, size)
    return list(pairwise([*starts, plan.head.length])) if len(starts) > 1 else []


def _prepare(using: str, settings_dict: dict[str, Any]) -> None:
    """Set a new process up against the very database of its parent, a test's one included."""
    django.setup()
    connections.databases[using] = settings_dict


def _check(using: str, plan: Plan, options: Options, part: _Part) -> tuple[_Result, int]:
    """Check a stream, or a part of one."""
    if part is None:
        return check_stream(using, plan, options), os.getpid()
    try:
        return check_range(using, plan, options, *part), os.getpid()
    except Exception:
        if not rowsource.answers(connections[using]):
            raise
        logger.exception("stream %r: entries %s to %s", plan.head.stream, *part)
        return Piece.unread(*part), os.getpid()
