"""Where checkpoints are kept, away from the database: the signer's memory, and every auditor's.

A storage can be read back. For each checkpoint it holds, below a folder of the log's own,

    heads/000/000/007.jsonl      the stream heads that are new in manifest 7, one a line
    manifests/000/000/007.json   manifest 7
    checkpoints/000/000/008.txt  the signed note of size 8, written last: where it is, all is

and nothing is ever overwritten. A command and standard output only take what they are handed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages

from nucleus_ledger.conf import conf
from nucleus_ledger.errors import (
    CheckpointRefused,
    ConfigurationError,
    InvalidProof,
    LedgerError,
    SinkFailed,
)

_NUMBER = re.compile(r"\d{3}")
_COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Issue:
    """A checkpoint as it is handed out: its manifest, the heads new in it, and the note."""

    origin: str
    number: int
    manifest: str
    heads: tuple[str, ...]
    note: str


class Sink(Protocol):
    @property
    def name(self) -> str: ...

    def put(self, issue: Issue) -> None:
        """Keep a checkpoint; raises `SinkFailed`."""


class StorageSink:
    """A Django storage, of the `STORAGES` setting or a folder, below which a log has its own."""

    def __init__(self, name: str, storage: Storage, folder: str) -> None:
        self.name, self._storage, self._folder = name, storage, folder

    def newest(self) -> int:
        """Return the size of the newest checkpoint, 0 where there is none."""
        try:
            place = ["checkpoints"]
            for _level in range(2):
                folders = [each for each in self._listed(place)[0] if _NUMBER.fullmatch(each)]
                if not folders:
                    return 0
                place.append(max(folders))
            files = [each[:-4] for each in self._listed(place)[1] if each.endswith(".txt")]
            numbers = [each for each in files if _NUMBER.fullmatch(each)]
            return int("".join([*place[1:], max(numbers)])) if numbers else 0
        except FileNotFoundError:
            return 0
        except Exception as exc:  # whatever a storage raises, of any kind
            raise self._failed("cannot be listed", exc) from exc

    def note(self, size: int) -> str:
        """Return the signed note of that size; raises `SinkFailed`."""
        return self._read(f"checkpoints/{_path(size)}.txt")

    def manifest(self, number: int) -> str:
        return self._read(f"manifests/{_path(number)}.json")

    def heads(self, number: int) -> list[str]:
        text = self._read(f"heads/{_path(number)}.jsonl")
        if text and not text.endswith("\n"):
            raise SinkFailed(f"{self.name}: the heads of manifest {number} are cut off")
        return text.split("\n")[:-1]

    def put(self, issue: Issue) -> None:
        """Keep a checkpoint; raises `SinkFailed`, or `CheckpointRefused` if another is there."""
        number = issue.number
        self._write(f"heads/{_path(number)}.jsonl", "".join(f"{head}\n" for head in issue.heads))
        self._write(f"manifests/{_path(number)}.json", issue.manifest)
        self._write(f"checkpoints/{_path(number + 1)}.txt", issue.note)

    def _write(self, path: str, text: str) -> None:
        name = f"{self._folder}/{path}"
        try:
            if self._storage.exists(name):
                there = self._read(path)
                if _signed(there) == _signed(text) and not _goes_on(there, text):
                    return
                if not text.startswith(there):
                    raise CheckpointRefused(f"{self.name} already holds another {path}")
                self._storage.delete(name)  # half a file, or a note with fewer cosignatures
            saved = self._storage.save(name, ContentFile(text.encode()))
            if saved != name:  # somebody was faster, and the storage found another name
                self._storage.delete(saved)
                raise SinkFailed(f"{self.name}: {path} was written by somebody else meanwhile")
        except LedgerError:
            raise
        except Exception as exc:
            raise self._failed(f"did not take {path}", exc) from exc

    def _read(self, path: str) -> str:
        try:
            with self._storage.open(f"{self._folder}/{path}", "rb") as file:
                data: bytes = file.read()
            return data.decode()
        except Exception as exc:
            raise self._failed(f"{path} cannot be read", exc) from exc

    def _listed(self, place: Sequence[str]) -> tuple[list[str], list[str]]:
        return self._storage.listdir("/".join([self._folder, *place]))

    def _failed(self, what: str, exc: Exception) -> SinkFailed:
        return SinkFailed(f"{self.name}: {what}: {type(exc).__name__}: {exc}")


class StdoutSink:
    name = "stdout"

    def put(self, issue: Issue) -> None:
        try:
            sys.stdout.write(issue.note)
            sys.stdout.flush()
        except OSError as exc:
            raise SinkFailed(f"{self.name}: {exc}") from exc


class CommandSink:
    """A program that is handed the note on its standard input."""

    def __init__(self, name: str, line: str) -> None:
        self.name, self._line = name, shlex.split(line)

    def put(self, issue: Issue) -> None:
        told = {"LEDGER_ORIGIN": issue.origin, "LEDGER_CHECKPOINT_SIZE": str(issue.number + 1)}
        try:
            done = subprocess.run(
                self._line,
                input=issue.note.encode(),
                env={**os.environ, **told},
                capture_output=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SinkFailed(f"{self.name}: {exc}") from exc
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-300:]
            raise SinkFailed(f"{self.name}: exit code {done.returncode}: {said}")


def configured(origin: str) -> list[Sink]:
    """Return the sinks of the settings; raises `ConfigurationError`."""
    return [_sink(name, origin) for name in conf.checkpoint_sinks]


def readable(origin: str) -> list[StorageSink]:
    """Return those of the sinks that can be read back."""
    return [sink for sink in configured(origin) if isinstance(sink, StorageSink)]


def folder(path: Path) -> StorageSink:
    """Return a log's own folder, as a sink keeps it, as a sink that is read."""
    return StorageSink(str(path), FileSystemStorage(location=path.parent), path.name)


def documents(sink: StorageSink, start: int, stop: int) -> Iterator[tuple[str, list[str]]]:
    """Yield manifests from `start` up to `stop`, each with the heads that are new in it."""
    for number in range(start, stop):
        yield sink.manifest(number), sink.heads(number)


def folder_of(origin: str) -> str:
    """Return the name of a log's folder: its origin, with all in it that a path cannot hold."""
    return "log-" + quote(origin, safe="")


def _sink(name: str, origin: str) -> Sink:
    kind, _, rest = name.partition(":")
    if kind == "stdout":
        return StdoutSink()
    if kind == "command":
        return CommandSink(name, rest)
    alias, _, below = rest.partition("/")
    try:
        storage = storages[alias]
    except Exception as exc:  # also what building the storage raises
        raise ConfigurationError(f"CHECKPOINT_SINKS: {name!r}: {exc}") from exc
    return StorageSink(name, storage, "/".join(filter(None, [below, folder_of(origin)])))


def _path(number: int) -> str:
    if not 0 <= number < 10**9:
        raise InvalidProof(f"there can be no checkpoint {number}")
    digits = f"{number:09}"
    return f"{digits[:3]}/{digits[3:6]}/{digits[6:]}"


def _goes_on(there: str, text: str) -> bool:
    return len(there) < len(text) and text.startswith(there)


def _signed(text: str) -> str:
    """Return what two copies of a file must share: of a note, what its signatures sign."""
    body, blank, _signatures = text.rpartition("\n\n")
    return body if blank else text
