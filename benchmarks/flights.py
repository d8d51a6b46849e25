"""Real events, appended in batches and verified, against raw loops that do the least of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from time import perf_counter
from typing import Any

from django.db import transaction

from benchmarks import events, streams
from benchmarks.batches import LOADERS
from benchmarks.figures import Figure, speed
from benchmarks.harness import ALIAS, Run, in_turn, timed
from benchmarks.statements import Chain, load_ready, move_head
from benchmarks.verification import LOOP, Loop, verify_all
from nucleus_ledger.models import Entry

_PARTS = 10  # of the events, so that the spread says something

Record = Mapping[str, Any]


def measure(run: Run) -> Iterator[Figure]:
    """As many of the events as the largest size, so that a quick run stays quick."""
    records = events.read()[: run.largest]
    names = sorted({record["stream"] for record in records})
    ours, ready = _append_all(records)
    streams.tidy()
    what = f"{len(records):,} flights"
    yield speed(f"{what} appended, {streams.BATCH:,} at a time", LOADERS[run.vendor], ours, ready)
    loop = Loop()
    samples = {
        "verify": timed(partial(verify_all, names, len(records)), len(records)),
        "loop": timed(partial(loop.over, names), len(records)),
    }
    taken = in_turn(samples, run.rounds)
    loop.close()
    yield speed(f"{what} verified, {len(names)} streams", LOOP, taken["verify"], taken["loop"])


def _append_all(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Append every batch twice: through the package, and as ready rows of streams of their own.

    Returns seconds for one event, for each of `_PARTS` parts of the batches.
    """
    chains: dict[str, Chain] = {}
    starts = range(0, len(records), streams.BATCH)
    parts = [index * _PARTS // len(starts) for index in range(len(starts))]
    ours, ready = [], []
    for _part, group in groupby(zip(parts, starts, strict=True), key=lambda pair: pair[0]):
        batches = [records[start : start + streams.BATCH] for _, start in group]
        seconds = [(_append(batch), _load(batch, chains)) for batch in batches]
        written = sum(map(len, batches))
        ours.append(sum(each[0] for each in seconds) / written)
        ready.append(sum(each[1] for each in seconds) / written)
    return ours, ready


def _append(batch: Sequence[Record]) -> float:
    start = perf_counter()
    Entry.objects.append_batch(batch)
    return perf_counter() - start


def _load(batch: Sequence[Record], chains: dict[str, Chain]) -> float:
    rows = []
    touched = {}
    for record in batch:
        name = f"ready/{record['stream']}"
        if name not in chains:
            chains[name] = Chain.of(name)
        touched[name] = chains[name]
        rows += chains[name].extend([record])
    start = perf_counter()
    with transaction.atomic(using=ALIAS):
        load_ready(rows)
        for chain in touched.values():
            move_head(chain)
    return perf_counter() - start
