"""Reports and times as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.report import Report, StreamReport, notice_lines
from nucleus_ledger.core.visible import visible

_SHOWN = 200  # characters of one value in a finding


def report_lines(report: Report) -> Iterator[str]:
    """Yield a report as text: the streams, then what was found, then what was concluded.

    A tampered row may hold escape codes and newlines: no line obeys them, none is forged by them.
    """
    for line in _lines(report):
        yield visible(line).replace("\n", "‹U+000A›")


def _lines(report: Report) -> Iterator[str]:
    yield from table(
        ("stream", "entries", "checked", "head", "result", "assurance"),
        [_stream_row(stream) for stream in report.streams],
    )
    for finding in report.findings:
        yield ""
        yield from finding_lines(finding)
    yield from _notes(report)
    hidden = report.findings_total - len(report.findings)
    if hidden:
        yield ""
        yield f"… and {hidden} more findings that are counted but not kept"
    for problem in report.problems:
        yield f"problem ({problem.module}) {problem.stream} #{problem.sequence}: {problem.message}"
    yield from notice_lines(report)
    for line in report.evidence:
        yield f"held against {line}"
    for demand in report.unmet:
        yield f"not met: {demand}"
    for warning in report.warnings:
        yield f"warning: {warning}"
    for error in report.errors:
        yield f"error: {error}"
    yield ""
    yield conclusion(report)


def conclusion(report: Report) -> str:
    """Say in one line what follows from a report, and no more than was checked."""
    streams = f"{report.entries} entries in {len(report.streams)} streams read"
    match report.result:
        case "intact":
            return f"intact: {streams}, ledger {report.ledger!r}, nothing found; {_assured(report)}"
        case "intact_since":
            return (
                f"intact since the earlier verifications named above: {streams}; "
                "entries before them were not read"
            )
        case "acknowledged":
            return f"acknowledged: {streams}; every finding is on record in nucleus.incidents"
        case "tampered":
            count = report.findings_total
            broken = sum(1 for stream in report.streams if stream.findings_total)
            return f"TAMPERED: {count} finding(s) in {broken} stream(s); {streams}"
        case _:
            reason = report.errors[0] if report.errors else "there is no entry to verify"
            return f"unknown: {reason}"


def _assured(report: Report) -> str:
    if report.assurance == "chain":
        return "assurance: chain (who can write everything could have rewritten it)"
    through = "each stream through its newest recorded length"
    return f"assurance: {report.assurance} ({through}; entries after it rest on the chain alone)"


def finding_lines(finding: Finding) -> Iterator[str]:
    record = "" if finding.record_id is None else f", record {finding.record_id}"
    yield f"{finding.kind} in {finding.stream} at #{finding.sequence}{record}"
    yield f"  {finding.message}"
    if finding.expected is not None or finding.actual is not None:
        yield f"  expected: {_value(_without_note(finding.expected))}"
        yield f"  actual:   {_value(_without_note(finding.actual))}"


def _notes(report: Report) -> Iterator[str]:
    """Yield each note that findings carry, once and whole: they are the evidence."""
    found: dict[str, str] = {}
    for finding in report.findings:
        for value, label in ((finding.expected, "signed"), (finding.actual, "in the database")):
            note = value.get("note") if isinstance(value, dict) else None
            if finding.kind == "checkpoint_mismatch" and isinstance(note, str):
                found.setdefault(note, label)
    for note, label in found.items():
        yield ""
        yield f"the note {label}:"
        for line in note.removesuffix("\n").split("\n"):
            yield f"  {line}"


def _without_note(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name != "note"}
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a table, every column as wide as it needs to be."""
    cells = [list(header), *([visible(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for index, row in enumerate(cells):
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
        if index == 0:
            yield "  ".join("-" * width for width in widths)


def _through(stream: StreamReport) -> str:
    if stream.assurance == "chain":
        return "chain"
    return f"{stream.assurance} through {stream.assured_through}"


def _stream_row(stream: StreamReport) -> tuple[str, ...]:
    checked = "nothing"
    if stream.checked_from is not None:
        checked = f"{stream.checked_from}–{stream.checked_to}"
    return (
        stream.name,
        str(stream.length),
        checked,
        (stream.head_hash or "")[:12],
        f"{stream.result}{f' ({stream.based_on})' if stream.based_on else ''}",
        _through(stream),
    )


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else canonical.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
