"""`manage.py export_ledger FILE [STREAM ...]`: exit 0 written, 1 something is wrong, 2 unknown."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from nucleus_ledger.core.report import EXIT_UNKNOWN
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.transfer.exporting import export


class Command(LedgerCommand):
    help = (
        "Write streams and the evidence of the newest checkpoint as a bundle, which "
        "`python -m nucleus_ledger.verify` checks without Django and `import_ledger` puts back."
    )
    unknown = "nothing was exported"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- for standard output")
        parser.add_argument("streams", nargs="*", metavar="STREAM", help="these only")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="the database alias")
        parser.add_argument("--from", type=int, default=0, dest="low", metavar="SEQUENCE")
        parser.add_argument(
            "--to", type=int, dest="high", metavar="SEQUENCE", help="the first one left out"
        )
        parser.add_argument("--gzip", action="store_true", help="compress the file")
        parser.add_argument("--no-checkpoint", action="store_true", help="leave the evidence out")

    def handle(self, *args: Any, file: str, database: str, **options: Any) -> None:
        if database not in connections:
            raise CommandError(f"there is no database {database!r}", returncode=EXIT_UNKNOWN)
        with _written(file, options["gzip"]) as write:
            done = export(
                database,
                write,
                options["streams"] or None,
                low=options["low"],
                high=options["high"],
                checkpoint=not options["no_checkpoint"],
            )
        under = (
            f"under checkpoint {done.checkpoint_size}" if done.checkpoint_size else "without one"
        )
        self.stderr.write(f"{done.entries} entries of {done.streams} streams written, {under}.")


@contextmanager
def _written(file: str, packed: bool) -> Iterator[Callable[[bytes], object]]:
    """Write a file that is there as a whole or not at all."""
    if file == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as raw:
            if packed:
                with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as stream:
                    yield stream.write
            else:
                yield raw.write
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
