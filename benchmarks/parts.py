"""The parts of a run, in the order in which they are measured.

Storage comes first, while the tables hold nothing but what was written once; what appends to the
measured streams comes last.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.figures import Figure
    from benchmarks.harness import Run

PARTS = {
    "storage": "bytes on disk",
    "verification": "full verification",
    "checks": "what each check costs",
    "workers": "verification in two processes",
    "memory": "peak memory of a verification",
    "appending": "one entry at a time",
    "batches": "many entries at once",
    "roundtrips": "other ways to send an append",
    "growth": "cost of an append behind a stream of each size",
    "reading": "reads from a stream of each size",
    "concurrency": "two processes that append",
    "incremental": "verification of what is new",
    "flights": "real events, appended and verified",
    "checkpoints": "checkpoints and receipts",
    "pages": "pages of the admin",
    "peers": "other audit logs",
}
PLOTS = "plots"
SPEED = "speed against the loop"  # a series of `verification`
NAMES = (*PARTS, PLOTS)


def measure_of(name: str) -> Callable[[Run], Iterable[Figure]]:
    """Return the function that measures a part; requires Django to be set up."""
    measure: Callable[[Run], Iterable[Figure]] = import_module(f"benchmarks.{name}").measure
    return measure
