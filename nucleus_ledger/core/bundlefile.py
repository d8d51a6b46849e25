"""The lines of a file, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nucleus_ledger.errors import InvalidData

_GZIP = b"\x1f\x8b"
_MOST_LINE = 64 << 20


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines with their newlines; raises `InvalidData` where it is damaged.

    A line of more than 64 MiB comes in parts, none of which ends in a newline but the last.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        source: IO[bytes] = gzip.open(raw) if packed else raw  # type: ignore[assignment]
        try:
            while line := source.readline(_MOST_LINE):
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise InvalidData(f"the compressed file is damaged: {exc}") from exc
