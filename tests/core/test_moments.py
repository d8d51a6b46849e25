"""Times as a person writes and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nucleus_ledger.core.moments import age, lasting, moment, span

DAY, MINUTE = 86_400_000, 60_000
NOV_24 = 1_795_478_400_000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-24", (NOV_24, NOV_24 + DAY)),
        ("2026-11-24 08:30", (NOV_24 + 510 * MINUTE, NOV_24 + 511 * MINUTE)),
        ("2026-11-24T08:30:05", (NOV_24 + 510 * MINUTE + 5000, NOV_24 + 510 * MINUTE + 6000)),
        ("2026-11-24..2026-11-25", (NOV_24, NOV_24 + 2 * DAY)),
        ("2026-11-24 ..", (NOV_24, None)),
        ("..2026-11-24 00:00", (None, NOV_24 + MINUTE)),
        ("1969-12-31", (-DAY, 0)),
        ("9999-12-31", None),
        ("2026-02-30", None),
        ("2026-11-24 24:01", None),
        ("2026-11-24..x", None),
        ("..", None),
        ("", None),
        ("24-11-2026", None),
    ],
)
def test_a_span_of_time(text: str, found: object) -> None:
    assert span(text) == found


def test_a_timestamp() -> None:
    assert moment(NOV_24) == "2026-11-24 00:00:00 UTC"
    assert moment(None) == ""
    assert moment(1 << 60) == str(1 << 60)


def test_an_age() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    ages = [age(now - timedelta(seconds=seconds), now) for seconds in (-5, 59, 60, 7200, 200_000)]
    assert ages == ["0 s ago", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 s"),
        (1, "0.001 s"),
        (1500, "1.5 s"),
        (60_000, "1 min"),
        (3_600_000, "1 h"),
        (3_602_500, "1 h 2.5 s"),
        (90 * 86_400_000 + 61_000, "90 d 1 min 1 s"),
    ],
)
def test_a_length_of_time_is_exact(milliseconds: int, text: str) -> None:
    assert lasting(milliseconds) == text
