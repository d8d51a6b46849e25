"""The lease by which the processes of a site share one verification at their start.

A lease lies at most `LEASE_TIME` ahead of now, because its holder renews it while it reads. One
that ran out, or that lies further ahead, is the lease of a process that died or of a clock that
was wrong: it is there to be taken. So nobody waits for a dead process longer than that.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.apps import apps
from django.db.models import Q

from nucleus_ledger import statuses

if TYPE_CHECKING:
    from nucleus_ledger.models import Verification

logger = logging.getLogger("nucleus_ledger.startup")

LEASE = "startup"
LEASE_TIME = timedelta(seconds=60)
_SKEW = timedelta(seconds=5)  # between the clocks of hosts that share a database
_POLL_SECONDS = 0.2
_TELL_SECONDS = 30


def take(using: str, mode: str) -> Verification | None:
    """Return a new run that holds the lease; None on a read-only database.

    Raises `IntegrityError` where another process holds it.
    """
    now = datetime.now(UTC)
    return statuses.begin(
        using,
        started_at=now,
        origin="startup",
        mode=mode,
        lease=LEASE,
        lease_until=now + LEASE_TIME,
    )


def renew(using: str, run: Verification) -> None:
    _verifications(using).filter(pk=run.pk).update(lease_until=datetime.now(UTC) + LEASE_TIME)


def give_up(using: str, run: Verification) -> None:
    """Let go of a run's lease, if it still holds one."""
    _let_go(using, Q(pk=run.pk))


def is_held(using: str) -> bool:
    """Whether somebody who can be alive holds the lease."""
    return bool(_verifications(using).filter(_living(), lease=LEASE).exists())


def take_from_the_dead(using: str) -> bool:
    """Let go of a lease whose holder cannot be alive; return whether there was one."""
    return bool(_let_go(using, ~_living() | Q(lease_until__isnull=True)))


class Wait:
    """Waiting for the process that holds the lease; says at WARNING for whom, and how long."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told: float | None = None

    def a_moment(self, using: str) -> None:
        now = time.monotonic()
        if self._told is None or now - self._told >= _TELL_SECONDS:
            self._told = now
            run = _verifications(using).filter(lease=LEASE).values_list("pk", flat=True).first()
            logger.warning(
                "another process verifies the ledger (verification %s): waiting for it since %d s, "
                "answering no request meanwhile; if it died, its lease runs out in %d s at most",
                run,
                now - self._began,
                LEASE_TIME.total_seconds(),
            )
        time.sleep(_POLL_SECONDS)


def _living() -> Q:
    now = datetime.now(UTC)
    return Q(lease_until__range=(now, now + LEASE_TIME + _SKEW))


def _let_go(using: str, which: Q) -> int:
    count: int = (
        _verifications(using)
        .filter(which, lease=LEASE)
        .update(lease=None, lease_until=None, result="unknown", finished_at=datetime.now(UTC))
    )
    return count


def _verifications(using: str):  # type: ignore[no-untyped-def]
    return apps.get_model("nucleus_ledger", "Verification")._base_manager.using(using)
