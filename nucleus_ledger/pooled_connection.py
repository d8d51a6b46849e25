"""The class of the connections in the pool of `postgres_storage`."""

from __future__ import annotations

from typing import Any

import psycopg


class PooledConnection(psycopg.Connection[Any]):
    """A connection that has its pool check all idle ones as soon as it is found dead itself.

    The pool alone checks one each time it hands one out, and waits twice as long after each that is
    dead: after a restart of the server six of them keep one request waiting for 30 seconds, and
    then it fails.
    """

    def execute(self, *arguments: Any, **options: Any) -> Any:
        """Only the pool's check calls this: Django has cursors of its own."""
        try:
            return super().execute(*arguments, **options)
        except psycopg.OperationalError:
            pool = getattr(self, "_pool", None)  # None while the pool checks its idle connections
            if self.closed and pool is not None:
                pool.check()
            raise
