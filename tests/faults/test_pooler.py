"""A ledger behind PgBouncer in transaction mode, under load: nothing is lost and nothing fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.faults import pooler
from tests.faults.evidence import sign
from tests.faults.recording import Recorder
from tests.processes import ROOT, Site, psql
from tests.test_concurrency import start

WRITERS, ENTRIES, ROUNDS = 4, 120, 18
NAME = f"pooled_{os.getpid()}"

# Runs the commands in turn, in one process, with the connections of the sample site.
COMMANDS = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django
django.setup()
from django.core.management import call_command
from nucleus_ledger.models import Entry

rounds, names, folder = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
for turn in range(rounds):
    for name in names:
        try:
            if name == "export_ledger":
                call_command(name, f"{folder}/{turn}.jsonl", verbosity=0)
            elif name == "ledger_receipt":
                entry = Entry.objects.get(stream__name="begin", sequence=turn)
                call_command(name, "begin", entry.record_id, output=f"{folder}/{turn}.json")
            elif name == "verify_ledger":
                call_command(name, no_progress=True)
            else:
                call_command(name)
        except BaseException as exc:
            print(f"FAILED {name}, round {turn}: {exc!r}", flush=True)
            raise
    print(f"DONE {turn}", flush=True)
"""


@pytest.fixture
def database() -> Iterator[str]:
    postgres.ensure_running()
    psql(f'CREATE DATABASE "{NAME}"')
    yield NAME
    psql(f'DROP DATABASE "{NAME}" WITH (FORCE)')


@pytest.fixture
def site(database: str, tmp_path: Path) -> Iterator[Site]:
    """The sample site behind a pooler, with keys and a sink; migrated through the pooler too."""
    with pooler.running() as port:
        site = Site(f"postgresql://ledger@127.0.0.1:{port}/{database}")
        done = site.manage("migrate", "--verbosity", "0")
        assert done.returncode == 0, done.stderr
        sign(site, tmp_path)
        yield site


def commands(site: Site, folder: Path, *names: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMANDS, str(ROUNDS), ",".join(names), str(folder)],
        cwd=ROOT,
        env=site.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(site: Site) -> None:
    """Six hundred streams, so that the heads of a checkpoint need more than one statement."""
    site.python(
        "Entry.objects.append_batch([{'stream': f's/{n}', 'payload': {'n': n}} for n in range(600)]"
        " + [{'stream': 'begin', 'payload': {'n': n}} for n in range(50)])"
    )
    done = site.manage("checkpoint_ledger", "--init")
    assert done.returncode == 0, done.stderr


def test_everything_under_load(site: Site, tmp_path: Path, recorder: Recorder) -> None:
    begin(site)
    how = ["one", "batch", "atomic", "one"]
    # Streams of their own, and shared ones.
    streams = [["a"], ["a", "b"], ["b", "c"], ["d"]]
    writers = [start(site, n, streams[n], how[n], ENTRIES) for n in range(WRITERS)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n", writer.stderr and writer.stderr.read()
    running = [
        commands(site, tmp_path, "checkpoint_ledger"),
        commands(site, tmp_path, "verify_ledger", "ledger_receipt", "export_ledger",
                 "ledger_status"),
    ]  # fmt: skip
    told = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        output, errors = writer.communicate(timeout=300)
        assert (writer.returncode, errors) == (0, "")
        told += [json.loads(line) for line in output.splitlines()]
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, f"{output[-2000:]}\n{errors[-4000:]}"
        assert output.count("DONE") == ROUNDS
    assert site.manage("checkpoint_ledger").returncode == 0

    done = site.python(
        "print(json.dumps(list(Entry.objects.values_list('stream__name', 'sequence', 'hash'))))"
    )
    stored = {(name, sequence): digest for name, sequence, digest in json.loads(done.stdout)}
    lost = [each for each in told if stored.get((each[0], each[1])) != each[2]]
    recorder.record(
        "pooler", "PostgreSQL", attempts=ROUNDS * 5, acknowledged=len(told), lost=len(lost),
        outcomes={"commands succeeded": ROUNDS * 5},
    )  # fmt: skip
    assert lost == []
    report = site.report("--against", str(tmp_path / "evidence"))
    assert (report["result"], report["assurance"]) == ("intact", "checkpoint")


def test_a_pooler_between_statements_is_refused_by_name(database: str) -> None:
    """The ledger needs transactions: PgBouncer says so itself, and nothing is half done."""
    with pooler.running("statement") as port:
        site = Site(f"postgresql://ledger@127.0.0.1:{port}/{database}")
        done = site.manage("migrate", "--verbosity", "0")
    assert done.returncode != 0
    assert "transaction blocks not allowed in statement pooling mode" in done.stderr
    with psycopg.connect(postgres.ensure_running(), dbname=database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert not [name for (name,) in tables if name.startswith("nucleus_ledger")]
