"""Streams, entries and findings as the admin shows them: words, and HTML that is always escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger.conf import conf
from nucleus_ledger.core.moments import age
from nucleus_ledger.core.visible import visible, visible_json
from nucleus_ledger.models import Entry, Finding, Stream, StreamStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHOWN_CHARACTERS = 100_000
SHOWN_FINDINGS = 200
# A shape and a word beside the colour: not everybody sees colours, and print has none.
_BADGES = {
    "intact": ("✔", _("Intact")),
    "tampered": ("✖", _("Tampered")),
    "acknowledged": ("◆", _("Acknowledged")),
    "stale": ("◷", _("Stale")),
    "never": ("○", _("Never verified")),
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


def badge(status: StreamStatus | None) -> SafeString:
    name = status_name(status, datetime.now(UTC))
    shape, word = _BADGES[name]
    return format_html(
        '<span class="ledger-status ledger-status--{}">'
        '<span aria-hidden="true">{}</span> {}</span>',
        name,
        shape,
        word,
    )


def last_verified(stream: Stream) -> str:
    """Return the age of a stream's status, and of the last full reading where that is older."""
    status = status_of(stream)
    if status is None:
        return "–"
    now = datetime.now(UTC)
    latest, full = age(status.verified_at, now), age(status.full_at, now)
    if status.full_at == status.verified_at:
        return latest
    return _t("%(latest)s, in full %(full)s") % {"latest": latest, "full": full}


def entries_since(stream: Stream) -> str:
    """Return how many entries no verification has read, or that the stream has become shorter."""
    status = status_of(stream)
    since = stream.length if status is None else stream.length - status.length
    if since < 0:
        return _t("%(count)s fewer than were verified") % {"count": -since}
    return str(since)


def what_was_checked(stream: Stream) -> SafeString:
    """Say in plain words what a stream's status rests on, and what it does not show."""
    status = status_of(stream)
    if status is None:
        return _paragraphs([_t("No verification has read this stream yet.")])
    run = status.verification
    by = ""
    if run is not None:
        origin = f"{run.origin}, {visible(run.user)}" if run.user else run.origin
        by = format_html("{} ({}, {})", verification_link(run.pk), run.mode, origin)
    now = datetime.now(UTC)
    read = format_html(
        "{} {}",
        by or _t("A verification"),
        _t("began at %(time)s (%(age)s) and stands behind the first %(length)s entries.")
        % {
            "time": _moment(status.verified_at),
            "age": age(status.verified_at, now),
            "length": status.length,
        },
    )
    full = _t(
        "The last run that read every one of them began at %(time)s (%(age)s): it recomputed "
        "each hash and compared each column, link, sequence and time, and the stream's head."
    ) % {"time": _moment(status.full_at), "age": age(status.full_at, now)}
    limits = _t(
        "A chain alone does not show whether somebody who can write the whole database rewrote "
        "entries together with the head and with this status."
    )
    return _paragraphs([read, full, limits])


def verification_link(key: Any) -> SafeString:
    url = reverse("admin:nucleus_ledger_verification_change", args=[key])
    return format_html('<a href="{}">{}</a>', url, _t("Verification %(key)s") % {"key": key})


def stream_url(key: Any) -> str:
    return reverse("admin:nucleus_ledger_stream_change", args=[quote(key)])


def entry_url(key: str) -> str:
    return reverse("admin:nucleus_ledger_entry_change", args=[quote(key)])


def entries_url(stream_id: Any) -> str:
    query = urlencode({"stream__id__exact": stream_id})
    return f"{reverse('admin:nucleus_ledger_entry_changelist')}?{query}"


def short_hash(value: str | None) -> SafeString | str:
    """Return the beginning of a hash; the whole of it is its title."""
    if not value:
        return ""
    return format_html('<span class="ledger-hash" title="{}">{}…</span>', value, value[:12])


def whole_hash(value: str | None) -> SafeString | str:
    return (
        format_html('<code class="ledger-hash ledger-hash--whole">{}</code>', visible(value))
        if value
        else ""
    )


def document(value: Any) -> SafeString:
    return _pre(visible_json(value))


def stored_text(text: str) -> SafeString:
    """Return an entry's canonical text, and say where it could not be shown as it is."""
    shown = visible(text)
    if shown == text:
        return _pre(text)
    note = _t("Characters that would not show stand as ‹U+XXXX›: hash the column, not this text.")
    return format_html('{}<p class="ledger-note">{}</p>', _pre(shown), note)


def findings_table(findings: QuerySet[Finding]) -> SafeString | str:
    """Return findings with what the chain demands and what is stored, side by side."""
    rows = list(findings.order_by("pk")[: SHOWN_FINDINGS + 1])
    if not rows:
        return _t("none")
    shown = rows[:SHOWN_FINDINGS]
    links = _entry_links(findings.db, shown)
    head = format_html_join(
        "",
        '<th scope="col">{}</th>',
        ((text,) for text in (_t("Finding"), _t("Where"), _t("Expected"), _t("Actual"))),
    )
    body = format_html_join(
        "",
        "<tr><td><strong>{}</strong> {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                finding.kind,
                visible(finding.message),
                _place(finding, links.get((finding.stream, finding.sequence))),
                _evidence(finding.expected),
                _evidence(finding.actual),
            )
            for finding in shown
        ),
    )
    more = ""
    if len(rows) > SHOWN_FINDINGS:
        more = format_html("<p>{}</p>", _t("The first %(n)s are shown.") % {"n": SHOWN_FINDINGS})
    return format_html(
        '<div class="ledger-findings"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table>{}</div>",
        head,
        body,
        more,
    )


def in_short(findings: Sequence[Any], total: int) -> str:
    """Name the first findings of a stream in one line."""
    named = [
        finding.kind
        + (f" ({', '.join(finding.fields)})" if finding.fields else "")
        + ("" if finding.sequence is None else f" at #{finding.sequence}")
        for finding in findings[:3]
    ]
    left = total - len(named)
    return ", ".join(named) + (_t(" and %(left)s more") % {"left": left} if left > 0 else "")


def _place(finding: Finding, key: str | None) -> SafeString:
    place = visible(finding.stream)
    if finding.sequence is not None:
        place = f"{place} #{finding.sequence}"
    where: SafeString | str = place
    if key is not None:
        where = format_html('<a href="{}">{}</a>', entry_url(key), place)
    record = visible(finding.record_id or "")
    return format_html("{}{}", where, format_html("<br>{}", record) if record else "")


def _entry_links(using: str, findings: Sequence[Finding]) -> dict[tuple[str, Any], str]:
    """Return the keys of the entries that findings are about, in two queries."""
    places = {(found.stream, found.sequence) for found in findings if found.sequence is not None}
    named = Stream.objects.using(using).filter(name__in={stream for stream, _sequence in places})
    ids = {stream.name: stream.pk for stream in named}
    wanted = [
        Q(stream_id=ids[stream], sequence=sequence) for stream, sequence in places if stream in ids
    ]
    if not wanted:
        return {}
    names = {key: name for name, key in ids.items()}
    rows = Entry.objects.using(using).filter(reduce(or_, wanted))
    return {
        (names[stream], sequence): key
        for stream, sequence, key in rows.values_list("stream_id", "sequence", "pk")
    }


def _evidence(value: Any) -> SafeString | str:
    if value is None:
        return "–"
    return _pre(visible(value) if isinstance(value, str) else visible_json(value))


def _pre(text: str) -> SafeString:
    left = len(text) - SHOWN_CHARACTERS
    if left > 0:
        text = text[:SHOWN_CHARACTERS] + _t("… (%(left)s more characters)") % {"left": left}
    return format_html('<pre class="ledger-document">{}</pre>', text)


def _paragraphs(texts: Iterable[str]) -> SafeString:
    lines = format_html_join("", "<p>{}</p>", ((text,) for text in texts))
    return format_html('<div class="ledger-words">{}</div>', lines)


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
