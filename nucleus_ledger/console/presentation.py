"""Streams and entries as the admin shows them, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import reliance
from nucleus_ledger.console import foldeddocument
from nucleus_ledger.console.addresses import Addresses
from nucleus_ledger.console.badges import badge_of_run, mark_genuine, result_badge, status_of
from nucleus_ledger.console.parts import (
    ago,
    asks_for,
    at_time,
    is_number,
    paragraphs,
    preformatted,
    table,
)
from nucleus_ledger.core.visible import visible, visible_json
from nucleus_ledger.models import Finding, Stream, StreamStatus, Verification

SHOWN_RUNS, _LOOKED_AT = 10, 100


def last_verified(stream: Stream) -> str:
    """Return how old a stream's status is, by whom, and the last full reading if that is older."""
    status = status_of(stream)
    if status is None:
        return "–"
    now = datetime.now(UTC)
    latest, full = ago(status.verified_at, now), ago(status.full_at, now)
    run = status.verification
    by = ""
    if run is not None:
        by = f" ({run.get_mode_display()}, {visible(by_whom(run))})"
    if status.full_at == status.verified_at:
        return latest + by
    return _t("%(latest)s, in full %(full)s") % {"latest": latest, "full": full} + by


def entries_since(stream: Stream) -> str:
    """Return how many entries no verification has read, or that the stream has become shorter."""
    status = status_of(stream)
    verified = 0 if status is None else status.length
    if not is_number(stream.length) or not is_number(verified):
        return _t("not a number")
    since = stream.length - verified
    if since < 0:
        return _t("%(count)s fewer than were verified") % {"count": -since}
    return str(since)


def what_was_checked(stream: Stream, addresses: Addresses) -> SafeString:
    """Say in plain words what a stream's status rests on, and what it does not show."""
    status = status_of(stream)
    if status is None:
        return paragraphs([_t("No verification has read this stream yet.")])
    run = status.verification
    by = ""
    if run is not None:
        by = format_html(
            "{} ({}, {})",
            addresses.verification_link(run.pk),
            run.get_mode_display(),
            visible(by_whom(run)),
        )
    now = datetime.now(UTC)
    read = format_html(
        "{} {}",
        by or _t("A verification"),
        _t("began at %(time)s (%(age)s) and covers the first %(length)s entries.")
        % {
            "time": at_time(status.verified_at),
            "age": ago(status.verified_at, now),
            "length": status.length,
        },
    )
    full = _t(
        "The last run that read every one of them began at %(time)s (%(age)s): it recomputed "
        "each hash and compared each column, link, sequence and time, and the stream's head."
    ) % {"time": at_time(status.full_at), "age": ago(status.full_at, now)}
    doubt = reliance.doubt(status, stream, now)
    said = [str(_DOUBTS[doubt])] if doubt else []
    return paragraphs([*said, read, full, _limits(status)])


_DOUBTS: dict[reliance.Doubt, Any] = {
    "changed": _(
        "This status is not the one that a verification stored: it was changed in the database, or "
        "the site's key (SECRET_KEY) was. It counts for nothing: verify again."
    ),
    "of other entries": _(
        "This status is of entries that the stream does not have any more: verify again."
    ),
    "in the future": _(
        "This status is of a time in the future, so it counts as old: set the clock and verify "
        "again."
    ),
}


def _limits(status: StreamStatus) -> str:
    """Say what was held against what, and what that does not show."""
    if status.assurance == "chain" or not is_number(status.assured):
        return _t(
            "Assurance: chain. A chain alone does not show whether somebody who can write the "
            "whole database rewrote entries together with the head and with this status."
        )
    return _t(
        "Assurance: %(assurance)s. The first %(assured)s entries were held against a signed "
        "checkpoint that is kept outside the database; those after them rest on the chain alone. "
        "Who can write the database can write this status too: the word of a verification run "
        "elsewhere counts for more."
    ) % {"assurance": status.get_assurance_display(), "assured": status.assured}


def document(value: Any) -> SafeString:
    """Return a document as a tree to be folded, or as text where it is too large for that."""
    if foldeddocument.fits(value):
        return foldeddocument.tree(value)
    return preformatted(visible_json(value))


def stored_text(text: str) -> SafeString:
    """Return an entry's canonical text, and say where it could not be shown as it is."""
    shown = visible(text)
    if shown == text:
        return preformatted(text)
    note = _t("Characters that would not show stand as ‹U+XXXX›: hash the column, not this text.")
    return format_html('{}<p class="ledger-note">{}</p>', preformatted(shown), note)


def runs_of(stream: Stream) -> list[Verification]:
    """Return the latest verifications that were to read the stream, the latest first."""
    latest = Verification.objects.using(stream._state.db or DEFAULT_DB_ALIAS).order_by("-pk")
    asked = [run for run in latest[:_LOOKED_AT] if asks_for(run, stream.name)]
    return asked[:SHOWN_RUNS]


def history(stream: Stream, runs: Sequence[Verification], addresses: Addresses) -> SafeString | str:
    """Return the verifications of a stream, with what each found in it."""
    if not runs:
        return "–"
    counted = (
        Finding.objects.using(runs[0]._state.db)
        .filter(verification__in=[run.pk for run in runs], stream=stream.name)
        .order_by()
        .values_list("verification")
        .annotate(Count("pk"))
    )
    found = dict(counted)
    mark_genuine(str(runs[0]._state.db), runs)
    rows = format_html_join(
        "",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                addresses.verification_link(run.pk),
                at_time(run.started_at),
                f"{run.get_mode_display()}, {visible(by_whom(run))}",
                _found_in(run, found.get(run.pk, 0)),
            )
            for run in runs
        ),
    )
    columns = (_t("verification"), _t("began"), _t("mode and origin"), _t("in this stream"))
    return table(columns, rows)


def by_whom(run: Verification) -> str:
    origin = str(run.get_origin_display())
    return f"{origin}, {run.user}" if run.user else origin


def _found_in(run: Verification, findings: int) -> SafeString:
    """Say what a run found in one of its streams; never more than the run came to."""
    if findings:
        count = _t("findings: %(count)s") % {"count": findings}
        name = "acknowledged" if run.result == Verification.Result.ACKNOWLEDGED else "tampered"
        return format_html("{} {}", result_badge(name), count)
    if run.result in (Verification.Result.TAMPERED, Verification.Result.ACKNOWLEDGED):
        return format_html("{}", _t("nothing stored of this stream; findings elsewhere"))
    return badge_of_run(run)
