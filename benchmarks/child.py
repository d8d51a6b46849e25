"""A process of its own that measures or works: the other end of `children`."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import django

Work = Callable[[], object]


def main(task: str, *arguments: str) -> None:
    """Get ready, say so, and do the task once for every line that comes in."""
    django.setup()
    tasks: dict[str, Callable[..., Work]] = {"verify": _verify, "append": _append, "scan": _scan}
    work = tasks[task](*arguments)
    print("ready", flush=True)
    for _line in sys.stdin:
        print(work(), flush=True)


def _verify(name: str, entries: str) -> Work:
    from benchmarks.verification import verify

    def work() -> int:
        verify(name, int(entries))
        return peak()

    return work


def _append(name: str, count: str) -> Work:
    from benchmarks.streams import META, document
    from nucleus_ledger.models import Entry

    def work() -> None:
        for index in range(int(count)):
            Entry.objects.append(name, document(index), meta=META)

    return work


def _scan(stream_id: str, low: str, high: str) -> Work:
    from benchmarks import rawloop
    from benchmarks.databases import driver_connection

    connection = driver_connection()
    return lambda: rawloop.hash_and_link(connection, int(stream_id), int(low), int(high))


def peak() -> int:
    """Return the most memory that this process has held, in bytes.

    Linux hands `ru_maxrss` of the parent on to a new process, so its own mark is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
