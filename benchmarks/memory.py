"""The most memory that a verification holds, in a process that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import streams
from benchmarks.children import child
from benchmarks.figures import Figure, Goal, amount
from benchmarks.harness import Run

_SMALL = 10_000
_MOST_ROUNDS = 3  # it hardly varies


def measure(run: Run) -> Iterator[Figure]:
    smaller = [size for size in run.sizes[:-1] if size <= _SMALL] or [run.largest]
    sizes = {smaller[-1]: streams.sized(smaller[-1]), run.largest: streams.sized(run.largest)}
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(min(run.rounds, _MOST_ROUNDS)):
        for size, name in sizes.items():
            with child("verify", name, streams.length_of([name])) as process:
                process.go()
                taken[size].append(int(process.wait()) / 1e6)
    for size, peaks in taken.items():
        goal = Goal("<", 100) if size == run.largest else None
        yield amount(
            f"peak memory, verification of {size:,} entries", peaks, unit="MB", goal=goal, size=size
        )
    if len(sizes) == 2:
        small, large = (taken[size] for size in sizes)
        ratios = [many / few for few, many in zip(small, large, strict=True)]
        yield amount(
            f"peak memory, {run.largest:,} entries",
            ratios,
            against=f"{smaller[-1]:,} entries",
            goal=Goal("≤", 1.1),
            size=run.largest,
        )
