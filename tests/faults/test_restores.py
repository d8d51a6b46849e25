"""Old backups put back: a checkpoint outside finds them, and the documented way leads on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.backups import Backup, copy_rows, execute
from tests.faults.evidence import sign
from tests.faults.recording import Recorder, database_of
from tests.processes import Site, make_site, psql

TABLES = [
    f"nucleus_ledger_{name}"
    for name in ("stream", "entry", "checkpoint", "recordedhead", "hashtile")
]


def append(site: Site, **counts: int) -> None:
    site.python(
        "for stream, count in json.loads(sys.argv[1]).items():\n"
        "    Entry.objects.append_batch([{'stream': stream, 'payload': {'n': n}}"
        " for n in range(count)])",
        str(counts).replace("'", '"'),
    )


def checkpoint(site: Site, *options: str) -> None:
    done = site.manage("checkpoint_ledger", *options)
    assert done.returncode == 0, done.stderr


def is_intact(site: Site, folder: Path) -> dict[str, Any]:
    report = site.report("--against", str(folder))
    assert (report["result"], report["assurance"]) == ("intact", "checkpoint"), report["streams"]
    return report


def accepted(site: Site, folder: Path, *streams: str) -> None:
    """The restore is found, nothing is signed over it, and the documented way leads on."""
    report = site.report("--against", str(folder))
    assert (report["result"], report["exit_code"]) == ("tampered", 1)
    kinds = {(s["name"], f["kind"]) for s in report["streams"] for f in s["findings"]}
    assert {(name, "checkpoint_mismatch") for name in streams} <= kinds
    refused = site.manage("checkpoint_ledger")
    assert refused.returncode == 2
    assert "is ahead of the database" in refused.stderr
    checkpoint(site, "--accept-restore", "disk failure, ticket 4711")
    assert "ticket 4711" in str(is_intact(site, folder)["warnings"])
    append(site, a=1)
    checkpoint(site)


def test_backups_put_back(site: Site, tmp_path: Path, recorder: Recorder) -> None:
    evidence, database = tmp_path / "evidence", database_of(site.url)
    sign(site, tmp_path)
    append(site, a=30, b=5)
    checkpoint(site, "--init")
    backup = Backup(site, tmp_path)
    append(site, a=20, young=3)
    checkpoint(site)
    try:
        backup.restore()
        without = Site(site.url)  # nothing outside the database
        report = without.report()
        assert (report["result"], report["assurance"]) == ("intact", "chain")
        backup.restore()
        accepted(site, evidence, "a", "young")
    finally:
        backup.remove()
    again = Backup(site, tmp_path)
    append(site, a=10, b=2)
    checkpoint(site)
    try:
        again.restore()
        append(site, a=30, b=2)
        accepted(site, evidence, "a", "b")
    finally:
        again.remove()
    found = {"found by `verify_ledger`, refused by `checkpoint_ledger`": 1}
    recorder.record("restore-evidence", database, attempts=1, outcomes=found)
    recorder.record("restore-gone-on", database, attempts=1, outcomes=found)
    recorder.record(
        "restore-chain", database, attempts=1,
        outcomes={"**not found**; the report claims the assurance `chain` only": 1},
    )  # fmt: skip


def test_the_rows_alone_put_back(site: Site, tmp_path: Path, recorder: Recorder) -> None:
    kind, name = "sqlite" if site.url.startswith("sqlite") else "postgresql", "rows_alone"
    sign(site, tmp_path)
    append(site, a=30, b=5)
    checkpoint(site, "--init")
    (tmp_path / "other").mkdir()
    other = make_site(kind, tmp_path / "other", name)
    other.environment = site.environment
    try:
        copy_rows(site, other, TABLES)
        assert is_intact(other, tmp_path / "evidence")["guards"]["ok"]
        resets = other.manage("sqlsequencereset", "nucleus_ledger", "--no-color")
        assert resets.returncode == 0, resets.stderr
        execute(other, resets.stdout)
        append(other, a=1, new=2)
        checkpoint(other)
        is_intact(other, tmp_path / "evidence")
    finally:
        if kind == "postgresql":
            psql(f'DROP DATABASE "{name}" WITH (FORCE)')
    recorder.record(
        "restore-data", database_of(site.url), attempts=1,
        outcomes={"intact, and gone on with after `sqlsequencereset`": 1},
    )  # fmt: skip
