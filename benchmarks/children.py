"""Starts processes of their own and sets them off together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager


class Child:
    """A running `benchmarks.child` that has said it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended early with {self._process.wait()}")
        return line.strip()


@contextmanager
def child(*arguments: object) -> Iterator[Child]:
    command = [sys.executable, "-m", "benchmarks.child", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        started = Child(process)
        started.wait()
        yield started
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def children(tasks: Sequence[Sequence[object]]) -> Iterator[list[Child]]:
    with ExitStack() as stack:
        yield [stack.enter_context(child(*task)) for task in tasks]


def together(these: Sequence[Child]) -> None:
    """Set the processes off and wait for all of them."""
    for each in these:
        each.go()
    for each in these:
        each.wait()
