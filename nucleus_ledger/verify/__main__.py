"""`python -m nucleus_ledger.verify BUNDLE|RECEIPT --vkey KEY`: for an auditor who trusts nobody.

Needs no Django and no database: this file and the modules of `nucleus_ledger.core` are all there is
to review. Exit 0: everything in the file holds, under the keys given; 1: it does not; 2: it could
not be told; 3: `--strict-times` and entries were registered later than they claim.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from nucleus_ledger.core import bundlecheck, canonical, moments, note, receipt
from nucleus_ledger.core.bundlecheck import Trust
from nucleus_ledger.core.bundlefile import read_lines
from nucleus_ledger.core.note import VerifierKey
from nucleus_ledger.core.receipt import Proved
from nucleus_ledger.core.registration import REGISTERED_LATE
from nucleus_ledger.core.report import (
    EXIT_INTACT,
    EXIT_NOT_STRICT,
    EXIT_TAMPERED,
    EXIT_UNKNOWN,
    Report,
    notice_lines,
    times_not_judged,
)
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import LedgerError

_SHOWN = 50  # findings on a terminal; JSON has more


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # what an encoding lacks is escaped, and not raised
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        trust = _trust(options)
        if _is_receipt(options.file):
            return _check_receipt(options.file, trust, options)
        return _check_bundle(options.file, trust, options)
    except (LedgerError, OSError) as exc:
        _say(f"NOT VERIFIED: {options.file}: {exc}", sys.stderr)
        return EXIT_UNKNOWN
    except KeyboardInterrupt:
        _say("NOT VERIFIED: interrupted", sys.stderr)
        return EXIT_UNKNOWN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nucleus_ledger.verify",
        description="Verify a bundle or a receipt of a ledger, with no Django and no database.",
    )
    parser.add_argument("file", type=Path, metavar="BUNDLE|RECEIPT")
    add = parser.add_argument
    add("--vkey", action="append", default=[], metavar="KEY", help="the signer's; repeatable")
    add(
        "--witness-vkey", action="append", default=[], metavar="KEY", help="a witness's; repeatable"
    )
    add("--witness-threshold", type=int, default=1, metavar="N", help="how many must have cosigned")
    add("--ledger", action="append", metavar="ID", help="the ledger it must be of; repeatable")
    add(
        "--clock-skew",
        type=int,
        default=300_000,
        metavar="MS",
        help="how much earlier than it was registered an entry may claim to be (300000)",
    )
    add(
        "--strict-times",
        action="store_true",
        help="exit 3 where entries were registered later than they claim, or that is not known",
    )
    add(
        "--part",
        action="store_true",
        help="accept a bundle that leaves out what its checkpoint has",
    )
    add("--deep", action="store_true", help="judge the form of every text by rfc8785 itself")
    add("--format", choices=("text", "json"), default="text")
    return parser


def _trust(options: argparse.Namespace) -> Trust:
    return Trust(
        keys=_keys(options.vkey),
        witnesses=_keys(options.witness_vkey),
        threshold=options.witness_threshold,
        ledgers=frozenset(options.ledger) if options.ledger else None,
        slack=options.clock_skew,
        deep=options.deep,
    )


def _keys(texts: Sequence[str]) -> list[VerifierKey]:
    return [note.parse_vkey(text) for text in texts]


def _is_receipt(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(10) == b'{"before":'  # a bundle begins with "checkpoint_size"


def _check_receipt(path: Path, trust: Trust, options: argparse.Namespace) -> int:
    if not trust.keys:
        _say("NOT VERIFIED: a receipt proves nothing without the signer's --vkey", sys.stderr)
        return EXIT_UNKNOWN
    made = receipt.parse(path.read_bytes())
    try:
        proved = receipt.check(made, trust.keys, trust.ledgers, trust.witnesses)
    except LedgerError as exc:
        _say(f"DOES NOT HOLD: {exc}", sys.stderr)
        return EXIT_TAMPERED
    too_few = bool(trust.witnesses) and len(proved.cosigned_by) < trust.threshold
    if options.format == "json":
        _write(json.dumps(_said(proved, trust, too_few=too_few), indent=2))
    elif too_few:
        _say(f"NOT VERIFIED: {trust.too_few()}", sys.stderr)
    else:
        for line in _proved_lines(proved, trust):
            _say(line)
    if too_few:
        return EXIT_UNKNOWN
    if options.strict_times and (proved.notices(trust.slack) or not proved.times_judged):
        why = "the entry was registered late" if proved.before else "it is not known if it is late"
        _say(f"NOT STRICT: {why}", sys.stderr)
        return EXIT_NOT_STRICT
    return EXIT_INTACT


def _said(proved: Proved, trust: Trust, *, too_few: bool) -> dict[str, Any]:
    return {
        "schema": "nucleus-ledger/proved/v1",
        "ledger": proved.entry["ledger"],
        "ledger_pinned": trust.ledgers is not None,
        "stream": proved.head.stream,
        "sequence": proved.entry["sequence"],
        "record_id": proved.entry["id"],
        "hash": proved.hash,
        "entry": proved.entry,
        "stream_length": proved.head.length,
        "checkpoint": {"origin": proved.checkpoint.origin, "size": proved.checkpoint.size},
        "created_at": proved.manifest.created_at,
        "registered": {
            "after": proved.before.created_at if proved.before else None,
            "by": proved.manifest.created_at,
        },
        "notices": [notice.as_dict() for notice in proved.notices(trust.slack)],
        "signed_by": [str(each.key) for each in proved.signed_by],
        "cosigned_by": [str(each.key) for each in proved.cosigned_by],
        "unmet": [trust.too_few()] if too_few else [],
    }


def _proved_lines(proved: Proved, trust: Trust) -> Iterator[str]:
    entry, said = proved.entry, proved.checkpoint
    yield f"PROVED: entry {entry['sequence']} of {entry['stream']}, record {entry['id']}"
    yield f"  time:       {moments.moment(entry['timestamp'])} (as the entry says)"
    yield f"  hash:       {proved.hash}"
    yield f"  payload:    {canonical.dumps(entry['payload'])}"
    yield f"  registered: {proved.registered.removeprefix('registered ')}"
    yield f"  checkpoint: {said.size} of {said.origin}"
    yield f"  signed by:  {', '.join(each.key.name for each in proved.signed_by)}"
    if trust.witnesses:
        names = ", ".join(each.key.name for each in proved.cosigned_by)
        yield f"  witnesses:  {names or 'none of those known cosigned'}"
    for notice in proved.notices(trust.slack):
        yield f"notice: {REGISTERED_LATE} in {notice.stream}: {notice.message}"
    if trust.ledgers is None:
        yield f"warning: the ledger is not pinned (--ledger): it calls itself {entry['ledger']!r}"


def _check_bundle(path: Path, trust: Trust, options: argparse.Namespace) -> int:
    _header, report = bundlecheck.check(read_lines(path), trust, label=str(path))
    code = report.exit_code(strict_times=options.strict_times)
    told = code in (EXIT_INTACT, EXIT_NOT_STRICT)
    if told and report.mode == "range" and not options.part:
        code = EXIT_UNKNOWN
    if options.format == "json":
        _write(json.dumps(report.as_dict(code), indent=2))
    else:
        _print(report, code)
    return code


def _print(report: Report, code: int) -> None:
    for stream in report.streams:
        through = "" if stream.assurance == "chain" else f" through {stream.assured_through}"
        _say(
            f"{stream.name}: {stream.entries_checked} entries, {stream.result}, "
            f"assurance {stream.assurance}{through}"
        )
    for finding in report.findings[:_SHOWN]:
        _say(f"{finding.kind} in {finding.stream} at #{finding.sequence}: {finding.message}")
    for line in notice_lines(report):
        _say(line)
    for line in report.evidence:
        _say(f"held against {line}")
    for warning in report.warnings:
        _say(f"warning: {warning}")
    for error in report.errors:
        _say(f"error: {error}")
    streams = f"{report.entries} entries in {len(report.streams)} streams"
    match code, report.result:
        case 0, "intact":
            _say(f"INTACT: {streams}, ledger {report.ledger!r}, assurance: {report.assurance}")
        case 0, _:
            _say(f"A PART, and nothing wrong in it: {streams}")
        case 3, _:
            _say(f"NOT STRICT: {times_not_judged(report) or 'entries were registered late'}")
        case 1, _:
            _say(f"TAMPERED: {report.findings_total} finding(s) in {streams}")
        case _:
            _say(f"NOT VERIFIED: {_why(report)}")


def _why(report: Report) -> str:
    if report.errors:
        return report.errors[0]
    if report.unmet:
        return report.unmet[0]
    if report.mode == "range":
        return "it is a part of what its checkpoint has; --part accepts that"
    return "there is no entry in it"


def _say(line: str, file: IO[str] | None = None) -> None:
    """Print one line: what a file holds may not act on a terminal, or make lines of its own."""
    _write(visible(line).replace("\n", "‹U+000A›"), file)


def _write(text: str, file: IO[str] | None = None) -> None:
    print(text, file=file or sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
