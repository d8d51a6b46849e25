"""Processes killed at each step of what they do: nothing acknowledged is lost, nothing is half."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.evidence import sign
from tests.faults.recording import Recorder, database_of
from tests.faults.running import run
from tests.processes import Site

JOBS = {"append": 1, "first": 1, "batch": 7, "atomic": 2}  # entries of one attempt


@pytest.mark.parametrize("job", JOBS)
def test_killed_at_each_step_of_an_append(site: Site, job: str, recorder: Recorder) -> None:
    site.python("for s in 'ab': Entry.objects.append(s, {'begin': True}, record_id='begin')")
    told, end = run(site, "killing", job)
    records, rows = stored(site)
    acknowledged = {record for records in told for record in records}
    attempts = Counter(record.rsplit("-", 1)[0] for record in records)
    del attempts["begin"]
    whole = len(attempts) - len(told)
    recorder.record(
        f"kill-{job}", database_of(site.url), attempts=end["kills"],
        acknowledged=len(acknowledged), lost=len(acknowledged - records),
        outcomes={"wholly there": whole, "wholly absent": end["kills"] - whole},
    )  # fmt: skip
    assert end["kills"] > 3
    assert len(acknowledged) == JOBS[job]  # of the one that was left to get through
    assert acknowledged <= records
    assert set(attempts.values()) == {JOBS[job]}
    if job == "atomic":
        assert rows == set(attempts)
    # As a client does that did not hear whether it was done: each record is there once.
    site.python(
        "from tests.faults.killing import append_again\n"
        "append_again(sys.argv[1], int(sys.argv[2]))",
        job,
        str(end["kills"]),
    )
    entries = 2 + JOBS[job] * (end["kills"] + 1)
    report = site.report("--deep")
    assert (report["result"], report["entries"]) == ("intact", entries)


def test_killed_at_any_moment(site: Site, recorder: Recorder) -> None:
    told, end = run(site, "killing", "endless")
    records, _rows = stored(site)
    acknowledged = {record for records in told for record in records}
    recorder.record(
        "kill-any-moment", database_of(site.url), attempts=end["kills"],
        acknowledged=len(acknowledged), lost=len(acknowledged - records),
    )  # fmt: skip
    assert len(acknowledged) >= end["kills"]
    assert acknowledged <= records
    assert len(records - acknowledged) <= end["kills"]  # one each, whose word was not heard
    report = site.report("--deep")
    assert (report["result"], report["entries"]) == ("intact", len(records))


def test_killed_inside_migrate(site: Site, recorder: Recorder) -> None:
    done = site.manage("migrate", "nucleus_ledger", "zero", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    _told, end = run(site, "killing_migrate")
    recorder.record(
        "kill-migrate", database_of(site.url), attempts=end["kills"],
        outcomes={
            "left nothing new": end["kills"] - end["left"],
            "left something whole, which the next `migrate` built on": end["left"],
        },
    )  # fmt: skip
    assert end["kills"] > 30


def test_killed_inside_checkpoint_ledger(site: Site, tmp_path: Path, recorder: Recorder) -> None:
    sign(site, tmp_path)
    _told, end = run(site, "killing_checkpoint")
    recorder.record(
        "kill-checkpoint", database_of(site.url), attempts=end["kills"],
        outcomes={
            "stored nothing": end["kills"] - end["stored"],
            "stored a checkpoint, which the next run delivered": end["stored"],
        },
    )  # fmt: skip
    assert end["stored"] > 3
    assert end["kills"] - end["stored"] > 20
    report = site.report("--against", str(tmp_path / "evidence"))
    assert (report["result"], report["assurance"]) == ("intact", "checkpoint")
    status = json.loads(site.manage("ledger_status", "--format", "json").stdout)
    assert status["checkpoints"]["undelivered"] == 0


def stored(site: Site) -> tuple[set[str], set[str]]:
    """Return the record ids that are stored, and the names of the site's own rows."""
    done = site.python(
        "from django.contrib.auth.models import Group\n"
        "print(json.dumps([list(Entry.objects.values_list('record_id', flat=True)),\n"
        "                  list(Group.objects.values_list('name', flat=True))]))"
    )
    records, rows = json.loads(done.stdout)
    return set(records), set(rows)
