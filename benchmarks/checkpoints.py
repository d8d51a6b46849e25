"""Checkpoints: what the next one costs beside the first, and receipts from streams of each size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from django.conf import settings

from benchmarks import streams
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import ALIAS, Run, Sample, in_turn, timed
from nucleus_ledger import checkpoints
from nucleus_ledger.core import signing
from nucleus_ledger.evidence import making, signers
from nucleus_ledger.models import Entry

_STREAMS = 100
_NEW = 1000
_RECEIPTS = 5


def measure(run: Run) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        _configure(Path(folder))
        for number in range(_STREAMS):
            streams.fill(f"many/{number}", run.largest // _STREAMS)
        yield from _first_and_next(run)
        yield from _receipts(run)


def _configure(folder: Path) -> None:
    signer, vkey = signing.generate("benchmarks/ledger")
    signers.write(folder / "key", signer)
    settings.STORAGES = {
        **settings.STORAGES,
        "evidence": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(folder / "evidence")},
        },
    }
    settings.NUCLEUS_LEDGER = {
        **settings.NUCLEUS_LEDGER,
        "CHECKPOINT_ORIGIN": f"benchmarks/{settings.NUCLEUS_LEDGER['LEDGER_ID']}",
        "CHECKPOINT_KEY_FILES": [str(folder / "key")],
        "CHECKPOINT_VKEYS": [str(vkey)],
        "CHECKPOINT_SINKS": ["storage:evidence"],
    }


def _first_and_next(run: Run) -> Iterator[Figure]:
    """The first reads everything and is made once; the next ones follow appends of their own."""
    made: list[making.Made] = []
    first = [timed(lambda: made.append(making.make(ALIAS, init=True)), 1)()]
    entries = made[0].entries
    length = run.largest // _STREAMS

    def following() -> None:
        done = making.make(ALIAS)
        if done.entries != _NEW:
            raise RuntimeError(f"{done.entries} entries were read, and {_NEW} are new")

    taken = []
    for _ in range(run.many):
        length += _NEW // _STREAMS
        for number in range(_STREAMS):
            streams.fill(f"many/{number}", length)
        taken.append(timed(following, 1)())
    yield cost(
        f"a checkpoint of {_NEW:,} new entries in {_STREAMS} streams",
        f"the first one, of {entries:,} entries",
        taken,
        first * len(taken),
        size=run.largest,
        goal=Goal("≤", 0.1),
    )


def _receipts(run: Run) -> Iterator[Figure]:
    names = {size: streams.sized(size) for size in run.sizes}
    making.make(ALIAS)
    samples: dict[int, Sample] = {}
    for size, name in names.items():
        places = [size * place // _RECEIPTS for place in range(_RECEIPTS)]
        found = Entry.objects.in_chain_order(name).filter(sequence__in=places)
        samples[size] = timed(partial(_make, list(found)), len(places))
    taken = in_turn(samples, run.many)
    smallest = run.sizes[0]
    for size in run.sizes[1:]:
        yield cost(
            f"a receipt of an entry in a stream of {size:,}",
            f"{smallest:,}",
            taken[size],
            taken[smallest],
            size=size,
            goal=Goal("≤", 2) if size == run.largest else None,
            series="a receipt",
        )


def _make(entries: list[Entry]) -> None:
    for entry in entries:
        checkpoints.receipt(entry)
