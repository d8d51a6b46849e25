"""`manage.py append_entries [FILE|-]`: appends records from JSON Lines, a batch at a time."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from tqdm import tqdm

from nucleus_ledger.core import canonical
from nucleus_ledger.core.record import Record
from nucleus_ledger.core.repeated_keys import refuse_repeated_keys
from nucleus_ledger.core.report import EXIT_TAMPERED, EXIT_UNKNOWN
from nucleus_ledger.core.visible import one_line, visible
from nucleus_ledger.errors import (
    Deserialization,
    IntegrityFailed,
    InvalidData,
    LedgerError,
)
from nucleus_ledger.management.outcomes import LedgerCommand, failure
from nucleus_ledger.models import Entry

_KEYS = {"stream": "stream", "payload": "payload", "id": "record_id", "timestamp": "timestamp",
         "meta": "meta"}  # fmt: skip


@dataclass(slots=True)
class _Tally:
    appended: int = 0
    present: int = 0
    through: int = 0

    def __str__(self) -> str:
        text = f"{self.appended} entries appended"
        return f"{text}, {self.present} were there already" if self.present else text


class Command(LedgerCommand):
    unknown = "nothing more was appended"
    help = (
        'Append records from JSON Lines: {"stream", "payload", "id"?, "timestamp"?, "meta"?}. '
        "A batch is all or nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="- for stdin")
        parser.add_argument(
            "--idempotent", action="store_true", help="pass over records that are stored already"
        )
        parser.add_argument("--batch-size", type=int, default=1000, help="records per batch")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle_ledger(self, *args: Any, file: str, batch_size: int, **options: Any) -> None:
        if batch_size < 1:
            raise failure("--batch-size is less than 1")
        tally = _Tally()
        silent = options["no_progress"] or not sys.stderr.isatty()
        try:
            with _opened(file) as lines, tqdm(unit=" lines", disable=silent, leave=False) as bar:
                for batch in _batches(lines, batch_size, tally):
                    self._append(batch, tally, options["database"], options["idempotent"])
                    tally.through = batch[-1][0]
                    bar.update(len(batch))
        except KeyboardInterrupt as exc:
            raise failure(f"interrupted. {_so_far(tally)}") from exc
        self.stdout.write(f"{tally}.")

    def _append(
        self, batch: list[tuple[int, Record]], tally: _Tally, database: str, idempotent: bool
    ) -> None:
        manager = Entry.objects.using(database)
        try:
            entries = manager.append_batch([record for _, record in batch], idempotent=idempotent)
        except LedgerError as exc:
            raise _refusal(exc, batch, tally) from exc
        except DatabaseError as exc:
            raise failure(f"{_so_far(tally)}: database error: {one_line(exc)}") from exc
        new = {id(entry) for entry in entries if entry.is_new}
        tally.appended += len(new)
        tally.present += len(entries) - len(new)


def _batches(lines: IO[bytes], size: int, tally: _Tally) -> Iterator[list[tuple[int, Record]]]:
    batch = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                batch.append((number, _parse(line)))
            except (Deserialization, InvalidData) as exc:
                raise failure(f"line {number}: {visible(str(exc))}. {_so_far(tally)}") from exc
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _parse(line: bytes) -> Record:
    document = canonical.loads(line.strip())
    if not isinstance(document, dict):
        raise InvalidData("the line is not a JSON object")
    refuse_repeated_keys(line)
    unknown = sorted(map(ascii, document.keys() - _KEYS.keys()))
    if unknown:
        raise InvalidData(f"unknown key {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    return Record.from_mapping({_KEYS[key]: value for key, value in document.items()})


def _refusal(exc: LedgerError, batch: list[tuple[int, Record]], tally: _Tally) -> CommandError:
    number = batch[exc.index or 0][0]
    code = EXIT_TAMPERED if isinstance(exc, IntegrityFailed) else EXIT_UNKNOWN
    return failure(f"line {number}: {visible(exc.reason)}. {_so_far(tally)}", returncode=code)


def _so_far(tally: _Tally) -> str:
    if not tally.through:
        return "Nothing was appended"
    return f"Before that, {tally} (through line {tally.through}) and stay"


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")
    except OSError as exc:
        raise failure(f"{file}: {exc.strerror}") from exc
    with stream:
        yield stream
