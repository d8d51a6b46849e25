"""What the admin says of a stream whose newest entry is dated ahead of now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _t

from nucleus_ledger import clocks
from nucleus_ledger.clocks import HeadAhead
from nucleus_ledger.console.parts import paragraphs
from nucleus_ledger.core.moments import moment
from nucleus_ledger.models import Stream


def ahead(stream: Stream) -> HeadAhead | None:
    return clocks.ahead(stream.name, stream.head_timestamp)


def last_entry(stream: Stream) -> SafeString | str:
    """Return the time of a stream's newest entry, and that it is ahead of now where it is."""
    time = moment(stream.head_timestamp) or "–"
    head = ahead(stream)
    if head is None:
        return time
    return format_html(
        '{} <strong class="ledger-ahead"><span aria-hidden="true">⚠</span> {}</strong>',
        time,
        in_words(head),
    )


def in_words(head: HeadAhead) -> str:
    now = datetime.now(UTC)
    try:
        long = timesince(now, now + timedelta(milliseconds=head.by), depth=1)
    except OverflowError:  # of a year that no calendar has
        return _t("ahead of now")
    return _t("%(time)s ahead of now") % {"time": long}


def explained(stream: Stream) -> SafeString | str:
    """Say what follows from a newest entry that is dated ahead of now, and what can be done."""
    head = ahead(stream)
    if head is None:
        return "–"
    return paragraphs(
        [
            _t(
                "The newest entry is dated %(time)s, %(ahead)s: it was appended under a clock that "
                "was fast. Until that time has come every later entry carries it too, and an "
                "append with an earlier time of its own is refused."
            )
            % {"time": moment(head.timestamp), "ahead": in_words(head)},
            _t(
                "This is no sign of tampering, and it cannot be undone: entries stay as they are. "
                "Set the clock right, then wait for that time or go on in a new stream. Anybody "
                "who may append can do this on purpose; see docs/operations.md."
            ),
        ]
    )
