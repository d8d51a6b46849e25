"""Times as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


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
