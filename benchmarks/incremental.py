"""Incremental verification of what is new behind a long stream, against a stream that short."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import streams
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import ALIAS, Run, Sample, in_turn, timed
from benchmarks.verification import verify
from nucleus_ledger.models import Entry

_NEW = 1000


def measure(run: Run) -> Iterator[Figure]:
    streams.fill("new", _NEW)
    samples: dict[int, Sample] = {0: timed(partial(verify, "new", _NEW), _NEW)}
    for size in run.sizes:
        name = streams.sized(size)
        length = streams.length_of([name])
        report = Entry.objects.using(ALIAS).verify_integrity(name)  # stored: the base of what comes
        if not report.intact:
            raise RuntimeError(f"{name} is not intact")
        streams.fill(name, length + _NEW)
        # The entry that the stored verification ended with is read again.
        again = partial(verify, name, _NEW + 1, mode="incremental")
        samples[size] = timed(again, _NEW)
    taken = in_turn(samples, run.many)
    for size in run.sizes:
        yield cost(
            f"incremental verification of {_NEW:,} new entries behind {size:,}",
            f"full verification of a stream of {_NEW:,}",
            taken[size],
            taken[0],
            size=size,
            goal=Goal("≤", 3) if size == run.largest else None,
            series="1,000 new, incrementally (1: 1,000 in full)",
        )
