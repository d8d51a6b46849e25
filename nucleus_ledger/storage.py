"""Builders of `DATABASES` entries that are safe for a ledger; importable in a settings file."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from nucleus_ledger.errors import Database, InvalidData

_BUSY_SECONDS = 20
# A database in memory lives as long as a connection to it: one is kept for each name.
_anchors: dict[str, sqlite3.Connection] = {}
_CONFIG_KEYS = {
    "sqlite": {"path": "path", "enableWAL": "enable_wal"},
    "postgres": {"connectionString": "connection_string", "poolSize": "pool_size"},
    "memory": {},
}


def sqlite_storage(path: str | os.PathLike[str], enable_wal: bool = True) -> dict[str, Any]:
    """Return the settings of a SQLite file: WAL, full synchronous, foreign keys, IMMEDIATE.

    Makes the parent folder. Raises `InvalidData` for a path that cannot be one, and `Database`
    where the folder cannot be made.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path) or "\0" in str(path):
        raise InvalidData(f"path is not the path of a file: {path!r}")
    if not isinstance(enable_wal, bool):
        raise InvalidData(f"enable_wal is neither True nor False: {enable_wal!r}")
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Database(f"the folder of {str(file)!r} cannot be made: {exc}") from exc
    journal = "WAL" if enable_wal else "DELETE"
    return _sqlite(str(file), f"PRAGMA journal_mode={journal}; PRAGMA synchronous=FULL")


def postgres_storage(connection_string: str, pool_size: int = 10) -> dict[str, Any]:
    """Return the settings of a PostgreSQL database with a pool of connections per process.

    `connection_string` is a URL (`postgresql://user:password@host:port/name?sslmode=…`) or
    `key=value` pairs as libpq takes them. Raises `InvalidData` for anything else, and `Database`
    where psycopg is not installed.
    """
    if type(pool_size) is not int or pool_size < 1:
        raise InvalidData(f"pool_size is not a whole number >= 1: {pool_size!r}")
    if not isinstance(connection_string, str):
        raise InvalidData("connection_string is not a string")
    if "://" in connection_string:
        parameters = _from_url(connection_string)
    else:
        parameters = _from_pairs(connection_string)
    if not parameters.get("dbname"):
        raise InvalidData("connection_string names no database")
    settings = {
        name: parameters.pop(key, "")
        for name, key in (
            ("NAME", "dbname"),
            ("USER", "user"),
            ("PASSWORD", "password"),
            ("HOST", "host"),
            ("PORT", "port"),
        )
    }
    pool = {
        "min_size": 1,
        "max_size": pool_size,
        "connection_class": _pooled_connection(),
    }
    return {
        "ENGINE": "django.db.backends.postgresql",
        **settings,
        "CONN_HEALTH_CHECKS": True,  # the pool hands out no connection that died meanwhile
        "CONN_MAX_AGE": 0,  # the pool keeps connections; Django refuses both at once
        "OPTIONS": {**parameters, "pool": pool},
    }


def memory_storage(name: str = "nucleus_ledger") -> dict[str, Any]:
    """Return the settings of a SQLite database in memory, shared by the threads of a process.

    By the memdb VFS, not by SQLite's shared cache, which ignores the busy timeout.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InvalidData(f"name is not made of letters, digits, '_', '.' and '-': {name!r}")
    uri = f"file:/{name}?vfs=memdb"
    if name not in _anchors:
        _anchors[name] = sqlite3.connect(uri, uri=True, check_same_thread=False)
    settings = _sqlite(uri, "PRAGMA synchronous=OFF")
    settings["OPTIONS"]["uri"] = True
    return settings


def storage_from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for a Nucleus configuration object.

    `{"type": "sqlite", "path", "enableWAL"?}`, `{"type": "postgres", "connectionString",
    "poolSize"?}` or `{"type": "memory"}`; raises `InvalidData` naming what is unknown or missing.
    """
    if not isinstance(config, Mapping):
        raise InvalidData("the storage configuration is not an object")
    kind = config.get("type")
    if not isinstance(kind, str) or kind not in _CONFIG_KEYS:
        raise InvalidData(f"type is not one of {', '.join(_CONFIG_KEYS)}: {kind!r}")
    keys = _CONFIG_KEYS[kind]
    unknown = sorted(str(key) for key in config.keys() - keys.keys() - {"type"})
    if unknown:
        raise InvalidData(f"unknown key for {kind}: {', '.join(unknown)}")
    arguments = {keys[key]: value for key, value in config.items() if key != "type"}
    for required in ("path", "connectionString"):
        if required in keys and required not in config:
            raise InvalidData(f"{required} is missing")
    if kind == "sqlite":
        return sqlite_storage(**arguments)
    return postgres_storage(**arguments) if kind == "postgres" else memory_storage()


def _pooled_connection() -> type:
    try:
        from nucleus_ledger.pooled_connection import PooledConnection
    except ImportError as exc:
        raise Database(
            f"PostgreSQL needs psycopg: install nucleus-ledger[postgres] ({exc})"
        ) from exc
    return PooledConnection


def _sqlite(name: str, pragmas: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {
            "init_command": f"{pragmas}; PRAGMA foreign_keys=ON",
            "timeout": _BUSY_SECONDS,
            # Deferred, a transaction that reads and then appends fails at once under load.
            "transaction_mode": "IMMEDIATE",
        },
    }


def _from_url(url: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidData(f"connection_string is no URL: {exc}") from exc
    if parts.scheme not in ("postgres", "postgresql"):
        raise InvalidData(f"connection_string begins with {parts.scheme!r}, not postgresql")
    found = {
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": unquote(parts.hostname or ""),
        "port": "" if port is None else str(port),
    }
    return found | dict(parse_qsl(parts.query, keep_blank_values=True))


def _from_pairs(text: str) -> dict[str, str]:
    pair = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']*))(?:\s+|$)")
    found, position = {}, 0
    while position < len(text):
        match = pair.match(text, position)
        if match is None:
            raise InvalidData("connection_string is neither a URL nor key=value pairs")
        quoted = match[2]
        found[match[1]] = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = match.end()
    return found
