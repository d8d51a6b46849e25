"""Checks streams in several processes, each with its own connection."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import django
from django.db import connections

from nucleus_ledger.checking import Options, Plan, check_stream
from nucleus_ledger.errors import InvalidData

if TYPE_CHECKING:
    from nucleus_ledger.core.report import Problem, StreamReport

logger = logging.getLogger("nucleus_ledger.verification")


def check_streams(
    using: str, plans: Sequence[Plan], options: Options, workers: int
) -> Iterator[tuple[StreamReport, list[Problem], int]]:
    """Yield each stream's report with the id of the process that made it, as they come in.

    Long streams go first, so that no process is left alone with one at the end. Stops handing
    out streams after the first finding where the options say so.
    """
    connection: Any = connections[using]
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise InvalidData("several processes cannot read a database in memory: use one worker")
    ordered = sorted(plans, key=lambda plan: plan.head.length, reverse=True)
    # Not fork: a forked child would share this process's connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=_prepare, initargs=(using, connection.settings_dict)
    ) as pool:
        futures = [pool.submit(_check, using, plan, options) for plan in ordered]
        for future in as_completed(futures):
            if future.cancelled():
                continue
            report, problems, process = future.result()
            logger.info("stream %s checked in process %d", report.name, process)
            yield report, problems, process
            if options.fail_fast and report.findings_total:
                pool.shutdown(wait=False, cancel_futures=True)


def _prepare(using: str, settings_dict: dict[str, Any]) -> None:
    """Set a new process up against the very database of its parent, a test's one included."""
    django.setup()
    connections.databases[using] = settings_dict


def _check(using: str, plan: Plan, options: Options) -> tuple[StreamReport, list[Problem], int]:
    report, problems = check_stream(using, plan, options)
    return report, problems, os.getpid()
