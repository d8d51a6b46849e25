"""A PgBouncer before the PostgreSQL server of the suite."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests import postgres

PATIENCE = 60  # seconds; nothing is judged by how long it took, this only ends a hanging test
# Fewer sessions than there are clients, so that clients really change sessions all the time.
_INI = """[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 3
max_client_conn = 200
logfile = {log}
"""


def program() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    assert found, "this test needs PgBouncer: apt-get install pgbouncer"
    return found


@contextmanager
def running(mode: str = "transaction") -> Iterator[int]:
    """Start a PgBouncer, and give the port on 127.0.0.1 where it listens."""
    server = conninfo_to_dict(postgres.ensure_running())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        ini, log = folder / "pgbouncer.ini", folder / "log"
        ini.write_text(
            _INI.format(
                host=server.get("host", "127.0.0.1"),
                port=server.get("port", 5432),
                user=server.get("user", "postgres"),
                listen=port,
                log=log,
                mode=mode,
            )
        )
        owner = _owner(str(server.get("host", "")))
        if owner:  # it refuses to run as root, and must be let into the folder of the socket
            os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
            folder.chmod(0o755)
        command = [program(), *(["-u", owner] if owner else []), str(ini)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(process, port, log)
            yield port
        finally:
            process.terminate()
            process.wait()


def _owner(host: str) -> str | None:
    """Return the user to run as: None for the present one."""
    if os.getuid():
        return None
    return Path(host).owner() if host.startswith("/") else "nobody"


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, dbname="postgres", user="any").close()
            return
        except psycopg.OperationalError:
            told = log.read_text() if log.exists() else ""
            assert process.poll() is None, told
            assert time.monotonic() < end, told
            time.sleep(0.05)
