"""Verifies the ledger when a server process starts, and refuses to start on a broken one.

The workers of a server share one verification: the first to take the lease does it, the others
wait, serve nothing meanwhile, and rely on its result while that is young enough.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from django.apps import apps
from django.db import Error as DatabaseError
from django.db import IntegrityError, OperationalError, connections

from nucleus_ledger import (
    guards,
    processes,
    reliance,
    rowsource,
    startup_lease,
    stored_breaks,
    verification,
)
from nucleus_ledger.conf import conf
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.evidence import against
from nucleus_ledger.routing import ledger_alias

if TYPE_CHECKING:
    from nucleus_ledger.core.chain import Finding
    from nucleus_ledger.core.report import Report
    from nucleus_ledger.models import Verification

logger = logging.getLogger("nucleus_ledger.startup")

_RENEW_SECONDS = 15
_TABLES = ("nucleus_ledger_entry", "nucleus_ledger_stream", "nucleus_ledger_verification")
_SHOWN = 3
_ATTEMPTS = 5  # at a lease that nobody holds: between two looks somebody may have let go of it
_RELIED = "the ledger was verified lately by another process: relying on that"

_lock = threading.Lock()
_outcomes: dict[int, BaseException | None] = {}


def verify_once() -> None:
    """Verify once in this process; raises again what the first call raised.

    Raises `IntegrityFailed` for a broken chain, and Django's database errors where
    `STARTUP_ON_ERROR` says so. Runs in a thread of its own with its own connection, because an
    ASGI server builds its middleware inside a running event loop.
    """
    if conf.verify_on_startup == "off" or (in_test_runner() and not conf.startup_in_tests):
        return
    with _lock:
        process = os.getpid()  # a child forked after this has an answer of its own to find
        if process not in _outcomes:
            thread = threading.Thread(target=_run, args=(process,), name="nucleus-ledger-startup")
            thread.start()
            thread.join()
            processes.close_idle()  # those of the site's own start, for the same reason
        outcome = _outcomes[process]
    if outcome is not None:
        raise outcome


def check(using: str) -> None:
    """Verify one database as the settings say, sharing the work with other processes."""
    processes.own(using)
    if conf.has_ledger_per_connection:
        logger.warning(
            "LEDGER_ID is a function of the connection: at startup only that ledger is verified "
            "which a new connection to %r is in; put `verify_ledger` of the others in front of "
            "the server (docs/integration.md, Tenants)",
            using,
        )
    if not _migrated(using):
        logger.warning("the ledger's tables are not migrated in %r: nothing is verified", using)
        return
    if conf.verify_on_startup == "off":
        return
    wait, attempts = startup_lease.Wait(), 0
    while True:
        _refuse_known_break(using)
        mode, why = what_to_read(using)
        if _verified_lately(using, mode):
            _rely(using)
            return
        try:
            run = startup_lease.take(using, mode)
        except IntegrityError as exc:
            if startup_lease.is_held(using):
                wait.a_moment(using)
                continue
            attempts += 1
            startup_lease.take_from_the_dead(using)
            if attempts < _ATTEMPTS:
                continue
            run = None
            _tell_unstored(exc)
        except DatabaseError as exc:
            if not rowsource.answers(connections[using]):
                raise
            run = None
            _tell_unstored(exc)
        break
    if run is not None and _verified_lately(using, mode):
        run.delete()  # the other process finished between the look and the lease
        _rely(using)
        return
    if why:
        logger.warning("the whole ledger is read before the first request: %s", why)
    _judge(_verify(using, mode, run))


def what_to_read(using: str) -> tuple[Literal["full", "incremental"], str]:
    """Return the mode of a startup verification, and why it is more than the settings ask for.

    What an earlier run found intact is taken as it was only while the guards are in place and the
    last full reading is young. Streams whose stored status does not fit are read in full anyway.
    """
    if conf.verify_on_startup == "full":
        return "full", ""
    standing = guards.inspect(connections[using])
    if not standing.ok:
        return "full", f"guards in the database: {standing}"
    now = datetime.now(UTC)
    age = conf.startup_full_max_age
    statuses = apps.get_model("nucleus_ledger", "StreamStatus")._base_manager.using(using)
    # In one statement: between two, another process may store what it has just read.
    if statuses.exclude(full_at__range=(now - age, now + conf.clock_skew)).exists():
        return "full", f"the last full verification is older than STARTUP_FULL_MAX_AGE ({age})"
    return "incremental", ""


def _tell_unstored(exc: DatabaseError) -> None:
    """Go on without a lease: what keeps a run from being stored must not keep it from reading."""
    logger.warning(
        "the verification at this start cannot be stored, so all of the ledger is read and no "
        "other process can rely on it: %s",
        one_line(exc),
    )


def _run(process: int) -> None:
    try:
        # A server may fork after this: what is open then would be open in each of its workers.
        with processes.nothing_left_open():
            check(ledger_alias())
        _outcomes[process] = None
    except DatabaseError as exc:
        _outcomes[process] = exc if conf.startup_on_error == "refuse" else None
        logger.error("the ledger could not be verified: %s", exc)
    except BaseException as exc:
        _outcomes[process] = exc


def _verify(using: str, mode: Literal["full", "incremental"], run: Verification | None) -> Report:
    renewed = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal renewed
        if run is not None and time.monotonic() - renewed > _RENEW_SECONDS:
            renewed = time.monotonic()
            startup_lease.renew(using, run)

    try:
        return verification.verify(
            using,
            # Where nothing can be stored there is no base to go on from either.
            mode=mode if run is not None else "full",
            progress=progress,
            origin="startup",
            store=run is not None,
            run=run,
            evidence=against.newest(using),
        )
    finally:
        if run is not None:  # a run whose result is stored holds no lease any more
            startup_lease.give_up(using, run)


def _judge(report: Report) -> None:
    if report.result == "tampered":
        raise IntegrityFailed(_message(report.findings))
    if report.errors:
        raise OperationalError(report.errors[0])
    if report.result == "unknown":
        logger.warning("the ledger is empty: there was nothing to verify")
    elif report.result == "acknowledged":
        logger.warning("the ledger is broken; all findings are acknowledged")
    else:
        logger.info("the ledger was verified: %s, %d entries", report.result, report.entries)


def _refuse_known_break(using: str) -> None:
    broken = stored_breaks.known_breaks(using)
    findings = [
        finding
        for each in broken[:_SHOWN]
        for finding in stored_breaks.stored_findings(using, each.known.run, each.stream)
    ]
    if broken:
        message = _message(findings)
        logger.error("%s", message)  # no run will: what an earlier one stored is enough
        raise IntegrityFailed(message)


def _message(findings: Iterable[Finding]) -> str:
    shown = list(findings)
    places = "; ".join(
        f"stream {finding.stream!r} at sequence {finding.sequence}: {finding.kind}"
        for finding in shown[:_SHOWN]
    )
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    restored = (
        ". Where an older database was put back: `manage.py checkpoint_ledger --accept-restore "
        "REASON`, then `manage.py verify_ledger` (docs/operations.md, A backup was put back)"
    )
    return (
        f"the ledger is broken, so this process answers no request: {places}{more}. "
        "Look with `manage.py verify_ledger`; `manage.py acknowledge_findings STREAM --reason …` "
        "puts the findings on record and lets the site start"
        f"{restored if any(each.kind == 'checkpoint_mismatch' for each in shown) else ''}"
    )


def _rely(using: str) -> None:
    """Rely on a young run of another process; raises `IntegrityFailed` for a break stored since.

    Who found it also made the statuses young, and so what is to be read here less: an older run,
    which found nothing, would do.
    """
    _refuse_known_break(using)
    logger.info(_RELIED)


def _verified_lately(using: str, mode: str) -> bool:
    modes = ["full"] if mode == "full" else ["full", "incremental"]
    return bool(
        reliance.reliable_runs(
            using,
            origin="startup",
            modes=modes,
            max_age=conf.startup_max_age,
            now=datetime.now(UTC),
        )
    )


def _migrated(using: str) -> bool:
    connection = connections[using]
    with connection.cursor() as cursor:
        missing = set(_TABLES) - set(connection.introspection.table_names(cursor))
        if not missing:
            return True
        if not missing & {"nucleus_ledger_entry", "nucleus_ledger_stream"}:
            cursor.execute("SELECT 1 FROM nucleus_ledger_entry LIMIT 1")
            if cursor.fetchone():  # no migration that is still to come leaves that
                raise OperationalError(
                    f"database {using!r} holds entries and lacks {', '.join(sorted(missing))}: "
                    f"run `manage.py migrate --database {using}`; where it was migrated, somebody "
                    "dropped them"
                )
        return False


def in_test_runner() -> bool:
    """Whether Django's test environment is set up: by its own runner, pytest-django or others."""
    utils = sys.modules.get("django.test.utils")
    return hasattr(getattr(utils, "_TestState", None), "saved_data")
