"""Reads from streams of each size: what they cost must not depend on the length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from benchmarks import streams
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import Run, Sample, in_turn, timed
from nucleus_ledger.models import Entry

_CALLS, _RANGE = 10, 100

Place = tuple[int, str, str]  # sequence, record id, hash


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads of one stream at places chosen beforehand, the same ones in every run."""

    name: str
    places: tuple[Place, ...]

    @classmethod
    def of(cls, name: str, size: int) -> Reads:
        # No place so near the end that a range from it would be short.
        chosen = Random(size).choices(range(max(1, size - _RANGE)), k=_CALLS)
        rows = Entry.objects.in_chain_order(name).filter(sequence__in=chosen)
        return cls(name, tuple(rows.values_list("sequence", "record_id", "hash")))

    def _each(self, read: Callable[[Place], object]) -> None:
        for place in self.places:
            if not read(place):
                raise RuntimeError(f"nothing read at {place}")

    def by_id(self) -> None:
        self._each(lambda place: Entry.objects.get_by_id(self.name, place[1]))

    def by_hash(self) -> None:
        self._each(lambda place: Entry.objects.load_entry(place[2]))

    def latest(self) -> None:
        self._each(lambda place: Entry.objects.latest_hash(self.name))

    def range(self) -> None:
        self._each(lambda place: Entry.objects.load_entries_range(self.name, place[2], _RANGE))

    def time_range(self) -> None:
        def read(place: Place) -> list[Entry]:
            start = streams.time_of(place[0])
            end = start + _RANGE * streams.STEP
            return list(Entry.objects.in_time_range(self.name, start, end))

        self._each(read)


KINDS = {
    "by record id": Reads.by_id,
    "by hash": Reads.by_hash,
    "latest hash": Reads.latest,
    f"range of {_RANGE}": Reads.range,
    f"time range of {_RANGE}": Reads.time_range,
}


def measure(run: Run) -> Iterator[Figure]:
    reads = {size: Reads.of(streams.sized(size), size) for size in run.sizes}
    smallest = run.sizes[0]
    for kind, read in KINDS.items():
        samples: dict[int, Sample] = {
            size: timed(partial(read, these), len(these.places)) for size, these in reads.items()
        }
        taken = in_turn(samples, run.many)
        for size in run.sizes[1:]:
            yield cost(
                f"read {kind}, in {size:,} entries",
                f"in {smallest:,}",
                taken[size],
                taken[smallest],
                size=size,
                goal=Goal("≤", 2) if size == run.largest else None,
                series=kind,
            )
