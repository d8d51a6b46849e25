"""What can be said of a stream's integrity, by word and shape as well as colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import step_leases
from nucleus_ledger.conf import conf
from nucleus_ledger.console.parts import as_list, asks_for
from nucleus_ledger.models import Stream, StreamStatus, Verification

if TYPE_CHECKING:
    from django.db.models import QuerySet

_STILL_MOVING = timedelta(minutes=1)


# A shape and a word beside the colour: not everybody sees colours, and print has none.
_BADGES = {
    "tampered": ("✖", _("Tampered")),
    "acknowledged": ("◆", _("Acknowledged")),
    "stale": ("◷", _("Stale")),
    "never": ("○", _("Never verified")),
    "intact": ("✔", _("Intact")),
}


_RESULTS = {
    "tampered": _BADGES["tampered"],
    "acknowledged": _BADGES["acknowledged"],
    "intact": _BADGES["intact"],
    "intact_since": ("✔", _("Intact since the one before")),
    "unknown": ("?", _("Not known")),
    "running": ("◔", _("Verifying")),
}


def status_of(stream: Stream) -> StreamStatus | None:
    """Return what the last verification stored of a stream, or None."""
    status: StreamStatus | None = getattr(stream, "status", None)
    return status


def status_name(status: StreamStatus | None, now: datetime) -> str:
    """Return the key of a badge. Only `intact` grows stale: bad news stays what it is."""
    if status is None:
        return "never"
    if status.result == StreamStatus.Result.INTACT and (
        now - status.verified_at > conf.stale_after or now - status.full_at > conf.full_max_age
    ):
        return "stale"
    return str(status.result)


def with_status(name: str, now: datetime) -> Q:
    """Return the condition for streams of which `status_name` is this."""
    if name == "never":
        return Q(status__isnull=True)
    if name == "running":
        return are_under_way(runs_under_way(Stream.objects.db, now))
    intact = Q(status__result=StreamStatus.Result.INTACT)
    old = Q(status__verified_at__lt=now - conf.stale_after) | Q(
        status__full_at__lt=now - conf.full_max_age
    )
    fresh = Q(status__verified_at__gte=now - conf.stale_after) & Q(
        status__full_at__gte=now - conf.full_max_age
    )
    return {"intact": intact & fresh, "stale": intact & old}.get(name, Q(status__result=name))


def status_words() -> list[tuple[str, Any]]:
    """Return the statuses a stream can have, the worst first, and the word for each."""
    words = [(name, word) for name, (_shape, word) in _BADGES.items()]
    return [*words, ("running", _RESULTS["running"][1])]


def totals(streams: QuerySet[Stream]) -> list[tuple[str, SafeString, int]]:
    """Return each status, its badge and how many of the streams have it, in two queries.

    Streams that are read just now are told apart, and count by their stored status too.
    """
    now = datetime.now(UTC)
    conditions = {name: with_status(name, now) for name in _BADGES}
    if runs := runs_under_way(streams.db, now):
        conditions["running"] = are_under_way(runs)
    counted = streams.aggregate(
        **{name: Count("pk", filter=each) for name, each in conditions.items()}
    )
    return [
        (name, result_badge(name) if name == "running" else badge_of(name), counted[name])
        for name in conditions
    ]


def runs_under_way(using: str, now: datetime) -> list[Verification]:
    """Return the verifications that go in steps and made one within the last minute or so."""
    return list(
        Verification.objects.using(using).filter(
            step_leases.is_moving(now, _STILL_MOVING), result=Verification.Result.RUNNING
        )[:20]
    )


def under_way(stream: Stream, runs: Sequence[Verification]) -> Verification | None:
    """Return the one of the runs that has the stream yet to read."""
    status = status_of(stream)
    done = status.verification_id if status else None
    for run in runs:
        if run.pk != done and asks_for(run, stream.name):
            return run
    return None


def are_under_way(runs: Sequence[Verification]) -> Q:
    """Return the condition for streams of which `under_way` gives a run."""
    condition = Q(pk__in=[])
    for run in runs:
        unread = Q(status__isnull=True) | Q(status__verification__isnull=True)
        unread |= ~Q(status__verification=run.pk)
        named = Q() if run.scope is None else Q(name__in=as_list(run.scope))
        condition |= unread & named
    return condition


def tampered_streams() -> QuerySet[Stream]:
    """Return the first few streams that a verification found tampered."""
    found: QuerySet[Stream] = Stream.objects.filter(status__result="tampered")
    return found.order_by("name")[:5]


def under_way_badge(run: Verification, address: str) -> SafeString:
    """Return a badge that leads to the run, whose page is at that address."""
    return format_html(
        ' <a class="ledger-status ledger-status--verifying" href="{}">'
        '<span aria-hidden="true">◔</span> {}</a>',
        address,
        _t("Verifying"),
    )


def badge(status: StreamStatus | None) -> SafeString:
    return badge_of(status_name(status, datetime.now(UTC)))


def result_badge(result: str) -> SafeString:
    """Return a badge for what a run came to."""
    known = result if result in _RESULTS else "unknown"
    return _badge(known, *_RESULTS[known])


def badge_of_run(run: Verification) -> SafeString:
    """Return a badge for a run; one that has not moved for a day is not under way any more."""
    left = step_leases.is_abandoned(run, datetime.now(UTC))
    running = run.result == Verification.Result.RUNNING
    return result_badge("unknown" if running and left else run.result)


def badge_of(name: str) -> SafeString:
    return _badge(name, *_BADGES[name]) if name in _BADGES else result_badge(name)


def _badge(name: str, shape: str, word: Any) -> SafeString:
    return format_html(
        '<span class="ledger-status ledger-status--{}">'
        '<span aria-hidden="true">{}</span> {}</span>',
        name,
        shape,
        word,
    )
