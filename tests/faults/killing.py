"""Runs a job again and again in forked processes, each killed one step later than the one before.

`python -m tests.faults.killing JOB` runs on the sample site. A step is the beginning or the end of
a statement or a commit, a row of a COPY, a file of a sink, a signature; on SQLite also every few
instructions of its virtual machine. A job is over when it gets through all its steps. Each process
prints a line of JSON for what was acknowledged to it; the parent, which opens no connection, prints
how many processes were killed.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from collections.abc import Callable
from functools import partial, wraps
from itertools import count
from typing import Any

INSTRUCTIONS = 25  # of SQLite's virtual machine between two steps
RANDOM_KILLS = 40


class Killer:
    """Kills its own process at a step: SIGKILL, so that nothing is cleaned up."""

    def __init__(
        self,
        step: int,
        *,
        ends: bool = True,
        instructions: int = 0,
        also: Callable[[Killer], None] | None = None,
    ) -> None:
        self._left, self._ends, self._instructions, self._also = step, ends, instructions, also

    def step(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def around(self, owner: Any, name: str) -> None:
        """Make a step of the beginning and of the end of each call of `owner.name`."""
        original = getattr(owner, name)

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = original(*args, **kwargs)
            if self._ends:
                self.step()
            return result

        setattr(owner, name, call)

    def arm(self) -> None:
        from django.core.files.storage import FileSystemStorage
        from django.db import connection

        from nucleus_ledger.core import signing

        connection.ensure_connection()
        connection.execute_wrappers.append(self._statement)
        self.around(connection, "_commit")
        self.around(FileSystemStorage, "_save")
        self.around(signing, "sign")
        if connection.vendor == "postgresql":
            import psycopg

            self.around(psycopg.Copy, "write_row")
        elif self._instructions:
            connection.connection.set_progress_handler(self.step, self._instructions)
        if self._also:
            self._also(self)

    def _statement(
        self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        self.step()
        result = execute(sql, params, many, context)
        if self._ends:
            self.step()
        return result


def acknowledge(*ids: str) -> None:
    os.write(1, (json.dumps(ids) + "\n").encode())


def records(job: str, number: int) -> list[dict[str, Any]]:
    """Return what one attempt of a job appends.

    `append`: one entry in a stream that is there; on PostgreSQL one statement. `first`: the first
    entry of a stream, which is made for it. `batch`: several entries of each of three streams, one
    of them new. `atomic`: an entry in each of two streams.
    """
    streams = {
        "append": ["a"],
        "first": [f"first/{number}"],
        "batch": ["a", "b", f"batch/{number}"] * 2 + ["a"],
        "atomic": ["a", "b"],
    }[job]
    return [
        {"stream": stream, "payload": {"n": number}, "record_id": f"{job}-{number}-{each}"}
        for each, stream in enumerate(streams)
    ]


def append(job: str, number: int) -> None:
    """Do one attempt, and say what was acknowledged."""
    from django.contrib.auth.models import Group
    from django.db import transaction

    from nucleus_ledger.models import Entry

    wanted = records(job, number)
    if job == "atomic":  # in the transaction of a row of the site
        with transaction.atomic():
            Group.objects.create(name=f"atomic-{number}")
            for each in wanted:
                Entry.objects.append_batch([each])
    else:
        Entry.objects.append_batch(wanted)
    acknowledge(*(each["record_id"] for each in wanted))


def append_again(job: str, attempts: int) -> None:
    """Append what was attempted once more, as one who did not hear whether it was done."""
    from nucleus_ledger.models import Entry

    for number in range(attempts):
        Entry.objects.append_batch(records(job, number), idempotent=True)


def endless(number: int) -> None:
    """Appends without an end, to be killed from outside at any moment."""
    from nucleus_ledger.models import Entry

    for turn in range(10**9):
        Entry.objects.append("a", {"n": turn}, record_id=f"endless-{number}-{turn}")
        acknowledge(f"endless-{number}-{turn}")


def fork(work: Callable[[], object]) -> int:
    """Run something in a process of its own and return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def answer(work: Callable[[], str]) -> str:
    """Return what a function says in a process of its own."""
    ready, words = os.pipe()
    status = fork(lambda: os.write(words, work().encode()))  # fits into the pipe
    os.close(words)
    with os.fdopen(ready) as told:
        assert status == 0
        return told.read()


def was_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def kill_at_each_step(job: Callable[[int], None]) -> int:
    """Return how many processes were killed until one got through."""
    for step in count():

        def killed(step: int = step) -> None:
            Killer(step, instructions=INSTRUCTIONS).arm()
            job(step)

        status = fork(killed)
        if not was_killed(status):
            assert status == 0, f"the job failed at step {step}"
            return step
    raise AssertionError


def kill_at_any_moment(job: Callable[[int], None]) -> int:
    """Kill the job at a random moment after its first word, and return how often that was done."""
    for number in range(RANDOM_KILLS):
        ready, child = _start(job, number)
        select.select([ready], [], [])
        select.select([], [], [], random.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        assert was_killed(os.waitpid(child, 0)[1])
        with os.fdopen(ready, "rb") as words:
            told = words.read()
        # What was cut off in the middle was not said.
        os.write(1, told[: told.rfind(b"\n") + 1])
    return RANDOM_KILLS


def _start(job: Callable[[int], None], number: int) -> tuple[int, int]:
    """Start a job whose words go into a pipe; return its reading end and the process."""
    ready, words = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(words, 1)
        job(number)
        os._exit(1)
    os.close(words)
    return ready, child


def main(name: str) -> None:
    import django

    django.setup()
    if name == "endless":
        kills = kill_at_any_moment(endless)
    else:
        kills = kill_at_each_step(partial(append, name))
    print(json.dumps({"kills": kills}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main(sys.argv[1])
