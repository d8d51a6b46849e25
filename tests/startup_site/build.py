"""Builds the site's handler as a server would: `python -m tests.startup_site.build [how]`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import django
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler


def attempt() -> int:
    try:
        WSGIHandler()
    except Exception as exc:
        print(type(exc).__name__, flush=True)
        return 1
    print("started", flush=True)
    return 0


async def attempt_in_loop() -> int:
    ASGIHandler()
    print("started", flush=True)
    return 0


def attempt_in_fork() -> int:
    child = os.fork()
    if child == 0:
        os._exit(attempt())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def take_the_lease_and_die() -> None:
    from nucleus_ledger import startup_lease

    startup_lease.take("default", "incremental")
    os.kill(os.getpid(), signal.SIGKILL)


def main(how: str) -> int:
    django.setup()
    if how == "killed":
        take_the_lease_and_die()
    if how == "in-loop":
        return asyncio.run(attempt_in_loop())
    code = attempt()
    if how == "twice":
        code = attempt()
    elif how == "forked":
        code = attempt_in_fork()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "once"))
