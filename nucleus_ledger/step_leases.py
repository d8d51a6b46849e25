"""Who may take a verification in steps forward: leases, whose times are never trusted far ahead."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from nucleus_ledger.conf import conf

if TYPE_CHECKING:
    from nucleus_ledger.models import Verification

NAME = "steps:"  # what the name of such a lease begins with
LEASE_TIME = timedelta(seconds=60)
ABANDONED_AFTER = timedelta(days=1)


def is_stepped(run: Verification) -> bool:
    """Whether an unfinished run goes in steps: the command's and the startup's do not."""
    return (run.lease or "").startswith(NAME)


def is_free(now: datetime) -> Q:
    """Return the condition for runs at which nobody is.

    No process takes a lease for longer than `LEASE_TIME`: one that ends later than a clock may be
    off is a dead one's, taken while the clock was ahead.
    """
    over = Q(lease_until__lte=now) | Q(lease_until__gt=_latest(now))
    return over | Q(lease_until__isnull=True)


def is_moving(now: datetime, within: timedelta) -> Q:
    """Return the condition for runs of which a step was made lately."""
    return Q(lease__startswith=NAME, lease_until__gte=now - within, lease_until__lte=_latest(now))


def is_abandoned(run: Verification, now: datetime) -> bool:
    """Whether nobody took an unfinished run forward for a day, or its times tell nothing."""
    moved = run.lease_until or run.started_at
    return moved is None or not now - ABANDONED_AFTER < moved <= _latest(now)


def _latest(now: datetime) -> datetime:
    return now + LEASE_TIME + conf.clock_skew
