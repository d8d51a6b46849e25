"""Streams, entries and findings as the admin shows them: words, and HTML that is always escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Count, Q
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import rowsource, stepping, verification
from nucleus_ledger.conf import conf
from nucleus_ledger.console import foldeddocument
from nucleus_ledger.core import chain, hashing
from nucleus_ledger.core.moments import age
from nucleus_ledger.core.visible import visible, visible_json
from nucleus_ledger.models import Entry, Finding, Stream, StreamStatus, Verification

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHOWN_CHARACTERS = 100_000
SHOWN_FINDINGS = 200
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
    return [(name, word) for name, (_shape, word) in _BADGES.items()]


def totals(streams: QuerySet[Stream]) -> list[tuple[str, SafeString, int]]:
    """Return each status, its badge and how many of the streams have it, in one query."""
    now = datetime.now(UTC)
    counted = streams.aggregate(
        **{name: Count("pk", filter=with_status(name, now)) for name in _BADGES}
    )
    return [(name, badge_of(name), counted[name]) for name in _BADGES]


def runs_under_way(using: str, now: datetime) -> list[Verification]:
    """Return the verifications that go in steps and made one within the last minute or so."""
    return list(
        Verification.objects.using(using).filter(
            result=Verification.Result.RUNNING,
            lease__startswith=stepping.LEASE,
            lease_until__gte=now - _STILL_MOVING,
        )[:20]
    )


def under_way(stream: Stream, runs: Sequence[Verification]) -> Verification | None:
    """Return the one of the runs that has the stream yet to read."""
    status = status_of(stream)
    done = status.verification_id if status else None
    for run in runs:
        if run.pk != done and (run.scope is None or stream.name in run.scope):
            return run
    return None


def under_way_badge(run: Verification) -> SafeString:
    return format_html(
        ' <a class="ledger-status ledger-status--verifying" href="{}">'
        '<span aria-hidden="true">◔</span> {}</a>',
        verification_url(run.pk),
        _t("Verifying"),
    )


def badge(status: StreamStatus | None) -> SafeString:
    return badge_of(status_name(status, datetime.now(UTC)))


def result_badge(result: str) -> SafeString:
    """Return a badge for what a run came to."""
    return _badge(result, *_RESULTS[result])


def badge_of(name: str) -> SafeString:
    return _badge(name, *_BADGES[name])


def _badge(name: str, shape: str, word: Any) -> SafeString:
    return format_html(
        '<span class="ledger-status ledger-status--{}">'
        '<span aria-hidden="true">{}</span> {}</span>',
        name,
        shape,
        word,
    )


def last_verified(stream: Stream) -> str:
    """Return how old a stream's status is, by whom, and the last full reading if that is older."""
    status = status_of(stream)
    if status is None:
        return "–"
    now = datetime.now(UTC)
    latest, full = age(status.verified_at, now), age(status.full_at, now)
    run = status.verification
    by = ""
    if run is not None:
        by = f" ({run.origin}, {visible(run.user)})" if run.user else f" ({run.origin})"
    if status.full_at == status.verified_at:
        return latest + by
    return _t("%(latest)s, in full %(full)s") % {"latest": latest, "full": full} + by


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
    text = _t("Verification %(key)s") % {"key": key}
    return format_html('<a href="{}">{}</a>', verification_url(key), text)


def verification_url(key: Any) -> str:
    return reverse("admin:nucleus_ledger_verification_change", args=[key])


def streams_url() -> str:
    return reverse("admin:nucleus_ledger_stream_changelist")


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
    """Return a document as a tree to be folded, or as text where it is too large for that."""
    if foldeddocument.fits(value):
        return foldeddocument.tree(value)
    return _pre(visible_json(value))


def stored_text(text: str) -> SafeString:
    """Return an entry's canonical text, and say where it could not be shown as it is."""
    shown = visible(text)
    if shown == text:
        return _pre(text)
    note = _t("Characters that would not show stand as ‹U+XXXX›: hash the column, not this text.")
    return format_html('{}<p class="ledger-note">{}</p>', _pre(shown), note)


def hidden_payload() -> str:
    return _t("Hidden: you lack the permission to view payloads.")


def checked_now(entry: Entry, *, payloads: bool) -> SafeString:
    """Judge an entry and its link at this moment, and show what was computed beside what is stored.

    Requires a sequence that is a number.
    """
    using = entry._state.db or DEFAULT_DB_ALIAS
    found = verification.judge_entry(using, entry.stream_id, entry.sequence)
    if found is None:
        return _paragraphs([_t("There is no row of its stream.")])
    text = str(entry.serialized)
    pairs: list[tuple[str, str | None, str | None]] = [
        (_t("hash of its text"), entry.hash, hashing.hash_text(text))
    ]
    if entry.sequence > 0:
        before = rowsource.read_hash(connections[using], entry.stream_id, entry.sequence - 1)
        pairs.append((_t("hash of the entry before it"), entry.prev_hash, before))
    rows = format_html_join(
        "",
        '<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>',
        (
            (what, whole_hash(stored) or "–", whole_hash(now) or "–", _mark(stored == now))
            for what, stored, now in pairs
        ),
    )
    head = format_html_join(
        "",
        '<th scope="col">{}</th>',
        ((label,) for label in ("", _t("stored"), _t("computed now"), _t("equal"))),
    )
    table = format_html(
        '<div class="ledger-findings"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
        "</div>",
        head,
        rows,
    )
    if found:
        return format_html("{}{}", table, _table_of(using, found, payloads))
    place = (
        _t("it follows the entry before it")
        if entry.sequence
        else _t("it stands where a stream begins")
    )
    words = _t(
        "Read just now: its hash is that of its text, its columns say what the text says, and "
        "%(place)s. That says nothing of other entries, nor whether this one was written anew "
        "together with all behind it."
    ) % {"place": place}
    return format_html("{}{}", table, _paragraphs([words]))


def _mark(equal: bool) -> SafeString:
    shape, word = ("✔", _t("yes")) if equal else ("✖", _t("no"))
    return format_html('<span aria-hidden="true">{}</span> {}', shape, word)


def findings_table(findings: QuerySet[Finding], *, payloads: bool) -> SafeString | str:
    """Return stored findings with what the chain demands and what is stored, side by side."""
    rows = list(findings.order_by("pk")[: SHOWN_FINDINGS + 1])
    return _table_of(findings.db, rows, payloads) if rows else _t("none")


def _table_of(using: str, rows: Sequence[Finding | chain.Finding], payloads: bool) -> SafeString:
    shown = rows[:SHOWN_FINDINGS]
    links = _entry_links(using, shown)
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
                *_evidence_of(finding, payloads),
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


def _place(finding: Finding | chain.Finding, key: str | None) -> SafeString:
    place = visible(finding.stream)
    if finding.sequence is not None:
        place = f"{place} #{finding.sequence}"
    where: SafeString | str = place
    if key is not None:
        where = format_html('<a href="{}">{}</a>', entry_url(key), place)
    record = visible(finding.record_id or "")
    return format_html("{}{}", where, format_html("<br>{}", record) if record else "")


def _entry_links(
    using: str, findings: Sequence[Finding | chain.Finding]
) -> dict[tuple[str, Any], str]:
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


def _evidence_of(
    finding: Finding | chain.Finding, payloads: bool
) -> tuple[SafeString | str, SafeString | str]:
    if not payloads and {"payload", "meta"} & set(finding.fields):
        return hidden_payload(), hidden_payload()
    return _evidence(finding.expected), _evidence(finding.actual)


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
