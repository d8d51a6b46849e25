"""Times as a person reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d)?)?")


def moment(milliseconds: int | None) -> str:
    """Return a timestamp of the ledger as UTC; as the bare number where it is none."""
    if milliseconds is None:
        return ""
    try:
        return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)).strftime(
            "%Y-%m-%d %H:%M:%S UTC"
        )
    except (OverflowError, TypeError):
        return str(milliseconds)


def age(since: datetime, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    seconds = max(int((now - since).total_seconds()), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def lasting(milliseconds: int) -> str:
    """Return a length of time exactly, in all units that it has: `1 h 2.5 s`."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= size:
            parts.append(f"{milliseconds // size} {unit}")
            milliseconds %= size
    if milliseconds or not parts:
        parts.append(f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + " s")
    return " ".join(parts)


def span(text: str) -> tuple[int | None, int | None] | None:
    """Read a span of time in UTC and return it as start <= ms < end; None if it is none.

    `2026-11-24` is a day, `2026-11-24 08:30` a minute, and `2026-11-24..2026-11-26 08:30` goes from
    the beginning of the one to the end of the other; either may be left out.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots:
        last = first
    if not (first or last):
        return None
    sides = [_unit(part) if part else (None, None) for part in (first, last)]
    if None in sides:
        return None
    (start, _), (_, end) = sides  # type: ignore[misc]
    return start, end


def _unit(text: str) -> tuple[int | None, int | None] | None:
    """Return the beginning and the end of a day, a minute or a second."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    day, minute, second = match.groups(default="")
    length = timedelta(seconds=1) if second else timedelta(minutes=1) if minute else timedelta(1)
    try:
        start = datetime.fromisoformat(f"{day}T{minute or '00:00'}{second}+00:00")
        end = start + length
    except (ValueError, OverflowError):
        return None
    return int(start.timestamp() * 1000), int(end.timestamp() * 1000)
