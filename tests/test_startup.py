"""The startup verification, under the real servers and across real processes."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.db import connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import startup
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.middleware import VerifyOnStartup
from nucleus_ledger.models import Entry, Verification
from tests.postgres import ensure_running
from tests.startup_servers import SERVERS, Server, prepare, run
from tests.tamper import edit_payload

VERIFIED = "the ledger was verified: "
RELIED = "relying on that"
GUNICORN = ["gunicorn", "gunicorn-2"]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return str(tmp_path / "site.sqlite3")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    server = ensure_running()
    name = f"startup_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def query(database: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    if database.startswith("postgresql:"):
        with psycopg.connect(database) as connection:
            return list(connection.execute(statement))
    with closing(sqlite3.connect(database, timeout=20)) as plain, plain:
        return plain.execute(statement, parameters).fetchall()


def assert_starts(kind: str, database: str, folder: Path) -> None:
    with Server(kind, database, folder) as server:
        assert server.until(server.answer) == "answered", server.output
        workers = 2 if kind == "gunicorn-2" else 1
        server.until(lambda: _told(server) == workers)
        assert server.output.count(VERIFIED + "intact") == 1, server.output
        assert server.output.count(RELIED) == workers - 1
    runs = query(database, "SELECT result, lease FROM nucleus_ledger_verification")
    assert [(result.split("_")[0], lease) for result, lease in runs] == [("intact", None)]


def _told(server: Server) -> int:
    return server.output.count(VERIFIED) + server.output.count(RELIED)


def assert_refuses(kind: str, database: str, folder: Path, *arguments: str) -> None:
    with Server(kind, database, folder, *arguments) as server:
        answers = []
        server.until(lambda: answers.append(server.answer()))
        assert not any(answers), answers
        # gunicorn's is that of its first worker to end, or of a master that preloads.
        codes = (1, 3) if kind in GUNICORN and not arguments else (1,)
        assert server.process.wait() in codes, server.output
        assert "IntegrityFailed" in server.output
        assert "stream 'proofs' at sequence 3: hash_mismatch" in server.output
        assert "verify_ledger" in server.output
        assert "acknowledge_findings" in server.output


@pytest.mark.parametrize("kind", SERVERS)
def test_intact_ledger_is_served(kind: str, sqlite_url: str, tmp_path: Path) -> None:
    assert_starts(kind, prepare(sqlite_url, "intact"), tmp_path)


@pytest.mark.parametrize("kind", SERVERS)
def test_tampered_ledger_is_never_served(kind: str, sqlite_url: str, tmp_path: Path) -> None:
    assert_refuses(kind, prepare(sqlite_url, "tampered"), tmp_path)
    # The second start refuses by what the first one stored, without reading the ledger again.
    assert_refuses(kind, sqlite_url, tmp_path)


def test_tampered_ledger_is_never_served_by_a_preloading_server(
    sqlite_url: str, tmp_path: Path
) -> None:
    assert_refuses("gunicorn-2", prepare(sqlite_url, "tampered"), tmp_path, "--preload")


@pytest.mark.parametrize("kind", GUNICORN)
def test_intact_ledger_is_served_from_postgresql(
    kind: str, postgres_url: str, tmp_path: Path
) -> None:
    assert_starts(kind, prepare(postgres_url, "intact"), tmp_path)


@pytest.mark.parametrize("kind", GUNICORN)
def test_tampered_ledger_is_never_served_from_postgresql(
    kind: str, postgres_url: str, tmp_path: Path
) -> None:
    assert_refuses(kind, prepare(postgres_url, "tampered"), tmp_path)


BUILD = "tests.startup_site.build"


def test_ledger_that_is_not_migrated_warns_and_starts(sqlite_url: str) -> None:
    done = run(sqlite_url, BUILD)
    assert done.returncode == 0, done.stderr
    assert "not migrated" in done.stderr


def test_empty_ledger_warns_and_starts(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "empty"), BUILD)
    assert done.returncode == 0, done.stderr
    assert "the ledger is empty" in done.stderr


def test_off_verifies_nothing(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "tampered"), BUILD, VERIFY_ON_STARTUP="off")
    assert (done.returncode, done.stderr) == (0, "")
    assert query(sqlite_url, "SELECT * FROM nucleus_ledger_verification") == []


def test_second_build_in_a_process_refuses_again(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "tampered"), BUILD, "twice")
    assert done.stdout.split() == ["IntegrityFailed", "IntegrityFailed"]
    assert query(sqlite_url, "SELECT count(*) FROM nucleus_ledger_verification") == [(1,)]


def test_second_build_in_a_process_verifies_nothing_again(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "intact"), BUILD, "twice", STARTUP_MAX_AGE=0.001)
    assert done.stdout.split() == ["started", "started"], done.stderr
    assert query(sqlite_url, "SELECT count(*) FROM nucleus_ledger_verification") == [(1,)]


def test_process_forked_after_the_first_build_finds_its_own_answer(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "intact"), BUILD, "forked", STARTUP_MAX_AGE=0.001)
    assert done.stdout.split() == ["started", "started"], done.stderr
    assert query(sqlite_url, "SELECT count(*) FROM nucleus_ledger_verification") == [(2,)]


def test_building_inside_a_running_loop_works(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "intact"), BUILD, "in-loop")
    assert done.stdout.split() == ["started"], done.stderr


@pytest.mark.parametrize(("setting", "code"), [("refuse", 1), ("warn", 0)])
def test_database_error(setting: str, code: int, tmp_path: Path) -> None:
    broken = tmp_path / "site.sqlite3"
    broken.write_bytes(b"this is no database" * 100)
    done = run(str(broken), BUILD, STARTUP_ON_ERROR=setting)
    assert done.returncode == code, done.stderr
    assert "the ledger could not be verified" in done.stderr


@pytest.mark.parametrize(("kind", "said"), [("intact", "started"), ("tampered", "IntegrityFailed")])
def test_read_only_sqlite_is_verified_in_full(kind: str, said: str, sqlite_url: str) -> None:
    prepare(sqlite_url, kind)
    done = run(f"{sqlite_url}?read-only", BUILD)
    assert done.stdout.split() == [said], done.stderr
    assert query(sqlite_url, "SELECT * FROM nucleus_ledger_verification") == []


OLD = {"STARTUP_MAX_AGE": 0.001}  # no process relies on the run of another


def test_edit_of_what_was_read_before_is_not_seen_by_an_incremental_start(sqlite_url: str) -> None:
    """As the README says; a full start sees it, and so does one after STARTUP_FULL_MAX_AGE."""
    assert run(prepare(sqlite_url, "intact"), BUILD).stdout.split() == ["started"]
    prepare(sqlite_url, "edit")
    assert run(sqlite_url, BUILD, **OLD).stdout.split() == ["started"]
    old = run(sqlite_url, BUILD, **OLD, STARTUP_FULL_MAX_AGE=0.001)
    assert old.stdout.split() == ["IntegrityFailed"], old.stderr
    assert "older than STARTUP_FULL_MAX_AGE" in old.stderr


def test_full_start_sees_an_edit_of_what_was_read_before(sqlite_url: str) -> None:
    assert run(prepare(sqlite_url, "intact"), BUILD).stdout.split() == ["started"]
    prepare(sqlite_url, "edit")
    done = run(sqlite_url, BUILD, **OLD, VERIFY_ON_STARTUP="full")
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_url"])
def test_everything_is_read_where_guards_are_missing(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(database)
    assert run(prepare(url, "intact"), BUILD).stdout.split() == ["started"]
    prepare(url, "edit-unguarded")
    done = run(url, BUILD)  # the incremental run of the first start is no reason to skip this one
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr
    assert "the whole ledger is read before the first request: guards" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE nucleus_ledger_streamstatus SET signature = ''",
        "UPDATE nucleus_ledger_streamstatus SET length = length - 1",
        f"UPDATE nucleus_ledger_streamstatus SET head_hash = X'{'0' * 64}'",
        "UPDATE nucleus_ledger_streamstatus SET full_at = 'x'",
        "DELETE FROM nucleus_ledger_streamstatus",
    ],
)
def test_stream_whose_stored_status_does_not_fit_is_read_in_full(
    change: str, sqlite_url: str
) -> None:
    assert run(prepare(sqlite_url, "intact"), BUILD).stdout.split() == ["started"]
    prepare(sqlite_url, "edit")
    query(sqlite_url, change)
    done = run(sqlite_url, BUILD, **OLD)
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr


def test_read_only_database_with_a_stale_lease_is_verified(sqlite_url: str) -> None:
    hold_lease(prepare(sqlite_url, "intact"), "datetime('now', '-1 second')")
    done = run(f"{sqlite_url}?read-only", BUILD)
    assert done.stdout.split() == ["started"], done.stderr


@pytest.mark.parametrize(("kind", "said"), [("intact", "started"), ("tampered", "IntegrityFailed")])
def test_read_only_postgresql_is_verified_in_full(kind: str, said: str, postgres_url: str) -> None:
    prepare(postgres_url, kind)
    joint = "&" if "?" in postgres_url else "?"
    read_only = f"{postgres_url}{joint}options=-c%20default_transaction_read_only%3Don"
    done = run(read_only, BUILD)
    assert done.stdout.split() == [said], done.stderr
    assert query(postgres_url, "SELECT * FROM nucleus_ledger_verification") == []


def test_acknowledged_findings_warn_and_start(sqlite_url: str) -> None:
    prepare(sqlite_url, "tampered")
    said = run(sqlite_url, "django", "acknowledge_findings", "proofs", "--reason", "a test")
    assert said.returncode == 0, said.stderr
    done = run(sqlite_url, BUILD, STARTUP_MAX_AGE=0.001)
    assert done.returncode == 0, done.stderr
    assert "acknowledged" in done.stderr


def test_management_commands_work_on_a_broken_ledger(sqlite_url: str) -> None:
    done = run(prepare(sqlite_url, "tampered"), "django", "verify_ledger", "--no-progress")
    assert done.returncode == 1
    assert "hash_mismatch" in done.stdout


def hold_lease(database: str, until: str) -> None:
    """Leave the lease of a killed process that ends at `until`, an SQL expression."""
    killed = run(database, BUILD, "killed")
    assert killed.returncode < 0, killed.stderr
    query(database, f"UPDATE nucleus_ledger_verification SET lease_until = {until}")


@pytest.mark.parametrize(
    "until",
    [
        "datetime('now', '-1 second')",
        "datetime('now', '+2 minutes')",
        "datetime('now', '+1 year')",
        "NULL",
        "'soon'",
    ],
)
def test_lease_that_nobody_alive_can_hold_is_taken_over(sqlite_url: str, until: str) -> None:
    hold_lease(prepare(sqlite_url, "intact"), until)
    done = run(sqlite_url, BUILD)
    assert done.stdout.split() == ["started"], done.stderr
    results = query(sqlite_url, "SELECT result, lease FROM nucleus_ledger_verification ORDER BY id")
    assert [(result.split("_")[0], lease) for result, lease in results] == [
        ("unknown", None),
        ("intact", None),
    ]


def test_worker_waits_for_the_one_that_verifies(sqlite_url: str, tmp_path: Path) -> None:
    """And relies on no result that somebody wrote into the row by hand: that is not signed."""
    hold_lease(prepare(sqlite_url, "intact"), "datetime('now', '+60 seconds')")
    with Server("uvicorn", sqlite_url, tmp_path) as server:
        server.until(lambda: "waiting for it since 0 s" in server.output)
        assert server.answer() is None
        query(
            sqlite_url,
            "UPDATE nucleus_ledger_verification"
            " SET lease = NULL, lease_until = NULL, result = 'intact', finished_at = ?",
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        )
        assert server.until(server.answer) == "answered", server.output
        assert RELIED not in server.output
        assert VERIFIED in server.output


def test_lease_is_let_go_when_the_result_cannot_be_stored(sqlite_url: str) -> None:
    query(
        prepare(sqlite_url, "tampered"),
        "CREATE TRIGGER full BEFORE INSERT ON nucleus_ledger_finding "
        "BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    done = run(sqlite_url, BUILD)
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr  # what was found is not lost
    runs = query(sqlite_url, "SELECT result, lease FROM nucleus_ledger_verification")
    assert runs == [("unknown", None)]


NO_KEY_LEFT = """INSERT INTO nucleus_ledger_verification
(id, started_at, origin, user, mode, deep, validated, result, streams, entries, findings_total,
 warnings, notices)
VALUES (9223372036854775807, '2020-01-01', 'api', '', 'full', 0, 0, 'intact', 0, 0, 0, '[]', '[]')
"""
SPOILT = {
    "no key left": NO_KEY_LEFT,
    "refused": "CREATE TRIGGER t BEFORE INSERT ON nucleus_ledger_verification "
    "BEGIN SELECT RAISE(ABORT, 'no'); END",
    "ignored": "CREATE TRIGGER t BEFORE INSERT ON nucleus_ledger_verification "
    "BEGIN SELECT RAISE(IGNORE); END",
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize(("kind", "said"), [("intact", "started"), ("tampered", "IntegrityFailed")])
def test_a_start_whose_run_cannot_be_stored_reads_the_ledger_all_the_same(
    kind: str, said: str, how: str, sqlite_url: str
) -> None:
    """One row or trigger made it wait for ever, or, with `warn`, serve without having looked."""
    query(prepare(sqlite_url, kind), SPOILT[how])
    done = run(sqlite_url, BUILD, STARTUP_ON_ERROR="warn")
    assert done.stdout.split() == [said], done.stderr
    assert "cannot be stored" in done.stderr


def test_a_dead_lease_that_cannot_be_let_go_of_is_not_waited_for(sqlite_url: str) -> None:
    hold_lease(prepare(sqlite_url, "tampered"), "datetime('now', '-1 second')")
    query(sqlite_url, "CREATE TRIGGER t BEFORE UPDATE ON nucleus_ledger_verification "
          "BEGIN SELECT RAISE(IGNORE); END")  # fmt: skip
    done = run(sqlite_url, BUILD)
    assert done.stdout.split() == ["IntegrityFailed"], done.stderr


def test_a_table_that_somebody_dropped_is_no_ledger_still_to_be_migrated(sqlite_url: str) -> None:
    query(prepare(sqlite_url, "tampered"), "DROP TABLE nucleus_ledger_verification")
    done = run(sqlite_url, BUILD)
    assert done.stdout.split() == ["OperationalError"], done.stderr
    assert "holds entries and lacks nucleus_ledger_verification" in done.stderr


def test_lease_is_renewed_while_the_ledger_is_read(
    ledger_db_committed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_RENEW_SECONDS", -1)
    Entry.objects.using(ledger_db_committed).append("proofs", {"n": 1})
    connection = connections[ledger_db_committed]
    with CaptureQueriesContext(connection) as queries:
        startup.check(ledger_db_committed)
    renewal = 'UPDATE "nucleus_ledger_verification" SET "lease_until"'
    assert any(str(one["sql"]).startswith(renewal) for one in queries)
    stored = Verification.objects.using(ledger_db_committed).get()
    assert (stored.origin, stored.lease, stored.lease_until) == ("startup", None, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("in_tests", "runs"), [(False, 0), (True, 1)])
def test_under_a_test_runner_only_when_asked(
    in_tests: bool, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "_outcomes", {})
    with override_settings(NUCLEUS_LEDGER={"STARTUP_IN_TESTS": in_tests}):
        with pytest.raises(MiddlewareNotUsed):
            VerifyOnStartup(lambda request: None)
    assert Verification.objects.count() == runs


def test_what_another_process_stores_meanwhile_is_young(ledger_db: str) -> None:
    """A worker that looks while another stores its verification does not read everything again."""
    Entry.objects.using(ledger_db).append("proofs", {"n": 1})
    looked: list[str] = []

    def store_after(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if "nucleus_ledger_streamstatus" in sql and not looked:
            looked.append(sql)
            Entry.objects.using(ledger_db).verify_integrity()
        return found

    with connections[ledger_db].execute_wrapper(store_after):
        assert startup.what_to_read(ledger_db) == ("incremental", "")
    assert looked


def test_a_break_that_another_process_finds_meanwhile_is_refused(
    ledger_db_committed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its full reading makes the statuses young, and an older incremental one seem to be enough."""
    alias = ledger_db_committed
    Entry.objects.using(alias).append("proofs", {"n": 1}, record_id="r")
    startup.check(alias)
    edit_payload(alias, "r")
    looked: list[str] = []

    def found_after(using: str) -> None:
        refuse(using)
        if not looked:
            looked.append(using)
            assert not Entry.objects.using(using).verify_integrity().intact

    refuse = startup._refuse_known_break
    monkeypatch.setattr(startup, "_refuse_known_break", found_after)
    with pytest.raises(IntegrityFailed):
        startup.check(alias)
    assert looked
