"""`manage.py export_ledger FILE [STREAM ...]`: exit 0 written, 1 something is wrong, 2 unknown."""

from __future__ import annotations

import gzip
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nucleus_ledger.management.files import written
from nucleus_ledger.management.outcomes import LedgerCommand
from nucleus_ledger.transfer.exporting import export


class Command(LedgerCommand):
    help = (
        "Write streams and the evidence of the newest checkpoint as a bundle, which "
        "`python -m nucleus_ledger.verify` checks without Django and `import_ledger` puts back."
    )
    unknown = "nothing was exported"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="- for standard output")
        parser.add_argument("streams", nargs="*", metavar="STREAM", help="these only")
        parser.add_argument("--from", type=int, default=0, dest="low", metavar="SEQUENCE")
        parser.add_argument(
            "--to", type=int, dest="high", metavar="SEQUENCE", help="the first one left out"
        )
        parser.add_argument("--gzip", action="store_true", help="compress the file")
        parser.add_argument("--no-checkpoint", action="store_true", help="leave the evidence out")

    def handle_ledger(self, *args: Any, file: str, database: str, **options: Any) -> None:
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
    with _opened(file) as raw:
        if not packed:
            yield raw.write
            return
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as stream:
            yield stream.write


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file != "-":
        with written(Path(file)) as raw:
            yield raw
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
