"""Starts the startup site under real servers, in processes that the test ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds; nothing is judged by how long it took, this only ends a hanging test

SERVERS: dict[str, Callable[[int], list[str]]] = {
    "gunicorn": lambda port: _gunicorn(port, 1),
    "gunicorn-2": lambda port: _gunicorn(port, 2),
    "uvicorn": lambda port: ["uvicorn", "tests.startup_site.web:asgi", "--port", str(port)],
    "runserver": lambda port: ["django", "runserver", "--noreload", f"127.0.0.1:{port}"],
}


def _gunicorn(port: int, workers: int) -> list[str]:
    where = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--no-control-socket"]
    return ["gunicorn", "tests.startup_site.web:wsgi", *where]


class Server:
    """One server process and what it prints."""

    def __init__(
        self,
        kind: str,
        database: str,
        folder: Path,
        *arguments: str,
        before: Sequence[str] = (),
        **ledger: Any,
    ) -> None:
        """Start it with more `arguments`, and by the command `before` it, if there is one."""
        self.url = f"http://127.0.0.1:{(port := _free_port())}/"
        self._output = folder / f"server-{port}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", *SERVERS[kind](port), *arguments],
                cwd=ROOT,
                env=environment(database, **ledger),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with suppress(ProcessLookupError):  # a command before the server ends without it
            os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def output(self) -> str:
        return self._output.read_text("utf-8", errors="replace")

    def until(self, done: Callable[[], Any]) -> Any:
        """Return what `done` returns as soon as that is true; an ended process ends the wait."""
        end = time.monotonic() + PATIENCE
        while not (result := done()):
            if self.process.poll() is not None:
                return done()
            assert time.monotonic() < end, self.output
            time.sleep(0.05)
        return result

    def answer(self, path: str = "") -> str | None:
        """Return what the site answers, whatever its status; None where nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as exc:
            with exc:
                return f"status {exc.code}"
        except OSError:
            return None


def environment(database: str, **ledger: Any) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "tests.startup_site.settings",
        "STARTUP_SITE_DATABASE": database,
        "STARTUP_SITE_LEDGER": json.dumps(ledger),
        "PYTHONUNBUFFERED": "1",
    }


def run(
    database: str, *arguments: str, before: Sequence[str] = (), **ledger: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ...` beside the site, by the command `before` it, and wait for it."""
    return subprocess.run(
        [*before, sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(database, **ledger),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def prepare(database: str, kind: str) -> str:
    done = run(database, "tests.startup_site.prepare", kind)
    assert done.returncode == 0, done.stderr
    return database


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
