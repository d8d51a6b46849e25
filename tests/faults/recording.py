"""What each fault test tried and what survived, and the page that says it.

A test records one `Trial` for each fault and database. Trials of one fault and database add up, so
a parametrised test records once for each case. `docs/reliability.md` is written from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COMMAND = "pytest -n 0 tests/faults --write-reliability"
HEADINGS = {
    "kills": "Processes killed with SIGKILL",
    "servers": "Servers",
    "poolers": "Poolers",
    "clocks": "Clocks",
    "restores": "Restores",
    "bytes": "Changed bytes",
    "space": "Full disks",
}
# Every fault that is tried: its section, and what is done. A test records under the key.
FAULTS: dict[str, tuple[str, str]] = {
    "kill-append": ("kills", "at each step of an append"),
    "kill-first": ("kills", "at each step of the first append to a stream"),
    "kill-batch": ("kills", "at each step of `append_batch` over three streams"),
    "kill-atomic": (
        "kills",
        "at each step of a transaction with a row of the site and two entries",
    ),
    "kill-any-moment": ("kills", "at a random moment of many appends"),
    "kill-checkpoint": ("kills", "before each step of `checkpoint_ledger`, the first one too"),
    "kill-migrate": ("kills", "before each statement of `migrate`"),
    "preload": ("servers", "`gunicorn --preload`, four workers, four clients at once"),
    "reload": (
        "servers",
        "the same, with SIGHUP in the middle and workers that end after 60 requests",
    ),
    "opened before the fork": (
        "servers",
        "the same, where the site itself leaves a connection open before the fork",
    ),
    "fork": ("servers", "a fork in the middle of a transaction; parent and child append at once"),
    "server restart": (
        "servers",
        "the database server restarted under a site with eight pooled connections",
    ),
    "clock ahead": ("clocks", "a start a year ahead, the clock put right, an edit, a start"),
    "clock behind": ("clocks", "a start, an edit, a start under a clock a year behind"),
    "dead lease": (
        "clocks",
        "a process killed while it verifies at its start, its clock right or a year ahead",
    ),
    "restore-evidence": ("restores", "an older backup put back, checkpoints in a sink outside"),
    "restore-gone-on": ("restores", "the same, and as much appended again as was lost"),
    "restore-chain": ("restores", "an older backup put back, no checkpoint anywhere"),
    "restore-data": ("restores", "the rows alone copied into freshly migrated tables"),
    "flip-file": ("bytes", "a random bit of the database file flipped"),
    "flip-column": ("bytes", "a random bit of a random column flipped, guards removed"),
    "full-disk": ("space", "appends until files cannot grow, and twenty more"),
    "pooler": (
        "poolers",
        "PgBouncer in transaction mode, more clients than sessions: appends by several processes "
        "while checkpoints, verifications, receipts, exports and statuses are made",
    ),
}
NONE = "–"


@dataclass(frozen=True, slots=True)
class Trial:
    """How often one fault was tried on one database, and what came of it.

    `acknowledged` and `lost` count entries; None where the fault involves no append. `outcomes`
    counts results by a short text, such as "wholly absent".
    """

    fault: str
    database: str
    attempts: int
    acknowledged: int | None = None
    lost: int | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)


class Recorder:
    """The trials of one test session."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def record(
        self,
        fault: str,
        database: str,
        *,
        attempts: int,
        acknowledged: int | None = None,
        lost: int | None = None,
        outcomes: Mapping[str, int] | None = None,
    ) -> None:
        """Record a trial. Raises `KeyError` for a fault that `FAULTS` does not name."""
        FAULTS[fault]
        self.trials.append(
            Trial(fault, database, attempts, acknowledged, lost, dict(outcomes or {}))
        )

    def missing(self) -> list[str]:
        """Return the faults that were not tried in this session."""
        return [fault for fault in FAULTS if fault not in {trial.fault for trial in self.trials}]


def database_of(url: str) -> str:
    return "SQLite" if url.startswith("sqlite") else "PostgreSQL"


def rows(trials: Sequence[Trial], fault: str) -> list[str]:
    """Return the table rows of one fault, one for each database."""
    found = []
    for database in sorted({trial.database for trial in trials if trial.fault == fault}):
        same = [trial for trial in trials if (trial.fault, trial.database) == (fault, database)]
        outcomes: Counter[str] = Counter()
        for trial in same:
            outcomes.update(trial.outcomes)
        told = ", ".join(f"{count:,} {text}" for text, count in sorted(outcomes.items()) if count)
        cells = [
            FAULTS[fault][1],
            database,
            f"{sum(trial.attempts for trial in same):,}",
            _total([trial.acknowledged for trial in same]),
            _total([trial.lost for trial in same]),
            told or NONE,
        ]
        found.append(f"| {' | '.join(cells)} |")
    return found


def page(trials: Sequence[Trial], where: str) -> str:
    """Return `docs/reliability.md`; `where` says on what the run was made."""
    parts = [_INTRODUCTION.format(command=COMMAND, where=where)]
    for section, heading in HEADINGS.items():
        faults = [fault for fault, (in_section, _what) in FAULTS.items() if in_section == section]
        if faults:
            table = [_TABLE, *(row for fault in faults for row in rows(trials, fault))]
            parts.append(f"## {heading}\n\n" + "\n".join(table) + "\n")
    parts.append(_LIMITS)
    return "\n".join(parts)


def _total(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else NONE


_TABLE = """| fault | database | tried | entries acknowledged | lost | outcome |
|---|---|---|---|---|---|"""
_INTRODUCTION = """# Reliability: what was tried, and what survived

This page is written by the test run

```console
{command}
```

and by nothing else. The same tests run with every `pytest`; only this command writes the page.

{where}

*Acknowledged* counts entries of appends that returned and whose transaction was committed. *Lost*
counts those of them that were missing or different afterwards. After every fault the ledger is
verified in full.
"""
_LIMITS = """## What these tests do not show

- No power was cut and no disk lied about a flush. What survives a power cut depends on the
  settings in [deployment.md](deployment.md), and on the hardware.
- The PostgreSQL server of the suite runs with `fsync = off`: processes are killed, and the server
  is restarted, but the machine goes on.
"""
