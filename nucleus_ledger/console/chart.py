"""A stream's entries over time, drawn on the server, with verifications and findings marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t

from nucleus_ledger.console.parts import is_number, paragraphs
from nucleus_ledger.models import Entry, Stream, StreamStatus, Verification
from nucleus_ledger.reliance import status_name

POINTS = 100
SHOWN_FINDINGS, _SHOWN_RUNS = 20, 5
_WIDTH, _HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 660, 16, 200
_SINCE = 700  # where verifications stand that came after the last entry
_LATEST = 253_402_300_799_000  # the end of the year 9999, in ms: a tampered time may be any number


@dataclass(frozen=True, slots=True)
class _Scale:
    first: int
    last: int
    length: int

    def x(self, time: int) -> float:
        span = max(self.last - self.first, 1)
        share = min(max((time - self.first) / span, 0), 1)
        return round(_LEFT + (_RIGHT - _LEFT) * share, 1)

    def y(self, count: int) -> float:
        share = min(max(count / max(self.length, 1), 0), 1)
        return round(_BOTTOM - (_BOTTOM - _TOP) * share, 1)


def draw(
    stream: Stream,
    status: StreamStatus | None,
    runs: Sequence[Verification],
    findings: Sequence[Any],
) -> SafeString:
    """Return the drawing, from about a hundred entries at evenly spaced sequences.

    `runs` are verifications that read the stream, the latest first; `findings` stored ones.
    """
    points = _points(stream)
    if len(points) < 2:
        return paragraphs([_t("Two entries or more make a chart.")])
    times = [time for _sequence, time in points]
    scale = _Scale(min(times), max(times), max(stream.length, points[-1][0] + 1))
    inside = [(run, _milliseconds(run.started_at)) for run in runs if run.started_at]
    since = [run for run, time in inside if time > scale.last][:_SHOWN_RUNS]
    summary = _t("%(count)s entries from %(first)s to %(last)s") % {
        "count": number_format(stream.length, force_grouping=True),
        "first": _date(scale.first),
        "last": _date(scale.last),
    }
    return format_html(
        '<div class="ledger-chart" tabindex="0">'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">'
        "<title>{}</title>{}{}{}{}{}{}</svg>{}</div>",
        _WIDTH,
        _HEIGHT,
        summary,
        summary,
        _axes(scale),
        _verified(scale, stream, status),
        _line(scale, points),
        format_html_join(
            "",
            "{}",
            (
                (_run_mark(run, scale.x(time)),)
                for run, time in inside
                if scale.first <= time <= scale.last
            ),
        ),
        format_html_join(
            "",
            "{}",
            ((_run_mark(run, _SINCE + 12 * place),) for place, run in enumerate(reversed(since))),
        ),
        _finding_marks(scale, points, findings),
        _legend(bool(inside), bool(findings), bool(since)),
    )


def _points(stream: Stream) -> list[tuple[int, int]]:
    """Return (sequence, time) of entries evenly spaced over the stream, in one query."""
    length = stream.length if is_number(stream.length) else 0
    last = max(length - 1, 0)
    wanted = {last * step // (POINTS - 1) for step in range(POINTS)}
    entries = Entry.objects.using(stream._state.db or "default").filter(
        stream_id=stream.pk, sequence__in=wanted
    )
    rows = entries.order_by("sequence").values_list("sequence", "timestamp")
    return [
        (sequence, time)
        for sequence, time in rows
        if is_number(sequence) and is_number(time) and 0 < time <= _LATEST
    ]


def _axes(scale: _Scale) -> SafeString:
    middle = (scale.first + scale.last) // 2
    return format_html(
        '<path class="ledger-axis" d="M{left} {top}V{bottom}H{right}"/>'
        '<text x="{before}" y="{high}" text-anchor="end">{length}</text>'
        '<text x="{before}" y="{bottom}" text-anchor="end">0</text>'
        '<text x="{left}" y="{under}">{first}</text>'
        '<text x="{centre}" y="{under}" text-anchor="middle">{middle}</text>'
        '<text x="{right}" y="{under}" text-anchor="end">{last}</text>',
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        bottom=_BOTTOM,
        before=_LEFT - 8,
        high=_TOP + 10,
        under=_BOTTOM + 20,
        centre=(_LEFT + _RIGHT) / 2,
        length=number_format(scale.length, force_grouping=True),
        first=_date(scale.first),
        middle=_date(middle),
        last=_date(scale.last),
    )


def _line(scale: _Scale, points: Sequence[tuple[int, int]]) -> SafeString:
    places = " ".join(f"{scale.x(time)},{scale.y(sequence + 1)}" for sequence, time in points)
    return format_html('<polyline class="ledger-line" points="{}"/>', places)


def _verified(scale: _Scale, stream: Stream, status: StreamStatus | None) -> SafeString:
    """Return a band up to the entry that the last verification stands behind."""
    if status is None or not is_number(status.length) or not status.length:
        return SafeString("")
    top = scale.y(status.length)
    title = _t("the last verification read %(count)s entries") % {
        "count": number_format(status.length, force_grouping=True)
    }
    return format_html(
        '<rect class="ledger-verified ledger-verified--{}" x="{}" y="{}" width="{}" height="{}">'
        "<title>{}</title></rect>",
        status_name(status, stream, datetime.now(UTC)),
        _LEFT,
        top,
        _RIGHT - _LEFT,
        round(_BOTTOM - top, 1),
        title,
    )


def _run_mark(run: Verification, x: float) -> SafeString:
    title = f"{run} ({date_format(run.started_at, 'SHORT_DATETIME_FORMAT')})"
    return format_html(
        '<path class="ledger-run-mark" d="M{x} {bottom}l-5 10h10z"><title>{title}</title></path>',
        x=x,
        bottom=_BOTTOM,
        title=title,
    )


def _finding_marks(
    scale: _Scale, points: Sequence[tuple[int, int]], findings: Sequence[Any]
) -> SafeString:
    marks = []
    for finding in findings[:SHOWN_FINDINGS]:
        if not is_number(finding.sequence):
            continue
        time = _time_at(points, finding.sequence)
        marks.append(
            (scale.x(time), scale.y(finding.sequence + 1), f"{finding.kind} #{finding.sequence}")
        )
    return format_html_join(
        "",
        '<path class="ledger-finding-mark" d="M{} {}m-5 -5l10 10m0 -10l-10 10">'
        "<title>{}</title></path>",
        marks,
    )


def _time_at(points: Sequence[tuple[int, int]], sequence: int) -> int:
    """Return about when a sequence was: on the line between the points beside it."""
    before = max((each for each in points if each[0] <= sequence), default=points[0])
    after = min((each for each in points if each[0] >= sequence), default=points[-1])
    if after[0] <= before[0]:
        return before[1]
    return before[1] + (after[1] - before[1]) * (sequence - before[0]) // (after[0] - before[0])


def _legend(runs: bool, findings: bool, since: bool) -> SafeString:
    items = [("ledger-key--verified", "▬", _t("read by the last verification"))]
    if runs:
        words = _t("a verification; right of the line: since the last entry")
        items.append(("ledger-key--run", "▲", words if since else _t("a verification")))
    if findings:
        items.append(("ledger-key--finding", "✖", _t("a finding")))
    return format_html(
        '<ul class="ledger-legend">{}</ul>',
        format_html_join("", '<li><span class="{}" aria-hidden="true">{}</span> {}</li>', items),
    )


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _date(milliseconds: int) -> str:
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    return date_format(time, "SHORT_DATETIME_FORMAT")
