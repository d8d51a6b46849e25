"""When entries were registered, as far as signed checkpoints prove it.

A timestamp is the writer's claim. What a checkpoint proves is registration: an entry that
checkpoint n is the first to cover was put in after checkpoint n-1 was begun, which does not cover
it. An honest host with a slow clock, a long transaction and an import all claim earlier times, so a
claim that cannot be the time of registration is a notice and never a finding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from nucleus_ledger.core.manifest import text_of_milliseconds
from nucleus_ledger.core.moments import lasting

if TYPE_CHECKING:
    from nucleus_ledger.core.manifestlog import Expectation, Mark
    from nucleus_ledger.core.rebuilding import Window

REGISTERED_LATE = "registered_late"
Run = tuple[int, int, int, int, int | None]  # first, count, greatest lag, after, by


@dataclass(frozen=True, slots=True)
class Notice:
    """A run of neighbouring entries of a stream that were registered later than they claim.

    `greatest_lag` is how many ms a claim lies before the newest checkpoint that does not cover the
    entry, at most. All of them were registered after `registered_after`, and by `registered_by`
    unless no checkpoint covers all of them yet; both are ms since 1970, of the signer's clock.
    """

    stream: str
    first_sequence: int
    count: int
    greatest_lag: int
    registered_after: int
    registered_by: int | None = None

    @property
    def message(self) -> str:
        which = f"{self.count} entries from #{self.first_sequence} on were"
        if self.count == 1:
            which = f"entry #{self.first_sequence} was"
        return (
            f"{which} {between(self.registered_after, self.registered_by)} by the signer's clock; "
            f"the timestamps claim up to {lasting(self.greatest_lag)} earlier"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are those of manifests, as texts."""
        by = self.registered_by
        return {
            "kind": REGISTERED_LATE,
            "stream": self.stream,
            "first_sequence": self.first_sequence,
            "count": self.count,
            "greatest_lag_ms": self.greatest_lag,
            "registered_after": text_of_milliseconds(self.registered_after),
            "registered_by": None if by is None else text_of_milliseconds(by),
            "message": self.message,
        }


def between(after: int | None, by: int | None) -> str:
    """Say in words between which times (ms) something was registered; requires one of them."""
    low, high = (None if each is None else text_of_milliseconds(each) for each in (after, by))
    if low is None:
        return f"registered by {high}"
    return f"registered after {low}" if high is None else f"registered between {low} and {high}"


class LateEntries:
    """Finds the runs of late entries among rows that are handed over in order.

    Judges rows by their sequence alone, so a walk may begin anywhere. Keeps `limit` runs; `total`
    counts all late entries. `runs` and `total` are all it knows from one window to the next.
    """

    def __init__(self, stream: str, expectation: Expectation, limit: int) -> None:
        marks = expectation.marks
        self._stream, self._slack, self._limit = stream, expectation.slack, limit
        self._lengths = [mark.length for mark in marks]
        self._after = list(accumulate((mark.until for mark in marks), max))
        self._by = _registered_by(marks)
        self.runs: list[Run] = []
        self.total = 0

    def feed(self, window: Window) -> None:
        if not self._lengths:
            return
        try:
            newest = self._after[self._mark_of(max(window.sequence))]
            if min(window.timestamp) >= newest - self._slack:
                return  # the times of marks rise, so no entry of the window is late
        except TypeError:
            pass  # a tampered column holds anything
        place = -1
        for sequence, time in zip(window.sequence, window.timestamp, strict=True):
            if type(sequence) is not int or type(time) is not int:
                continue
            if place >= 0 and sequence < self._lengths[place]:
                place = -1
            while place + 1 < len(self._lengths) and self._lengths[place + 1] <= sequence:
                place += 1
            if place >= 0 and 0 < time < self._after[place] - self._slack:
                self._add(sequence, self._after[place] - time, place)

    @property
    def notices(self) -> tuple[Notice, ...]:
        return tuple(Notice(self._stream, *run) for run in self.runs)

    def _mark_of(self, sequence: int) -> int:
        """Return the last mark that does not cover a sequence, or the first of all."""
        return max(bisect_right(self._lengths, sequence) - 1, 0)

    def _add(self, sequence: int, lag: int, place: int) -> None:
        self.total += 1
        by = self._by[place]
        if self.runs:
            first, count, greatest, after, _by = self.runs[-1]
            if sequence == first + count:
                self.runs[-1] = (first, count + 1, max(greatest, lag), after, by)
                return
        if len(self.runs) < self._limit:
            self.runs.append((sequence, 1, lag, self._after[place], by))


def _registered_by(marks: Sequence[Mark]) -> list[int | None]:
    """Return for each mark when the next was first recorded: entries between are in by then."""
    return [*(mark.since for mark in marks[1:]), None]
