"""Two processes that append to two streams, against one of them alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import streams
from benchmarks.children import children, together
from benchmarks.figures import Figure, Goal, speed
from benchmarks.harness import Run, in_turn, timed
from benchmarks.verification import verify

_ENTRIES = 100


def measure(run: Run) -> Iterator[Figure]:
    """Every append is committed. Nothing for SQLite: it has one writer at a time by design."""
    if run.vendor == "sqlite":
        return
    names = ["writers/one", "writers/two"]
    with children([("append", name, _ENTRIES) for name in names]) as pair:
        samples = {
            "one": timed(partial(together, pair[:1]), _ENTRIES),
            "two": timed(partial(together, pair), 2 * _ENTRIES),
        }
        taken = in_turn(samples, run.many)
    for name in names:
        verify(name, streams.length_of([name]))
    yield speed(
        "appends by two processes to two streams",
        "by one process to one",
        taken["two"],
        taken["one"],
        goal=Goal("≥", 1.6),
    )
