"""What the benchmarks write and read: documents of a usual size, in streams built once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from benchmarks.harness import ALIAS, Run, say
from nucleus_ledger.models import Entry, Stream

BATCH = 1000
SPREAD = 15
STEP = 1000  # milliseconds between two entries
_START = 1_357_035_300_000
_AIRPORTS = ("ATL", "BOS", "CLT", "DFW", "IAH", "LAX", "MCO", "MIA", "ORD", "SFO")
META = {"source": "benchmarks"}


def document(index: int) -> dict[str, Any]:
    """Return a small business document, another one for every index."""
    return {
        "flight": 1 + index * 31 % 8500,
        "tailnum": f"N{10_000 + index * 7919 % 89_999}",
        "origin": ("EWR", "JFK", "LGA")[index % 3],
        "dest": _AIRPORTS[index % 10],
        "dep_delay": index * 13 % 97 - 12,
        "arr_delay": index * 17 % 131 - 30,
        "air_time": 30 + index * 7 % 600,
        "distance": 100 + index * 11 % 2500,
    }


def time_of(index: int) -> int:
    return _START + index * STEP


def records(stream: str, start: int, count: int) -> list[dict[str, Any]]:
    """Return records ready for `append_batch`, as a caller without ids of its own writes them."""
    return [
        {
            "stream": stream,
            "payload": document(index),
            "meta": META,
            "timestamp": time_of(index),
        }
        for index in range(start, start + count)
    ]


def sized(size: int) -> str:
    """Return the name of a stream with that many entries, written now if it is not there."""
    name = f"size/{size}"
    if length_of([name]) < size:  # a part may have appended to it since
        say(f"  writing a stream of {size:,} entries")
        fill(name, size)
        tidy()
    return name


def spread(run: Run) -> list[str]:
    """Return the names of `SPREAD` streams that hold the largest size together."""
    names = [f"spread/{number:02}" for number in range(SPREAD)]
    size = run.largest // SPREAD
    if length_of(names) < size * SPREAD:
        say(f"  writing {size:,} entries to each of {SPREAD} streams")
        for name in names:
            fill(name, size)
        tidy()
    return names


def length_of(names: Sequence[str]) -> int:
    return sum(Stream.objects.filter(name__in=names).values_list("length", flat=True))


def fill(name: str, size: int) -> None:
    """Append to a stream until it has `size` entries."""
    for start in range(length_of([name]), size, BATCH):
        Entry.objects.append_batch(records(name, start, min(BATCH, size - start)))


def tidy() -> None:
    """Do what PostgreSQL's autovacuum would do by and by: clean up and count the rows."""
    connection = connections[ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE) nucleus_ledger_entry, nucleus_ledger_stream")
