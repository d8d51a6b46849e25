"""Pieces of the ledger's pages: hashes, text, tables. What comes from the ledger is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _t

from nucleus_ledger.core.visible import visible

SHOWN_CHARACTERS = 100_000


def short_hash(value: str | None) -> SafeString | str:
    """Return a hash of which the beginning shows; who copies it copies the whole."""
    if not value:
        return ""
    shown = visible(value)
    return format_html(
        '<span class="ledger-hash ledger-hash--short" title="{}">{}</span>', shown, shown
    )


def whole_hash(value: str | None) -> SafeString | str:
    return (
        format_html('<code class="ledger-hash ledger-hash--whole">{}</code>', visible(value))
        if value
        else ""
    )


def preformatted(text: str) -> SafeString:
    left = len(text) - SHOWN_CHARACTERS
    if left > 0:
        text = text[:SHOWN_CHARACTERS] + _t("… (%(left)s more characters)") % {"left": left}
    return format_html('<pre class="ledger-document" tabindex="0">{}</pre>', text)


def paragraphs(texts: Iterable[str]) -> SafeString:
    lines = format_html_join("", "<p>{}</p>", ((text,) for text in texts))
    return format_html('<div class="ledger-words">{}</div>', lines)


def at_time(time: datetime | None) -> str:
    if time is None:  # also where a tampered column holds no time
        return "–"
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def hidden_payload() -> str:
    return _t("Hidden: you lack the permission to view payloads.")


def is_number(value: object) -> bool:
    """Whether a column still holds what it should: SQLite lets a tamperer store text in it."""
    return type(value) is int


def as_list(value: Any) -> list[Any]:
    """Return a list that a JSON column holds; nothing where somebody put another thing there."""
    return value if isinstance(value, list) else []


def asks_for(run: Any, stream: str) -> bool:
    """Whether a verification was to read a stream."""
    return run.scope is None or stream in as_list(run.scope)


def ago(time: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    if time is None:
        return _t("at an unknown time")
    return _t("%(time)s ago") % {"time": timesince(time, now, depth=1)}


def table(columns: Iterable[Any], rows: SafeString) -> SafeString:
    """Return a table that scrolls by itself where the page is too narrow for it."""
    head = format_html_join("", '<th scope="col">{}</th>', ((label,) for label in columns))
    return format_html(
        '<div class="ledger-table" tabindex="0">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        head,
        rows,
    )
