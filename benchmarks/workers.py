"""Verification in two processes against one, and what this machine can give two processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import rawloop, streams
from benchmarks.children import children, together
from benchmarks.databases import driver_connection
from benchmarks.figures import Figure, Goal, speed
from benchmarks.harness import Run, in_turn, timed
from benchmarks.verification import verify_all
from nucleus_ledger.models import Stream


def measure(run: Run) -> Iterator[Figure]:
    """The time of two includes starting them, as it does for whoever waits for them."""
    for what, names in (
        (f"one stream of {run.largest:,}", [streams.sized(run.largest)]),
        (f"{streams.SPREAD} streams, {run.largest:,} in all", streams.spread(run)),
    ):
        entries = streams.length_of(names)
        samples = {
            count: timed(partial(verify_all, names, entries, workers=count), entries)
            for count in (1, 2)
        }
        taken = in_turn(samples, run.rounds)
        yield speed(
            f"verification with two workers, {what}",
            "one process",
            taken[2],
            taken[1],
            size=run.largest,
            goal=Goal("≥", 1.7),
        )
    yield _limit(run)


def _limit(run: Run) -> Figure:
    """The bare loop over two halves in two running processes: no verification can gain more."""
    stream = Stream.objects.get(name=streams.sized(run.largest))
    half = stream.length // 2
    halves = [("scan", stream.pk, 0, half), ("scan", stream.pk, half, stream.length)]
    connection = driver_connection()
    whole = partial(rawloop.hash_and_link, connection, stream.pk, 0, stream.length)
    with children(halves) as pair:
        samples = {
            "one": timed(whole, stream.length),
            "two": timed(partial(together, pair), stream.length),
        }
        taken = in_turn(samples, run.rounds)
    connection.close()
    return speed(
        "the bare loop in two processes: what the machine can give",
        "one process",
        taken["two"],
        taken["one"],
        size=run.largest,
    )
