"""One entry at a time, against the same three statements through a bare cursor."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

from django.db import transaction

from benchmarks import streams
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import ALIAS, Run, in_turn, timed, undone, undone_with
from benchmarks.statements import Chain, append_ready, ready_rows
from benchmarks.verification import verify
from nucleus_ledger.models import Entry

GOALS = {"postgresql": 1.6, "sqlite": 2.5}
_OPEN, _COMMITTED = 100, 30
BARE = "the same three statements through a bare cursor"

numbers = count()


def append(name: str, entries: int) -> None:
    for _ in range(entries):
        Entry.objects.append(name, streams.document(next(numbers)), meta=streams.META)


def measure(run: Run) -> Iterator[Figure]:
    yield _in_a_transaction(run)
    yield _committed(run)


def _in_a_transaction(run: Run) -> Figure:
    name = streams.sized(run.largest)
    ready = partial(ready_rows, name, _OPEN)
    samples = {
        "append": undone(partial(append, name, _OPEN), _OPEN),
        "bare": undone_with(partial(append_ready, name), ready, _OPEN),
    }
    taken = in_turn(samples, run.many)
    return cost(
        "append in an open transaction",
        BARE,
        taken["append"],
        taken["bare"],
        goal=Goal("≤", GOALS[run.vendor]),
    )


def _committed(run: Run) -> Figure:
    """Every entry in a transaction of its own: what most of the time goes into is the disk."""
    ours, bare = "committed/append", "committed/bare"
    chain = Chain.of(bare)

    def ready() -> None:
        for row in rows:
            with transaction.atomic(using=ALIAS):
                append_ready(bare, [row])

    def bare_sample() -> float:
        rows[:] = chain.extend(streams.records(bare, chain.length, _COMMITTED))
        return timed(ready, _COMMITTED)()

    rows: list[tuple[object, ...]] = []
    samples = {"append": timed(partial(append, ours, _COMMITTED), _COMMITTED), "bare": bare_sample}
    taken = in_turn(samples, run.many)
    for name in (ours, bare):
        verify(name, streams.length_of([name]))
    return cost("append each committed", f"{BARE}, committed", taken["append"], taken["bare"])
