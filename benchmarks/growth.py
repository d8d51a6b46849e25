"""What an append costs behind a stream of each size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import streams
from benchmarks.appending import append
from benchmarks.figures import Figure, cost
from benchmarks.harness import Run, Sample, in_turn, undone
from nucleus_ledger.models import Entry

_ENTRIES = 100


def measure(run: Run) -> Iterator[Figure]:
    samples: dict[tuple[str, int], Sample] = {}
    for size in run.sizes:
        name = streams.sized(size)
        batch = streams.records(name, streams.length_of([name]), streams.BATCH)
        samples["append", size] = undone(partial(append, name, _ENTRIES), _ENTRIES)
        samples["append_batch", size] = undone(
            partial(Entry.objects.append_batch, batch), streams.BATCH
        )
    taken = in_turn(samples, run.many)
    smallest = run.sizes[0]
    for what in ("append", "append_batch"):
        for size in run.sizes[1:]:
            yield cost(
                f"{what} behind {size:,} entries",
                f"behind {smallest:,}",
                taken[what, size],
                taken[what, smallest],
                size=size,
                series=what,
            )
