"""The recorder of fault tests, and the option by which a run writes `docs/reliability.md`."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import django
import psycopg
import pytest

from tests import postgres
from tests.faults.recording import Recorder, page

OPTION = "--write-reliability"
PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
_RECORDER = pytest.StashKey[Recorder]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="write docs/reliability.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RECORDER] = Recorder()
    if _asked(config) and config.getoption("numprocesses", None):
        raise pytest.UsageError(f"{OPTION} needs one process: add -n 0")


@pytest.fixture(scope="session")
def recorder(pytestconfig: pytest.Config) -> Recorder:
    """Where a fault test records what it tried and what survived."""
    return pytestconfig.stash.setdefault(_RECORDER, Recorder())


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _asked(session.config):
        return
    recorder = session.config.stash[_RECORDER]
    if session.testsfailed or recorder.missing():
        untried = ", ".join(recorder.missing()) or "none"
        print(f"\n{PAGE} is not written. Tests failed: {session.testsfailed}; untried: {untried}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        return
    PAGE.write_text(page(recorder.trials, _where()), "utf-8")


def _asked(config: pytest.Config) -> bool:
    return bool(config.getoption(OPTION, default=False))


def _where() -> str:
    with psycopg.connect(postgres.ensure_running()) as connection:
        server = connection.info.parameter_status("server_version")
    return (
        f"Last run: {datetime.now(UTC):%Y-%m-%d}, with Python {platform.python_version()}, "
        f"Django {django.get_version()},\nSQLite {sqlite3.sqlite_version}, PostgreSQL {server}, "
        f"on {os.cpu_count()} cores."
    )
