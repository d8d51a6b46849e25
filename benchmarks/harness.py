"""Times things in turn: A B A B, so that a slow minute of the machine falls on both."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from django.db import transaction

Work = Callable[[], object]
Sample = Callable[[], float]  # does the work once and returns the seconds for one operation

ALIAS = "default"
Name = TypeVar("Name")
Ready = TypeVar("Ready")


@dataclass(frozen=True, slots=True)
class Run:
    """What a part has to know: which database, which sizes in ascending order, how often."""

    vendor: str
    sizes: tuple[int, ...]
    rounds: int

    @property
    def largest(self) -> int:
        return self.sizes[-1]

    @property
    def many(self) -> int:
        """Rounds for what takes milliseconds, and varies more."""
        return 3 * self.rounds


def in_turn(samples: Mapping[Name, Sample], rounds: int) -> dict[Name, list[float]]:
    """Take one sample of each in every round; the first of each only warms up and is dropped."""
    taken: dict[Name, list[float]] = {name: [] for name in samples}
    for sample in samples.values():
        sample()
    for _ in range(rounds):
        for name, sample in samples.items():
            gc.collect()
            taken[name].append(sample())
    return taken


def timed(work: Work, operations: int, repeat: int = 1) -> Sample:
    """A sample of `work` done `repeat` times, which is `operations` operations each time."""

    def sample() -> float:
        start = perf_counter()
        for _ in range(repeat):
            work()
        return (perf_counter() - start) / (operations * repeat)

    return sample


def undone(work: Work, operations: int) -> Sample:
    """A sample of `work` in an open transaction, which is rolled back: no table grows by it."""
    return undone_with(lambda _nothing: work(), lambda: None, operations)


def undone_with(
    work: Callable[[Ready], object], prepare: Callable[[], Ready], operations: int
) -> Sample:
    """The same of work on what `prepare` makes anew for each sample, which is not timed.

    Rows inserted again and again would find their places in the indexes warm.
    """

    def sample() -> float:
        ready = prepare()
        with transaction.atomic(using=ALIAS):
            seconds = timed(lambda: work(ready), operations)()
            transaction.set_rollback(True, using=ALIAS)
        return seconds

    return sample


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
