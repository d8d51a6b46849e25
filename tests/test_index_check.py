"""`--deep` has the database hold its indexes against its tables: the walk reads through one."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from django.db import connections

from nucleus_ledger.models import Entry
from tests.processes import Site
from tests.tamper import sql

TABLE = "nucleus_ledger_entry"


def append(alias: str) -> None:
    Entry.objects.using(alias).append_batch(
        {"stream": "s", "record_id": f"r{n}", "payload": {"n": n}} for n in range(5)
    )


def add_hidden(alias: str) -> None:
    """Put one more row into the table while its index over sequences takes none."""
    state = "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass"
    sql(alias, state, [False, f"{TABLE}_sequence"])
    sql(
        alias,
        f"INSERT INTO {TABLE} SELECT sha256(hash), sequence + 1, 'hidden', timestamp, "
        f"payload, meta, hash, serialized, stream_id FROM {TABLE} WHERE sequence = 4",
    )
    sql(alias, state, [True, f"{TABLE}_sequence"])


@pytest.mark.parametrize("alias", ["postgres"])
def test_a_row_that_an_index_lacks_is_told_where_amcheck_is_there(ledger_db: str) -> None:
    append(ledger_db)
    sql(ledger_db, "CREATE EXTENSION amcheck")
    good = Entry.objects.using(ledger_db).verify_integrity(deep=True, store=False)
    assert (good.result, list(good.errors), list(good.warnings)) == ("intact", [], [])
    add_hidden(ledger_db)
    assert Entry.objects.using(ledger_db).verify_integrity(store=False).intact
    report = Entry.objects.using(ledger_db).verify_integrity(deep=True, store=False)
    assert (report.result, report.findings_total, report.exit_code()) == ("unknown", 0, 2)
    (error,) = report.errors
    assert f"bt_index_check of {TABLE}_sequence" in error
    assert Entry.objects.using(ledger_db).filter(record_id="hidden").exists()


@pytest.mark.parametrize("alias", ["postgres"])
def test_without_amcheck_a_deep_run_says_that_no_index_was_looked_at(ledger_db: str) -> None:
    append(ledger_db)
    report = Entry.objects.using(ledger_db).verify_integrity(deep=True, store=False)
    assert report.intact
    (warning,) = report.warnings
    assert "CREATE EXTENSION amcheck" in warning
    with connections[ledger_db].cursor() as cursor:  # the transaction goes on
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("alias", ["default"])
def test_a_good_file_has_nothing_to_tell(ledger_db: str) -> None:
    append(ledger_db)
    report = Entry.objects.using(ledger_db).verify_integrity(deep=True, store=False)
    assert (report.result, list(report.errors), list(report.warnings)) == ("intact", [], [])


def test_a_row_that_an_index_lacks_is_told_on_sqlite(sqlite_site: Site) -> None:
    sqlite_site.python(
        "Entry.objects.append_batch([{'stream': 's', 'record_id': f'r{n}', 'payload': {}} "
        "for n in range(5)])"
    )
    file = sqlite_site.environ["DATABASE_URL"].removeprefix("sqlite:///")
    swap_index(file)
    assert sqlite_site.report()["exit_code"] == 0
    deep = sqlite_site.report("--deep")
    assert (deep["exit_code"], deep["findings_total"]) == (2, 0)
    assert any("integrity_check" in error and "index" in error for error in deep["errors"])


def swap_index(file: str) -> None:
    """Let the index over sequences be one that lacks a row: by its page in the schema."""
    connection: Any = sqlite3.connect(file, isolation_level=None)
    try:
        stream = connection.execute(f"SELECT stream_id FROM {TABLE}").fetchone()[0]
        columns = "sequence, record_id, timestamp, payload, meta, serialized, stream_id"
        connection.execute(
            f"INSERT INTO {TABLE} (hash, prev_hash, {columns}) SELECT randomblob(32), hash, "
            "5, 'hidden', timestamp, payload, meta, serialized, stream_id "
            f"FROM {TABLE} WHERE sequence = 4"
        )
        connection.execute(f"CREATE INDEX part ON {TABLE} (stream_id, sequence) WHERE sequence < 5")
        index = connection.execute(
            "SELECT name FROM pragma_index_list(?) WHERE "
            "(SELECT group_concat(name) FROM pragma_index_info(pragma_index_list.name)) "
            "= 'stream_id,sequence' AND name <> 'part'",
            [TABLE],
        ).fetchone()[0]
        connection.execute("PRAGMA writable_schema = ON")
        pages = dict(
            connection.execute(
                "SELECT name, rootpage FROM sqlite_master WHERE name IN (?, 'part')", [index]
            )
        )
        for name, page in ((index, pages["part"]), ("part", pages[index])):
            connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", [page, name])
        connection.execute("DELETE FROM sqlite_master WHERE name = 'part'")
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        connection.execute(f"PRAGMA schema_version = {version + 1}")
        assert stream
    finally:
        connection.close()
