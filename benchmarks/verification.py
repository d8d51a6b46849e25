"""Full verification in one process, against a loop that only hashes and compares the link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks import rawloop, streams
from benchmarks.databases import driver_connection
from benchmarks.figures import Figure, Goal, cost, speed
from benchmarks.harness import ALIAS, Run, Sample, in_turn, timed
from benchmarks.parts import SPEED
from nucleus_ledger import verification
from nucleus_ledger.core.report import Report
from nucleus_ledger.models import Entry, Stream

LOOP = "loop over driver rows: hash and link"
_ENOUGH = 10_000  # entries of one sample: below that the clock sees more noise than work


def verify(name: str, entries: int, **options: Any) -> None:
    """Verify one stream through the public call, and make sure that all was read and is intact."""
    report = Entry.objects.using(ALIAS).verify_integrity(name, store=False, **options)
    _demand_intact(report, entries)


def verify_all(names: Sequence[str], entries: int, **options: Any) -> None:
    """The same over several streams."""
    _demand_intact(verification.verify(ALIAS, names, store=False, **options), entries)


def _demand_intact(report: Report, entries: int) -> None:
    if report.result not in ("intact", "intact_since") or report.entries != entries:
        raise RuntimeError(
            f"{report.result}, {report.entries} of {entries} entries: "
            f"{report.errors or report.findings[:1]}"
        )


class Loop:
    """The baseline: whole streams over a connection of its own, with nothing but the driver."""

    def __init__(self) -> None:
        self.connection = driver_connection()

    def over(self, names: Sequence[str]) -> None:
        for key, length in Stream.objects.filter(name__in=names).values_list("pk", "length"):
            if rawloop.hash_and_link(self.connection, key, 0, length) != length:
                raise RuntimeError("the loop found a row that does not fit")

    def close(self) -> None:
        self.connection.close()


def measure(run: Run) -> Iterator[Figure]:
    samples: dict[tuple[str, int], Sample] = {}
    loop = Loop()
    for size in run.sizes:
        name = streams.sized(size)
        entries, repeat = streams.length_of([name]), max(1, _ENOUGH // size)
        samples["loop", size] = timed(partial(loop.over, [name]), entries, repeat)
        samples["verify", size] = timed(partial(verify, name, entries), entries, repeat)
    taken = in_turn(samples, run.rounds)
    loop.close()
    for size in run.sizes:
        yield speed(
            f"verification of {size:,} entries, one process",
            LOOP,
            taken["verify", size],
            taken["loop", size],
            size=size,
            goal=Goal("≥", 0.5) if size == run.largest else None,
            series=SPEED,
        )
    smallest = run.sizes[0]
    for size in run.sizes[1:]:
        yield cost(
            f"verification, an entry of {size:,}",
            f"an entry of {smallest:,}",
            taken["verify", size],
            taken["verify", smallest],
            size=size,
            series="verification",
        )
