"""Which process a database connection belongs to.

A connection that is open when its process forks is open in two processes afterwards. On PostgreSQL
both write to one socket, and the answers go to either. On SQLite the child believes that it holds
locks which only its parent holds. Both lose entries, so no child uses what its parent opened.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import connections
from django.db.backends.signals import connection_created

from nucleus_ledger.errors import Database

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_PROCESS = "nucleus_ledger_process"  # an attribute of the wrapper: which process opened it
_pool_processes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_wrappers: WeakSet[BaseDatabaseWrapper] = WeakSet()  # those of all threads
_carried: dict[str, int] = {}  # SQLite databases that were open at a fork, and the parent


def watch() -> None:
    """From now on note which process opens each connection, and leave a parent's to the parent."""
    connection_created.connect(_note, dispatch_uid="nucleus_ledger.processes")
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_leave_to_parent)


def own(using: str) -> BaseDatabaseWrapper:
    """Return the open connection to a database, which this process opened itself.

    Raises `Database` where another process opened it.
    """
    connection = connections[using]
    connection.ensure_connection()
    if _carried and (parent := _carried.get(_name(connection))):
        raise Database(
            f"SQLite database {_name(connection)!r} was open when process {parent} forked process "
            f"{os.getpid()}: SQLite cannot be used on both sides of a fork, so nothing is written. "
            f"{_ADVICE}"
        )
    process = os.getpid()
    if (opener := getattr(connection, _PROCESS, process)) != process:
        raise Database(
            f"the connection to database {using!r} was opened by process {opener} and is used by "
            f"process {process}: two processes on one connection lose entries, so nothing is "
            f"written. {_ADVICE}"
        )
    return connection


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Close at the end what this thread opened: its connections, and pools that were not open."""
    before = [pool for _registry, _alias, pool in _pools()]
    try:
        yield
    finally:
        connections.close_all()
        for registry, alias, pool in _pools():
            if pool not in before and registry.get(alias) is pool:
                connections[alias].close_pool()  # type: ignore[attr-defined]


def close_idle() -> None:
    """Close the connections of this thread that have no transaction open."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not connection.in_atomic_block:
            with suppress(SynchronousOnlyOperation):  # inside an event loop: leave it
                connection.close()


def _note(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    process = os.getpid()
    if (pool := getattr(connection, "pool", None)) is not None:
        process = _pool_processes.setdefault(pool, process)
    setattr(connection, _PROCESS, process)
    _wrappers.add(connection)


def _leave_to_parent() -> None:
    """Drop, in a new child, what its parent opened; the parent and the server notice nothing."""
    dead, other = socket.socketpair()
    other.close()
    for registry, alias, pool in _pools():
        # A closed pool takes no lock and waits for no thread: its threads did not come along, and
        # one of them may have held the lock.
        pool._closed = True
        del registry[alias]
        for idle in list(pool._pool):
            _cut(idle, dead)
    for wrapper in {*_wrappers, *connections.all(initialized_only=True)}:
        if _left(wrapper, dead):
            if wrapper.in_atomic_block:
                wrapper.closed_in_transaction = wrapper.needs_rollback = True
            else:
                wrapper.connection = None
    dead.close()
    for connection in _all():
        if "vfs=memdb" in _name(connection):  # the child has a copy of it that nobody else sees
            _carried[_name(connection)] = os.getppid()


def _left(wrapper: BaseDatabaseWrapper, dead: socket.socket) -> bool:
    """Drop the connection of one wrapper; False where it is none of ours or can be kept."""
    raw: Any = wrapper.connection
    if raw is None or wrapper.vendor not in ("postgresql", "sqlite"):
        return False
    if wrapper.vendor == "postgresql":
        _cut(raw, dead)
        return True
    if wrapper.is_in_memory_db():  # type: ignore[attr-defined]  # a copy of a test's own
        setattr(wrapper, _PROCESS, os.getpid())
        return False
    # SQLite forbids even closing it here, so it is kept for ever: one reference is never dropped.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(raw))
    _carried[_name(wrapper)] = os.getppid()
    return True


def _cut(raw: Any, dead: socket.socket) -> None:
    """Close one connection of libpq without a word to the server.

    Closing it says goodbye over the socket, and that would end the parent's session. So a dead
    socket takes its place first.
    """
    with suppress(Exception):  # already closed
        os.dup2(dead.fileno(), raw.fileno(), inheritable=False)
        raw.close()


def _pools() -> list[tuple[dict[str, Any], str, Any]]:
    """Return the open pools of this process, with the dict of Django's that each is in."""
    found = []
    for connection in _all():
        registry = getattr(connection, "_connection_pools", {})
        if (pool := registry.get(connection.alias)) is not None and not pool.closed:
            found.append((registry, connection.alias, pool))
    return found


def _all() -> list[BaseDatabaseWrapper]:
    """Return this thread's wrappers of all databases whose driver is installed."""
    found = []
    for alias in connections:
        with suppress(ImproperlyConfigured):
            found.append(connections[alias])
    return found


def _name(connection: BaseDatabaseWrapper) -> str:
    return str(connection.settings_dict["NAME"])


_ADVICE = (
    "Call django.db.connections.close_all(), and close_pool() of a connection with a pool, before "
    "the fork; or load the site after it (uWSGI: lazy-apps)"
)
