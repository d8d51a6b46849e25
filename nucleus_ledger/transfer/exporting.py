"""Writes a ledger, or a part of it, as a bundle (`core.bundle`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections

from nucleus_ledger import rowsource, verification
from nucleus_ledger.conf import conf
from nucleus_ledger.core.bundle import Header, Span, Writer, note_line
from nucleus_ledger.core.chain import Cursor, walk
from nucleus_ledger.core.manifest import time_text
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.errors import IntegrityFailed, InvalidData
from nucleus_ledger.evidence import stored
from nucleus_ledger.evidence.growing import refusal
from nucleus_ledger.rowsource import StoredStream


@dataclass(frozen=True, slots=True)
class Exported:
    """What a bundle holds now."""

    streams: int
    entries: int
    checkpoint_size: int


def export(
    using: str,
    write: Callable[[bytes], object],
    names: Iterable[str] | None = None,
    *,
    low: int = 0,
    high: int | None = None,
    checkpoint: bool = True,
) -> Exported:
    """Write streams, all or those named, and the evidence of the newest checkpoint.

    `low` and `high` cut one stream to low <= sequence < high. Every entry is judged on its way:
    raises `IntegrityFailed` for the first that is not right, `NotFound` for an unknown stream and
    `InvalidData` for a range that is none. What was written by then is no bundle.
    """
    wanted = None if names is None else list(dict.fromkeys(names))
    if (low or high is not None) and (wanted is None or len(wanted) != 1):
        raise InvalidData("a range is one of a single stream: name it")
    size = stored.size(using) if checkpoint else 0  # before the heads, which are no shorter then
    found = rowsource.read_heads(connections[using], wanted)
    verification.refuse_unknown(wanted, {each.head.stream for each in found})
    spans = [_span(using, each, low, high) for each in found]
    header = Header(conf.ledger_of(using), time_text(datetime.now(UTC)), tuple(spans), size)
    writer = Writer(write)
    writer.line(str(header))
    if size:
        _write_evidence(using, writer, size)
    for each, span in zip(found, spans, strict=True):
        _write_entries(using, writer, each, span)
    writer.end()
    return Exported(len(spans), sum(span.high - span.low for span in spans), size)


def _span(using: str, stream: StoredStream, low: int, high: int | None) -> Span:
    head = stream.head
    if stream.id is None or type(head.length) is not int:
        raise IntegrityFailed(f"stream {head.stream!r} has a row that no append writes")
    end = head.length if high is None else high
    if not 0 <= low <= end <= head.length:
        raise InvalidData(f"stream {head.stream!r} has {head.length} entries: no {low} to {end}")
    before = rowsource.read_hash(connections[using], stream.id, low - 1) if low else None
    return Span(head.stream, head.ledger, low, end, before)


def _write_evidence(using: str, writer: Writer, size: int) -> None:
    for manifest, heads in stored.documents(using, 0, size):
        for head in heads:
            writer.line(head)
        writer.line(manifest)
    note = stored.checkpoints(using).values_list("note", flat=True).get(number=size - 1)
    writer.line(note_line(note))


def _write_entries(using: str, writer: Writer, stream: StoredStream, span: Span) -> None:
    rules = rowsource.rules_for(connections[using], span.name, conf.ledgers_of(using))
    cursor = Cursor(span.low, (span.prev_hash,))

    def windows() -> Iterator[Window]:
        connection = connections[using]
        for window in rowsource.read_windows(connection, stream.id, span.low, span.high):
            yield window
            _write_window(writer, window)

    for finding in walk(windows(), cursor, rules):
        raise IntegrityFailed(refusal(finding))
    if cursor.sequence != span.high:
        raise IntegrityFailed(
            f"stream {span.name!r} ends at {cursor.sequence} and should at {span.high}"
        )


def _write_window(writer: Writer, window: Window) -> None:
    texts: Sequence[str] = window.serialized
    for text in texts:
        writer.line(text)
