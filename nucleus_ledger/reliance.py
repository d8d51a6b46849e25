"""What may be relied on of what verifications stored: by whom it is, of what, and how old it is.

A time in the future is no time to rely on, wherever it stands: a clock that was ahead for a minute
must not make anything young for a year.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from django.apps import apps
from django.db.models import F, Q

from nucleus_ledger.conf import conf
from nucleus_ledger.row_signatures import changed_statuses, genuine_runs, is_genuine

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from nucleus_ledger.models import Stream, StreamStatus, Verification

Doubt = Literal["changed", "of other entries", "in the future"]
StatusName = Literal["tampered", "acknowledged", "unknown", "stale", "never", "intact"]

_GOOD = ("intact", "intact_since", "acknowledged")
_LOOKED_AT = 20
_MOST_NAMED = 10_000  # keys in a statement; where more were changed, none counts as genuine


def reliable_runs(
    using: str, *, origin: str, modes: Collection[str], max_age: timedelta, now: datetime
) -> list[Verification]:
    """Return the runs over all streams whose result another process may rely on, newest first.

    They ended well within `max_age`, not in the future, and were stored by this site for this very
    ledger. That nothing was changed since is not said. A run over no stream is of no ledger.
    """
    model = apps.get_model("nucleus_ledger", "Verification")
    found = model._base_manager.using(using).filter(
        origin=origin,
        mode__in=list(modes),
        result__in=_GOOD,
        finished_at__gt=now - max_age,
        finished_at__lte=now + conf.clock_skew,
    )
    runs = [run for run in found.order_by("-pk")[:_LOOKED_AT] if run.scope is None and run.streams]
    return genuine_runs(using, runs)


def status_name(status: StreamStatus | None, stream: Stream, now: datetime) -> StatusName:
    """Return what is to be shown of a stream; only `intact` is green.

    Bad news stays what it is, whoever wrote it and however old it is.
    """
    if status is None:
        return "never"
    if status.result == "tampered":
        return "tampered"
    if not is_genuine(status):
        return "unknown"
    if status.result == "acknowledged":
        return "acknowledged"
    if status.result != "intact" or not fits(status, stream):
        return "unknown"
    return "stale" if is_old(status, now) else "intact"


def doubt(status: StreamStatus | None, stream: Stream, now: datetime) -> Doubt | None:
    """Return what keeps a status from being relied on, beside its age."""
    if status is None:
        return None
    if not is_genuine(status):
        return "changed"
    if status.result == "intact" and not fits(status, stream):
        return "of other entries"
    if is_ahead(status.verified_at, now) or is_ahead(status.full_at, now):
        return "in the future"
    return None


def conditions(using: str, now: datetime) -> dict[StatusName, Q]:
    """Return for each status the condition for the streams of which `status_name` says it.

    Signatures cannot be checked by the database: all of them are checked here.
    """
    intact = Q(status__result="intact")
    red = Q(status__result="tampered")
    fit = Q(status__length__lt=F("length")) | Q(
        status__length=F("length"), status__head_hash=F("head_hash")
    )
    young = Q(
        status__verified_at__gte=now - conf.stale_after,
        status__verified_at__lte=now + conf.clock_skew,
        status__full_at__gte=now - conf.full_max_age,
        status__full_at__lte=now + conf.clock_skew,
    )
    changed = changed_statuses(using)
    genuine = ~Q(pk__in=changed) if len(changed) <= _MOST_NAMED else Q(pk__in=[])
    amber = Q(status__result="acknowledged") & genuine
    known = red | amber | (intact & fit & genuine)
    return {
        "tampered": red,
        "acknowledged": amber,
        "unknown": Q(status__isnull=False) & ~known,
        "stale": intact & fit & genuine & ~young,
        "never": Q(status__isnull=True),
        "intact": intact & fit & genuine & young,
    }


def fits(status: StreamStatus, stream: Stream) -> bool:
    """Whether a stream's row can be the one that a genuine status was stored of, or its later."""
    if type(stream.length) is not int or stream.length < status.length:
        return False
    return stream.length > status.length or stream.head_hash == status.head_hash


def is_old(status: StreamStatus, now: datetime) -> bool:
    """Whether nobody looked for `STALE_AFTER`, or read all of it for `FULL_MAX_AGE`."""
    return not _is_within(status.verified_at, now, conf.stale_after) or needs_full(status, now)


def needs_full(status: StreamStatus, now: datetime) -> bool:
    """Whether the last full reading lies too far back for an incremental one to rest on."""
    return not _is_within(status.full_at, now, conf.full_max_age)


def is_ahead(time: datetime | None, now: datetime) -> bool:
    return time is not None and time > now + conf.clock_skew


def _is_within(time: datetime | None, now: datetime, age: timedelta) -> bool:
    return time is not None and now - age <= time <= now + conf.clock_skew
