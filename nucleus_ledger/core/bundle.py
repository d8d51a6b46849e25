"""A bundle: a ledger, or a part of one, as a file of lines that anybody can check.

Each line is a text of its own in RFC 8785 form and ends in a newline:

    header     {"schema": "nucleus-ledger/bundle/v1", "checkpoint_size", "created_at", "ledger",
               "streams": [{"from", "ledger", "name", "prev_hash", "to"}, …]}
    evidence   for each manifest below `checkpoint_size`: the stream heads that are new in it, then
               the manifest; then one {"note", "schema": "nucleus-ledger/note/v1"}
    entries    of each stream of the header, in its order: those of from <= sequence < to, each the
               very text that its hash is made of
    trailer    {"lines", "schema": "nucleus-ledger/bundle-end/v1", "sha256"}: how many lines are
               before it, and the SHA-256 of them with their newlines

The trailer tells damage; what an attacker writes is told by the chain and the signed note alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.entrytext import row_of
from nucleus_ledger.core.manifest import MANIFEST_SCHEMA
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.rebuilding import Row, Window
from nucleus_ledger.core.record import is_label
from nucleus_ledger.errors import Deserialization, InvalidData

SCHEMA = "nucleus-ledger/bundle/v1"
NOTE_SCHEMA = "nucleus-ledger/note/v1"
END_SCHEMA = "nucleus-ledger/bundle-end/v1"
_HASH = re.compile("[0-9a-f]{64}")
_WINDOW = 500
_MEMBERS = {"name", "ledger", "from", "to", "prev_hash"}


@dataclass(frozen=True, slots=True)
class Span:
    """The entries low <= sequence < high of a stream; `prev_hash` is that of the one before."""

    name: str
    ledger: str
    low: int
    high: int
    prev_hash: str | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ledger": self.ledger,
            "from": self.low,
            "to": self.high,
            "prev_hash": self.prev_hash,
        }


@dataclass(frozen=True, slots=True)
class Header:
    """What a bundle holds. `created_at` is a time as a manifest says it."""

    ledger: str
    created_at: str
    streams: tuple[Span, ...]
    checkpoint_size: int = 0

    def __str__(self) -> str:
        return canonical.dumps(
            {
                "schema": SCHEMA,
                "ledger": self.ledger,
                "created_at": self.created_at,
                "streams": [span.as_dict() for span in self.streams],
                "checkpoint_size": self.checkpoint_size,
            }
        )


class Writer:
    """Writes lines, and the trailer that belongs to them."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._sha256 = hashlib.sha256()
        self.lines = 0

    def line(self, text: str) -> None:
        data = text.encode() + b"\n"
        self._sha256.update(data)
        self.lines += 1
        self._write(data)

    def end(self) -> None:
        trailer = {
            "schema": END_SCHEMA,
            "lines": self.lines,
            "sha256": self._sha256.hexdigest(),
        }
        self._write(canonical.dumps(trailer).encode() + b"\n")


class Reader:
    """Reads a bundle from front to back; every method raises `InvalidData` for what is malformed.

    Call `header`, `evidence`, `windows` for each of the header's streams in order, and `end`.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._source = lines
        self._sha256 = hashlib.sha256()
        self._number = 0

    def header(self) -> Header:
        said = self._object(self._line(), SCHEMA)
        try:
            spans = tuple(_span(each) for each in said["streams"])
            header = Header(said["ledger"], said["created_at"], spans, said["checkpoint_size"])
        except (KeyError, TypeError) as exc:
            raise self._wrong("the header has other members than it should") from exc
        names = [span.name for span in spans]
        if not _is_count(header.checkpoint_size) or not is_label(header.ledger):
            raise self._wrong("a value of the header is of another kind or out of range")
        if len(set(names)) < len(names):
            raise self._wrong("a stream stands in the header twice")
        if not isinstance(header.created_at, str) or said != canonical.loads(str(header)):
            raise self._wrong("the header has other members than it should")
        return header

    def evidence(self, header: Header) -> Iterator[tuple[str, list[str]]]:
        """Yield each manifest with the heads new in it."""
        for _number in range(header.checkpoint_size):
            heads: list[str] = []
            text = self._line()
            while f'"schema":"{MANIFEST_SCHEMA}"' not in text:
                heads.append(text)
                text = self._line()
            yield text, heads

    def note(self) -> str:
        """Return the signed note; requires that the bundle has evidence, and that it was read."""
        text = self._object(self._line(), NOTE_SCHEMA).get("note")
        if not isinstance(text, str):
            raise self._wrong("the note is no text")
        return text

    def windows(self, span: Span) -> Iterator[Window]:
        rows: list[Row] = []
        for _sequence in range(span.low, span.high):
            rows.append(row_of(self._line()))
            if len(rows) == _WINDOW:
                yield Window.of(rows)
                rows = []
        if rows:
            yield Window.of(rows)

    def end(self) -> None:
        number, digest = self._number, self._sha256.hexdigest()
        said = self._object(self._line(), END_SCHEMA)
        if said != {"schema": END_SCHEMA, "lines": number, "sha256": digest}:
            raise self._wrong("the lines before are not those that were written")
        if next(self._source, None) is not None:
            raise self._wrong("something follows the trailer")

    def _line(self) -> str:
        data = next(self._source, b"")
        self._number += 1
        if not data.endswith(b"\n"):
            raise self._wrong("the bundle is cut off")
        self._sha256.update(data)
        try:
            return data[:-1].decode()
        except UnicodeError as exc:
            raise self._wrong("the line is not UTF-8") from exc

    def _object(self, text: str, schema: str) -> dict[str, Any]:
        try:
            said = canonical.loads(text)
        except Deserialization as exc:
            raise self._wrong(f"not JSON: {exc}") from exc
        if not isinstance(said, dict) or said.get("schema") != schema:
            raise self._wrong(f"not a line of {schema}")
        if not canonical.is_canonical(text, said):
            raise self._wrong("the line is not written in its one form")
        return said

    def _wrong(self, what: str) -> InvalidData:
        return InvalidData(f"line {self._number}: {what}")


def note_line(note: str) -> str:
    return canonical.dumps({"schema": NOTE_SCHEMA, "note": note})


def _span(said: dict[str, Any]) -> Span:
    if said.keys() != _MEMBERS:
        raise KeyError("members")
    span = Span(said["name"], said["ledger"], said["from"], said["to"], said["prev_hash"])
    link = span.prev_hash
    good = (
        is_label(span.name)
        and is_label(span.ledger)
        and _is_count(span.low)
        and _is_count(span.high)
        and span.low <= span.high
        and (link is None if not span.low else isinstance(link, str) and _HASH.fullmatch(link))
    )
    if not good:
        raise TypeError("values")
    return span


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SAFE_INTEGER
