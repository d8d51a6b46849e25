"""`append_batch` of 1,000, against the driver's fastest way to insert the rows of 1,000."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import streams
from benchmarks.figures import Figure, Goal, speed
from benchmarks.harness import Run, in_turn, undone, undone_with
from benchmarks.statements import load_ready, ready_rows
from nucleus_ledger.models import Entry

LOADERS = {"postgresql": "COPY of ready rows", "sqlite": "executemany of ready rows"}
_GOALS = {"postgresql": 0.5, "sqlite": 0.7}


def measure(run: Run) -> Iterator[Figure]:
    name = streams.sized(run.largest)
    records = streams.records(name, streams.length_of([name]), streams.BATCH)
    named = [{**record, "record_id": f"batch-{i}"} for i, record in enumerate(records)]
    ready = partial(ready_rows, name, streams.BATCH)
    append_batch = Entry.objects.append_batch
    samples = {
        "batch": undone(partial(append_batch, records), streams.BATCH),
        "ready": undone_with(load_ready, ready, streams.BATCH),
        "named": undone(partial(append_batch, named), streams.BATCH),
    }
    taken = in_turn(samples, run.many)
    yield speed(
        f"append_batch of {streams.BATCH:,}",
        LOADERS[run.vendor],
        taken["batch"],
        taken["ready"],
        goal=Goal("≥", _GOALS[run.vendor]),
    )
    yield speed(
        f"append_batch of {streams.BATCH:,} that name their records",
        LOADERS[run.vendor],
        taken["named"],
        taken["ready"],
    )
