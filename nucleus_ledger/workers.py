"""Checks streams, and ranges of long ones, in several processes, each with its own connection."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import django
from django.db import connections

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

_RANGES_PER_WORKER = 4  # enough that a slow process does not keep the others waiting at the end
SMALLEST_RANGE, _LARGEST_RANGE, _MOST_RANGES = 10_000, 500_000, 1000

logger = logging.getLogger("nucleus_ledger.verification")


def check_streams(
    using: str,
    plans: Sequence[Plan],
    options: Options,
    workers: int,
    progress: Callable[[int], None],
) -> Iterator[tuple[StreamReport, list[Problem], set[int]]]:
    """Yield each stream's report with the ids of the processes that made it, as they come in.

    Long streams are read in ranges, and go first, so that no process is left alone with one at
    the end. Stops handing out work after the first finding where the options say so. Raises
    `concurrent.futures.BrokenExecutor` where a process dies.
    """
    connection: Any = connections[using]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise InvalidData("several processes cannot read a database in memory: use one worker")
    ordered = sorted(plans, key=entries_of, reverse=True)
    size = sum(map(entries_of, plans)) // (workers * _RANGES_PER_WORKER)
    size = min(max(size, SMALLEST_RANGE), _LARGEST_RANGE)
    # Not fork: a forked child would share this process's connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=_prepare, initargs=(using, connection.settings_dict)
    ) as pool:
        waiting: dict[Future[Any], tuple[int, int]] = {}
        pieces: dict[int, list[Piece]] = {}
        for index, plan in enumerate(ordered):
            parts = ranges(plan, size)
            if len(parts) < 2:
                waiting[pool.submit(_check, using, plan, options)] = index, 1
                continue
            for start, end in parts:
                future = pool.submit(check_range, using, plan, options, start, end)
                waiting[future] = index, len(parts)
        for future in as_completed(waiting):
            index, wanted = waiting.pop(future)
            if future.cancelled():
                continue
            result = future.result()
            if isinstance(result, Piece):
                progress(result.after.checked)
                found = pieces.setdefault(index, [])
                found.append(result)
                if len(found) < wanted:
                    continue
                found = sorted(pieces.pop(index), key=attrgetter("start"))
                report, problems = check_stream(using, ordered[index], options, pieces=found)
                processes = {piece.process for piece in found}
            else:
                report, problems, process = result
                progress(report.entries_checked)
                processes = {process}
            logger.info("stream %s checked in processes %s", report.name, sorted(processes))
            yield report, problems, processes
            if options.fail_fast and report.findings_total:
                pool.shutdown(wait=False, cancel_futures=True)


def entries_of(plan: Plan) -> int:
    """Return how many entries a check of the plan reads, as far as the stream's row tells."""
    length = plan.head.length if type(plan.head.length) is int else 0
    return max(length - first_entry(plan), 0)


def ranges(plan: Plan, size: int) -> list[tuple[int, int]]:
    """Cut what is to be read of a stream; acknowledged findings need one walk over all of it."""
    if plan.acknowledged or type(plan.head.length) is not int:
        return []
    size = max(size, entries_of(plan) // _MOST_RANGES)  # a tampered length may be any number
    starts = range(first_entry(plan), plan.head.length, size)
    return list(pairwise([*starts, plan.head.length]))


def _prepare(using: str, settings_dict: dict[str, Any]) -> None:
    """Set a new process up against the very database of its parent, a test's one included."""
    django.setup()
    connections.databases[using] = settings_dict


def _check(using: str, plan: Plan, options: Options) -> tuple[StreamReport, list[Problem], int]:
    report, problems = check_stream(using, plan, options)
    return report, problems, os.getpid()
