"""What can be said of a stream's integrity, by word and shape as well as colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import reliance, step_leases
from nucleus_ledger.console.parts import as_list, asks_for
from nucleus_ledger.models import Stream, StreamStatus, Verification
from nucleus_ledger.reliance import StatusName, status_name
from nucleus_ledger.row_signatures import genuine_runs

if TYPE_CHECKING:
    from django.db.models import QuerySet

_STILL_MOVING = timedelta(minutes=1)


# A shape and a word beside the colour: not everybody sees colours, and print has none.
_BADGES: dict[StatusName, tuple[str, Any]] = {
    "tampered": ("✖", _("Tampered")),
    "acknowledged": ("◆", _("Acknowledged")),
    "unknown": ("?", _("Not known")),
    "stale": ("◷", _("Stale")),
    "never": ("○", _("Never verified")),
    "intact": ("✔", _("Intact")),
}


_RESULTS: dict[str, tuple[str, Any]] = {
    "tampered": _BADGES["tampered"],
    "acknowledged": _BADGES["acknowledged"],
    "intact": _BADGES["intact"],
    "intact_since": ("✔", _("Intact since the one before")),
    "unknown": _BADGES["unknown"],
    "running": ("◔", _("Verifying")),
}


def status_of(stream: Stream) -> StreamStatus | None:
    """Return what the last verification stored of a stream, or None."""
    status: StreamStatus | None = getattr(stream, "status", None)
    return status


def with_status(name: str, now: datetime) -> Q:
    """Return the condition for streams with a status: `reliance.status_name` says which."""
    if name == "running":
        return are_under_way(runs_under_way(Stream.objects.db, now))
    found = reliance.conditions(Stream.objects.db, now)
    return next((each for known, each in found.items() if known == name), Q(pk__in=[]))


def status_words() -> list[tuple[str, Any]]:
    """Return the statuses a stream can have, the worst first, and the word for each."""
    words = [(name, word) for name, (_shape, word) in _BADGES.items()]
    return [*words, ("running", _RESULTS["running"][1])]


def totals(streams: QuerySet[Stream]) -> list[tuple[str, SafeString, int]]:
    """Return each status, its badge and how many of the streams have it.

    Streams that are read just now are told apart, and count by their stored status too.
    """
    now = datetime.now(UTC)
    known = reliance.conditions(streams.db, now)
    conditions: dict[str, Q] = {name: known[name] for name in _BADGES}
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


def badge(stream: Stream) -> SafeString:
    """Return the badge of a stream; only what can be relied on is green."""
    return badge_of(status_name(status_of(stream), stream, datetime.now(UTC)))


def result_badge(result: str) -> SafeString:
    """Return a badge for what a run came to."""
    known = result if result in _RESULTS else "unknown"
    return _badge(known, *_RESULTS[known])


def badge_of_run(run: Verification) -> SafeString:
    """Return a badge for a run; one that has not moved for a day is not under way any more.

    A good result that this site did not store, or that somebody changed, is not known.
    """
    if run.result == Verification.Result.RUNNING:
        left = step_leases.is_abandoned(run, datetime.now(UTC))
        return result_badge("unknown" if left else run.result)
    bad = run.result == Verification.Result.TAMPERED
    return result_badge(run.result if bad or is_genuine_run(run) else "unknown")


def is_genuine_run(run: Verification) -> bool:
    """Whether this site stored the run's result; asked once for each instance."""
    if not hasattr(run, "is_genuine"):
        mark_genuine(str(run._state.db), [run])
    return bool(getattr(run, "is_genuine", False))


def mark_genuine(using: str, runs: Iterable[Verification]) -> None:
    """Find out at once which of the runs `is_genuine_run` holds for."""
    listed = list(runs)
    genuine = {run.pk for run in genuine_runs(using, listed)}
    for run in listed:
        run.is_genuine = run.pk in genuine  # type: ignore[attr-defined]


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
