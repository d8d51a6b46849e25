"""`manage.py verify_ledger`: exit 0 intact, 1 tampering, 2 could not be told, 3 not strict."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucleus_ledger import verification
from nucleus_ledger.conf import conf
from nucleus_ledger.core import note
from nucleus_ledger.core.against import Evidence
from nucleus_ledger.core.demands import Demands, Held, parse_duration, unmet
from nucleus_ledger.core.report import (
    EXIT_NOT_STRICT,
    EXIT_UNKNOWN,
    Report,
    times_not_judged,
)
from nucleus_ledger.evidence import against
from nucleus_ledger.management.files import FileNotWritten, check_writable, write_text
from nucleus_ledger.management.outcomes import LedgerCommand, failure, json_text, user
from nucleus_ledger.management.rendering import conclusion, report_lines

_NOTHING = "nothing but the chain itself"


class Command(LedgerCommand):
    help = "Verify the ledger: every entry of every stream, or of the streams named."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("streams", nargs="*", metavar="STREAM", help="verify these only")
        parser.add_argument(
            "--incremental",
            action="store_true",
            help="read only what came since the last intact verification; never says intact",
        )
        parser.add_argument("--fail-fast", action="store_true", help="stop at the first finding")
        parser.add_argument(
            "--deep", action="store_true", help="judge every text by rfc8785 itself"
        )
        parser.add_argument(
            "--validate", action="store_true", help="ask the stream modules about every entry"
        )
        parser.add_argument(
            "--against",
            action="append",
            default=[],
            metavar="CHECKPOINT",
            help="hold the ledger against this signed note, or the folder of a sink; repeatable",
        )
        parser.add_argument(
            "--chain-only",
            action="store_true",
            help="hold it against nothing but itself; else the newest checkpoint of the sinks is "
            "used where none is given",
        )
        parser.add_argument(
            "--min-assurance",
            choices=("checkpoint", "witnessed"),
            help="exit 2 unless every stream was held against such a checkpoint",
        )
        parser.add_argument(
            "--newer-than",
            metavar="DURATION",
            help="exit 2 unless the newest checkpoint is newer, as in 90m, 36h or 7d",
        )
        parser.add_argument(
            "--vkey",
            action="append",
            default=[],
            metavar="KEY",
            help="a key that checkpoints may be signed with; else those of CHECKPOINT_VKEYS",
        )
        parser.add_argument(
            "--witness-vkey",
            action="append",
            default=[],
            metavar="KEY",
            help="a witness whose cosignature counts; else those of WITNESS_VKEYS",
        )
        parser.add_argument("--workers", type=int, default=1, help="processes over the streams")
        parser.add_argument(
            "--accept-acknowledged",
            action="store_true",
            help="exit 0 where every finding is acknowledged",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text")
        parser.add_argument("--output", metavar="FILE", help="write the report there")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")
        parser.add_argument(
            "--strict-guards", action="store_true", help="exit 3 unless all guards are in place"
        )
        parser.add_argument(
            "--strict-validate", action="store_true", help="validate, and exit 3 on a problem"
        )
        parser.add_argument(
            "--strict-times",
            action="store_true",
            help="exit 3 where entries were registered later than they claim, or that is not known",
        )

    def handle_ledger(self, *args: Any, streams: list[str], database: str, **options: Any) -> None:
        if options["output"] is not None:
            check_writable(Path(options["output"]))
        demands = _demands(options)
        evidence, signed = _evidence(database, options)
        with _progress_bar(options["no_progress"]) as bar:
            report = verification.verify(
                database,
                streams or None,
                mode="incremental" if options["incremental"] else "full",
                deep=options["deep"],
                validate=options["validate"] or options["strict_validate"],
                fail_fast=options["fail_fast"],
                workers=options["workers"],
                progress=_onto(bar),
                origin="command",
                user=user(),
                evidence=evidence,
            )
        held = Held(evidence.made(), signed)
        now, (_depth, _size, slack) = int(time.time() * 1000), conf.entry_limits
        report = replace(report, unmet=unmet(report, demands, held, now=now, slack=slack))
        code = report.exit_code(
            accept_acknowledged=options["accept_acknowledged"],
            strict_guards=options["strict_guards"],
            strict_validate=options["strict_validate"],
            strict_times=options["strict_times"],
        )
        message = conclusion(report)
        if report.unmet:
            message += f"; not met: {report.unmet[0]}"
        if code == EXIT_NOT_STRICT:
            why = times_not_judged(report) if options["strict_times"] else ""
            message += f"; a strict option is not met: {why or 'see the report'}"
        try:
            self._write(report, code, options["format"], options["output"])
        except (FileNotWritten, OSError) as exc:  # never instead of what was found
            message, code = f"{message}; the report was lost: {exc}", code or EXIT_UNKNOWN
        if code:
            raise failure(message, returncode=code)

    def _write(self, report: Report, code: int, form: str, output: str | None) -> None:
        encoding = None if output else getattr(self.stdout, "encoding", None)
        if form == "json":
            text = json_text(report.as_dict(code), encoding)
        else:
            text = "\n".join(report_lines(report))
        if output is None:
            self.stdout.write(text)
            self.stdout.flush()
        else:
            write_text(Path(output), text + "\n")


def _demands(options: dict[str, Any]) -> Demands:
    age = options["newer_than"]
    newer_than = None if age is None else parse_duration(age)
    if age is not None and newer_than is None:
        raise failure(f"--newer-than {age!r} is no duration such as 90m, 36h or 7d")
    return Demands(options["min_assurance"], newer_than)


def _evidence(database: str, options: dict[str, Any]) -> tuple[Evidence, bool]:
    """Return what to hold the ledger against, and whether its signature is checked."""
    if options["chain_only"]:
        for name in ("against", "vkey", "witness_vkey", "min_assurance", "newer_than"):
            if options[name]:
                option = name.replace("_", "-")
                raise failure(f"--chain-only leaves checkpoints out, which --{option} is about")
        return Evidence(lines=[f"{_NOTHING} (--chain-only)"]), False
    if options["against"]:
        keys = list(map(note.parse_vkey, options["vkey"])) or conf.checkpoint_vkeys
        witnesses = list(map(note.parse_vkey, options["witness_vkey"])) or conf.witness_vkeys
        return against.load(database, options["against"], keys, witnesses), bool(keys)
    if options["vkey"] or options["witness_vkey"]:
        raise failure("--vkey and --witness-vkey need --against: sinks have the keys of settings")
    evidence = against.newest(database, whole=not options["incremental"]) or Evidence()
    if not evidence.lines:
        why = "the sinks hold no checkpoint" if conf.checkpoint_sinks else "there are no sinks"
        if evidence.errors:
            why = "no checkpoint could be read"
        evidence.lines.append(f"{_NOTHING}: {why}")
    return evidence, True


def _progress_bar(silent: bool) -> tqdm[Any]:
    disable = silent or not sys.stderr.isatty()
    return tqdm(unit=" entries", unit_scale=True, disable=disable, file=sys.stderr, leave=False)


def _onto(bar: tqdm[Any]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress
