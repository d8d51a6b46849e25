from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import ConnectionHandler

from nucleus_ledger.errors import Database, InvalidData
from nucleus_ledger.storage import (
    memory_storage,
    postgres_storage,
    sqlite_storage,
    storage_from_config,
)
from tests import postgres


@pytest.fixture(autouse=True)
def _databases_of_their_own(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def connect(settings: dict[str, Any]) -> Any:
    return ConnectionHandler({"default": settings})["default"]


def ask(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


@pytest.mark.parametrize(("wal", "journal"), [(True, "wal"), (False, "delete")])
def test_sqlite_in_effect(tmp_path: Path, wal: bool, journal: str) -> None:
    connection = connect(sqlite_storage(tmp_path / "new" / "folder" / "l.db", enable_wal=wal))
    assert ask(connection, "PRAGMA journal_mode") == journal
    assert ask(connection, "PRAGMA synchronous") == 2
    assert ask(connection, "PRAGMA foreign_keys") == 1
    assert ask(connection, "PRAGMA busy_timeout") == 20_000
    assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    connection.close()
    assert (tmp_path / "new" / "folder" / "l.db").exists()


@pytest.mark.parametrize("path", ["", None, 5, "a\0b", b"x"])
def test_sqlite_refuses(path: Any) -> None:
    with pytest.raises(InvalidData, match="path"):
        sqlite_storage(path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Database, match="cannot be made"):
        sqlite_storage(tmp_path / "file" / "below" / "l.db")
    with pytest.raises(InvalidData, match="enable_wal"):
        sqlite_storage(tmp_path / "x", enable_wal=1)  # type: ignore[arg-type]


def test_postgres_in_effect() -> None:
    connection = connect(postgres_storage(postgres.ensure_running(), pool_size=2))
    assert ask(connection, "SELECT 1") == 1
    assert connection.pool.max_size == 2
    connection.close()
    connection.close_pool()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://us%40er:p%3Aw@db.example:6432/na%20me?sslmode=require",
            {"NAME": "na me", "USER": "us@er", "PASSWORD": "p:w", "HOST": "db.example",
             "PORT": "6432"},
        ),
        ("postgres:///l?host=/run/pg", {"NAME": "l", "HOST": "/run/pg", "PORT": ""}),
        ("postgresql://[::1]:5/l", {"HOST": "::1", "PORT": "5"}),
        ("dbname=l user=me password='a b\\'c' host=h", {"NAME": "l", "PASSWORD": "a b'c"}),
    ],
)  # fmt: skip
def test_postgres_connection_strings(text: str, expected: dict[str, str]) -> None:
    settings = postgres_storage(text)
    assert {key: settings[key] for key in expected} == expected
    assert settings["CONN_MAX_AGE"] == 0
    assert settings["CONN_HEALTH_CHECKS"] is True
    assert settings["OPTIONS"]["pool"]["max_size"] == 10
    assert ("sslmode" in settings["OPTIONS"]) == ("sslmode" in text)


@pytest.mark.parametrize(
    "text", ["", "mysql://x/y", "postgresql://h", "postgresql://h:port/l", "nonsense", None, 5]
)
def test_postgres_refuses(text: Any) -> None:
    with pytest.raises(InvalidData, match="connection_string"):
        postgres_storage(text)


@pytest.mark.parametrize("size", [0, -1, True, "10", None])
def test_pool_size_refused(size: Any) -> None:
    with pytest.raises(InvalidData, match="pool_size"):
        postgres_storage("postgresql://h/l", pool_size=size)


def test_postgres_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nucleus_ledger.pooled_connection", None)
    with pytest.raises(Database, match=r"install nucleus-ledger\[postgres\]"):
        postgres_storage("postgresql://h/l")


def test_memory_is_shared_between_threads_and_waits_for_locks() -> None:
    handler = ConnectionHandler({"default": memory_storage("test-threads")})
    with handler["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE t (n INTEGER)")
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                with handler["default"].cursor() as cursor:
                    cursor.execute("INSERT INTO t VALUES (1)")
            handler["default"].close()
        except BaseException as exc:
            trouble.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    handler["default"].close()  # the anchor keeps it alive
    assert ask(handler["default"], "SELECT COUNT(*) FROM t") == 200
    handler["default"].close()
    with pytest.raises(InvalidData, match="name"):
        memory_storage("a/b")


def test_nucleus_configurations(tmp_path: Path) -> None:
    path = str(tmp_path / "l.db")
    assert storage_from_config({"type": "sqlite", "path": path}) == sqlite_storage(path)
    assert storage_from_config(
        {"type": "sqlite", "path": path, "enableWAL": False}
    ) == sqlite_storage(path, enable_wal=False)
    url = "postgresql://h/l"
    assert storage_from_config(
        {"type": "postgres", "connectionString": url, "poolSize": 3}
    ) == postgres_storage(url, 3)
    assert storage_from_config({"type": "memory"}) == memory_storage()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "type"),
        ({"type": "mysql"}, "type is not one of"),
        ({"type": []}, "type is not one of"),
        ({"type": "sqlite"}, "path is missing"),
        ({"type": "postgres"}, "connectionString is missing"),
        ({"type": "sqlite", "path": "x", "poolSize": 1}, "unknown key for sqlite: poolSize"),
        ({"type": "memory", "path": "x"}, "unknown key for memory: path"),
        ("sqlite", "not an object"),
    ],
)
def test_configurations_refused(config: Any, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        storage_from_config(config)
