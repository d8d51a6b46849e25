"""Lets a host site's test suite flush its tables, which the guards forbid.

`TransactionTestCase` empties every table after each test. Here the guards are lowered inside that
flush, and only on a database that the test runner made in this process: any other database, and
`manage.py flush`, stay refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.sqlite3.creation import DatabaseCreation as SQLiteCreation
from django.test.testcases import TransactionTestCase

from nucleus_ledger import guards
from nucleus_ledger.append_only import restoring_rows

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_TABLES = {"nucleus_ledger_entry", "nucleus_ledger_stream"}
_made_here: set[tuple[str, str]] = set()
_originals: list[tuple[type, str, Any]] = []


def install() -> None:
    """Take part in the test runner's life from now on. Installing twice is installing once."""
    if _originals:
        return
    for creation in (BaseDatabaseCreation, SQLiteCreation):
        for name in ("create_test_db", "setup_worker_connection"):
            _wrap(creation, name, _remembering)
    _wrap(BaseDatabaseCreation, "deserialize_db_from_string", _restoring)
    _wrap(TransactionTestCase, "_fixture_teardown", _lowering)


def is_installed() -> bool:
    return bool(_originals)


def uninstall() -> None:
    """Undo `install`, and forget which databases were made."""
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)
    _made_here.clear()


@contextmanager
def lowered(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Lower the guards of a test database for the time of its flush, and raise them whatever."""
    if not _is_made_here(connection) or not _needs_lowering(connection):
        yield
        return
    guards.remove(connection)
    try:
        yield
    finally:
        guards.install(connection)


def _needs_lowering(connection: BaseDatabaseWrapper) -> bool:
    if not set(connection.introspection.table_names()) >= _TABLES:
        return False
    if connection.vendor != "sqlite":
        return connection.vendor in guards.VENDORS  # TRUNCATE is refused for an empty table too
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM nucleus_ledger_entry) "
            "OR EXISTS (SELECT 1 FROM nucleus_ledger_stream)"
        )
        return bool(cursor.fetchone()[0])


def _is_made_here(connection: BaseDatabaseWrapper) -> bool:
    return (connection.alias, str(connection.settings_dict["NAME"])) in _made_here


def _wrap(owner: type, name: str, around: Callable[[Callable[..., Any]], Any]) -> None:
    if name in vars(owner):
        original = vars(owner)[name]
        _originals.append((owner, name, original))
        setattr(owner, name, functools.wraps(original)(around(original)))


def _remembering(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: BaseDatabaseCreation, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        connection = self.connection
        _made_here.add((connection.alias, str(connection.settings_dict["NAME"])))
        return result

    return wrapper


def _restoring(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: BaseDatabaseCreation, data: str) -> Any:
        if not _is_made_here(self.connection):
            return original(self, data)
        with restoring_rows():
            return original(self, data)

    return wrapper


def _lowering(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Any) -> Any:
        with ExitStack() as stack:
            for alias in self._databases_names(include_mirrors=False):
                stack.enter_context(lowered(connections[alias]))
            return original(self)

    return wrapper
