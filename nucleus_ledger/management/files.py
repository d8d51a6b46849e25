"""Files that commands write."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from nucleus_ledger.errors import InvalidData

_MOST_LINKS = 40  # as many as Linux follows
_SHOWN = 40  # characters of a file's name in that of its temporary file


class FileNotWritten(InvalidData):
    """A file that a command is to write cannot be written."""


def check_writable(file: Path) -> None:
    """Raise `FileNotWritten` for what can be seen before any work: no folder, or a folder."""
    with _named(file):
        _check(_target(file))


@contextmanager
def written(file: Path) -> Iterator[IO[bytes]]:
    """Write a file as a whole or not at all: a reader finds what was there before, or all of it.

    Links are followed. A file that exists keeps its mode, and its owner where that is allowed; the
    umask decides the mode of a new one. A device, a pipe or an open descriptor (`/dev/stdout`) is
    written into and stays what it is. Raises `FileNotWritten` for every `OSError` inside.
    """
    with _named(file):
        target = _target(file)
        _check(target)
        if isinstance(target, int):
            with os.fdopen(os.dup(target), "wb") as stream:
                yield stream
        elif target.exists() and not target.is_file():
            with os.fdopen(os.open(target, os.O_WRONLY), "wb") as stream:
                yield stream
        else:
            with _replacing(target) as stream:
                yield stream


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8; see `written`."""
    data = text.encode()
    with written(file) as stream:
        stream.write(data)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise FileNotWritten(f"{file} cannot be written: {exc.strerror or exc}") from exc


def _target(file: Path) -> Path | int:
    """Follow links to the file itself, or to the descriptor of this process that one names.

    What a descriptor is open on is not replaced: others hold it open too, and may append to it.
    """
    own = re.compile(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd")
    path = os.path.abspath(file)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if own.fullmatch(folder) and name.isdecimal():
            return int(name)
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(folder, os.readlink(path)))
    return Path(os.path.realpath(path))


def _check(target: Path | int) -> None:
    if isinstance(target, int):
        os.fstat(target)
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        target.stat()  # a link that leads to itself is an error here
    if target.is_dir():
        raise IsADirectoryError(None, "it is a folder, and not a file")
    if not target.parent.is_dir():
        raise NotADirectoryError(None, f"there is no folder {target.parent}")


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    temporary = target.with_name(f".{target.name[:_SHOWN]}.{secrets.token_hex(8)}")
    before = target.stat() if target.exists() else None
    mode = 0o666 if before is None else 0o600  # of a new file the umask takes its bits
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                with suppress(OSError, AttributeError):  # not ours to give, or not POSIX
                    os.chown(temporary, before.st_uid, before.st_gid)
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
