"""What a verification says: `nucleus-ledger/report/v1`, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.manifestlog import Expectation
from nucleus_ledger.core.registration import REGISTERED_LATE, LateEntries, Notice
from nucleus_ledger.core.transition import CheckpointRef, Known, Mode, Result

SCHEMA = "nucleus-ledger/report/v1"

Assurance = Literal["chain", "checkpoint", "witnessed"]

ASSURANCES: tuple[Assurance, ...] = ("chain", "checkpoint", "witnessed")
EXIT_INTACT, EXIT_TAMPERED, EXIT_UNKNOWN, EXIT_NOT_STRICT = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Problem:
    """What a module's `validate` complains of. It never makes a chain tampered."""

    message: str
    module: str = ""
    stream: str = ""
    sequence: int | None = None
    record_id: str | None = None

    def at(self, *, module: str, stream: str, sequence: int, record_id: str) -> Problem:
        return replace(self, module=module, stream=stream, sequence=sequence, record_id=record_id)

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "stream": self.stream,
            "sequence": self.sequence,
            "record_id": self.record_id,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream's part. `checked_from` and `checked_to` are sequences, both included.

    `assurance` is what the entries through `assured_through` were held against beside the chain
    itself; entries after it, and all where it is None, rest on the chain alone. `notices` are of
    `late_entries` that were registered later than they claim, as far as that was looked at: of the
    entries from `times_from` on, None where no checkpoint tells. `error` says what kept
    the check from its end, and belongs among the errors of the report that the stream is in.
    """

    name: str
    length: int
    head_hash: str | None
    checked_from: int | None
    checked_to: int | None
    entries_checked: int
    findings: tuple[Finding, ...] = ()
    findings_total: int = 0
    findings_digest: str | None = None
    result: Result = "unknown"
    based_on: str | None = None
    key: int | None = None  # of the stream's row, where there is one
    assurance: Assurance = "chain"
    assured_through: int | None = None
    # For an acknowledgement: the digest of what the walk alone found, and what else found some.
    walked: str | None = None
    outside: tuple[str, ...] = ()
    # For `core.transition`: what it was held against and whether that found something, the stored
    # checkpoint that this includes, the runs whose breaks are on record, and the break that stands.
    held: CheckpointRef | None = None
    evident: bool = False
    covers: CheckpointRef | None = None
    on_record: tuple[int, ...] = ()
    standing: Known | None = None
    notices: tuple[Notice, ...] = ()
    late_entries: int = 0
    times_from: int | None = None
    error: str = ""

    @property
    def times_judged(self) -> bool:
        """Whether each timestamp that was read was held against a checkpoint before it."""
        first = self.checked_from
        return first is None or (self.times_from is not None and self.times_from <= first)

    @property
    def intact(self) -> bool | None:
        """True only when every entry was read and nothing was found; False after a finding."""
        if self.result == "intact":
            return True
        return False if self.result in ("tampered", "acknowledged") else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "intact": self.intact,
            "length": self.length,
            "checked_from": self.checked_from,
            "checked_to": self.checked_to,
            "entries_checked": self.entries_checked,
            "head_hash": self.head_hash,
            "assurance": self.assurance,
            "assured_through": (
                self.checked_to if self.assurance == "chain" else self.assured_through
            ),
            "based_on": self.based_on,
            "times_judged_from": self.times_from,
            "late_entries": self.late_entries,
            "findings": [finding.as_dict() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One verification. Times are ISO 8601 with offset; `evidence` says what the ledger was held
    against beside itself."""

    mode: Mode
    database: str
    ledger: str
    started_at: str
    finished_at: str
    streams: Sequence[StreamReport]
    guards: dict[str, Any]
    deep: bool = False
    validated: bool = False
    warnings: Sequence[str] = ()
    errors: Sequence[str] = ()
    evidence: Sequence[str] = ()
    unmet: Sequence[str] = ()  # demands; see `core.demands`
    problems: Sequence[Problem] = ()
    verification: int | None = None
    checkpoint: CheckpointRef | None = None

    @property
    def result(self) -> Result:
        """The worst of the streams; never better than what was looked at."""
        results = {stream.result for stream in self.streams}
        if "tampered" in results:
            return "tampered"
        # Empty streams say nothing either way, but something must have been checked.
        if self.errors or not (results - {"unknown"}):
            return "unknown"
        if "acknowledged" in results:
            return "acknowledged"
        if self.mode != "full" or "intact_since" in results:
            return "intact_since"
        return "intact"

    @property
    def intact(self) -> bool | None:
        match self.result:
            case "intact":
                return True
            case "tampered" | "acknowledged":
                return False
            case _:
                return None

    @property
    def assurance(self) -> Assurance:
        """The lowest of the streams: all that is said of the whole."""
        streams = self.assured_streams
        lowest = min((ASSURANCES.index(each.assurance) for each in streams), default=0)
        return ASSURANCES[lowest]

    @property
    def assured_streams(self) -> list[StreamReport]:
        """The streams that an assurance says something of: in an empty one nothing can differ."""
        return [each for each in self.streams if each.length != 0 or each.result != "unknown"]

    @property
    def notices(self) -> list[Notice]:
        """What is no sign of tampering, and worth knowing. Never changes a result."""
        return [notice for stream in self.streams for notice in stream.notices]

    @property
    def late_entries(self) -> int:
        """How many entries were registered later than they claim, those of no notice included."""
        return sum(stream.late_entries for stream in self.streams)

    @property
    def times_judged(self) -> bool:
        return all(stream.times_judged for stream in self.streams)

    @property
    def findings(self) -> list[Finding]:
        return [finding for stream in self.streams for finding in stream.findings]

    @property
    def findings_total(self) -> int:
        return sum(stream.findings_total for stream in self.streams)

    @property
    def entries(self) -> int:
        return sum(stream.entries_checked for stream in self.streams)

    def exit_code(
        self,
        *,
        accept_acknowledged: bool = False,
        strict_guards: bool = False,
        strict_validate: bool = False,
        strict_times: bool = False,
    ) -> int:
        """Return what a command says to the shell (DESIGN: 0 intact, 1 tampered, 2 unknown, 3)."""
        if self.result == "tampered":
            return EXIT_TAMPERED
        if self.result == "unknown":
            return EXIT_UNKNOWN
        if self.result == "acknowledged" and not accept_acknowledged:
            return EXIT_TAMPERED
        if self.unmet:
            return EXIT_UNKNOWN
        if strict_guards and not self.guards.get("ok"):
            return EXIT_NOT_STRICT
        if strict_validate and (self.problems or not self.validated):
            return EXIT_NOT_STRICT
        if strict_times and (self.late_entries or not self.times_judged):
            return EXIT_NOT_STRICT
        return EXIT_INTACT

    def as_dict(self, exit_code: int) -> dict[str, Any]:
        shown = len(self.findings)
        return {
            "schema": SCHEMA,
            "result": self.result,
            "intact": self.intact,
            "exit_code": exit_code,
            "mode": self.mode,
            "deep": self.deep,
            "validated": self.validated,
            "assurance": self.assurance,
            "database": self.database,
            "ledger": self.ledger,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "entries": self.entries,
            "guards": self.guards,
            "warnings": list(self.warnings),
            "errors": list(self.errors),
            "evidence": list(self.evidence),
            "unmet": list(self.unmet),
            "problems": [problem.as_dict() for problem in self.problems],
            "notices": [notice.as_dict() for notice in self.notices],
            "late_entries": self.late_entries,
            "times_judged": self.times_judged,
            "findings_total": self.findings_total,
            "findings_truncated": self.findings_total > shown,
            "verification": self.verification,
            "streams": [stream.as_dict() for stream in self.streams],
        }


def notice_lines(report: Report) -> Iterator[str]:
    """Yield each notice as a line, and how many late entries are counted and not shown."""
    for notice in report.notices:
        yield f"notice: {REGISTERED_LATE} in {notice.stream}: {notice.message}"
    hidden = report.late_entries - sum(notice.count for notice in report.notices)
    if hidden:
        yield f"notice: … and {hidden} more entries {REGISTERED_LATE} that are counted and not kept"


def times_not_judged(report: Report) -> str:
    """Say why a run that was to be strict about times cannot be; empty where it can."""
    if report.times_judged:
        return ""
    names = [each.name for each in report.streams if not each.times_judged]
    return (
        f"the timestamps of {len(names)} stream(s) were not all held against checkpoints: "
        f"{', '.join(map(str, names[:3]))}{', …' if len(names) > 3 else ''}"
    )


def with_late_entries(
    report: StreamReport, late: LateEntries | None, expected: Expectation | None
) -> StreamReport:
    """Return a stream's report with what checkpoints tell of the times in it."""
    if late is None or expected is None:
        return report
    return replace(
        report,
        notices=late.notices,
        late_entries=late.total,
        times_from=expected.times_from,
    )
