"""Clocks that are wrong at a start, by Debian's `faketime`, in processes of their own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.recording import Recorder
from tests.faults.test_servers import database, query, vendor  # noqa: F401
from tests.startup_servers import Server, prepare, run

BUILD = "tests.startup_site.build"
# Only the time of day is wrong: nobody sets a monotonic clock.
FAKETIME = ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f"]


def clock(offset: str) -> Sequence[str]:
    assert shutil.which("faketime"), "Debian's package faketime is needed"
    return [*FAKETIME, offset]


def test_nothing_from_a_year_ahead_is_relied_on(
    database: str,  # noqa: F811
    tmp_path: Path,
    recorder: Recorder,
) -> None:
    """A start under a fast clock; the clock is put right; an edit; the next start refuses."""
    with Server("uvicorn", database, tmp_path, before=clock("+1y")) as server:
        assert server.until(server.answer) == "answered", server.output
    (finished,) = query(database, "SELECT finished_at FROM nucleus_ledger_verification")[0]
    prepare(database, "edit")
    done = run(database, BUILD)
    assert done.stdout.split() == ["IntegrityFailed"], (finished, done.stderr)
    assert "relying on that" not in done.stderr
    recorder.record("clock ahead", vendor(database), attempts=1, outcomes={"refused": 1})


def test_after_a_clock_was_put_back_everything_is_read(
    database: str,  # noqa: F811
    recorder: Recorder,
) -> None:
    assert run(database, BUILD).stdout.split() == ["started"]
    prepare(database, "edit")
    done = run(database, BUILD, before=clock("-1y"))
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr
    recorder.record("clock behind", vendor(database), attempts=1, outcomes={"refused": 1})


@pytest.mark.parametrize(
    ("held", "started"),
    [("+1y", "+0"), ("+0", "-1y"), ("+0", "+66s")],
    ids=["ahead", "put back", "ran out"],
)
def test_lease_of_a_killed_process_is_taken_at_once(
    held: str,
    started: str,
    database: str,  # noqa: F811
    recorder: Recorder,
) -> None:
    killed = run(database, BUILD, "killed", before=clock(held))
    assert killed.returncode != 0
    assert query(database, "SELECT lease FROM nucleus_ledger_verification") == [("startup",)]
    done = run(database, BUILD, before=clock(started))
    assert done.stdout.split() == ["started"], done.stderr
    assert "waiting for it" not in done.stderr
    recorder.record("dead lease", vendor(database), attempts=1, outcomes={"taken over": 1})


def test_lease_of_a_killed_process_is_waited_for_and_taken(
    database: str,  # noqa: F811
    recorder: Recorder,
) -> None:
    """A start says at WARNING for whom it waits, and goes on by itself."""
    run(database, BUILD, "killed", before=clock("-50s"))
    done = run(database, BUILD)
    assert done.stdout.split() == ["started"], done.stderr
    assert "another process verifies the ledger (verification 1): waiting for it" in done.stderr
    assert "its lease runs out in 60 s at most" in done.stderr
    recorder.record("dead lease", vendor(database), attempts=1, outcomes={"waited for": 1})
