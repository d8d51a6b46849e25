"""A restore of data only brings keys back and leaves PostgreSQL's sequence where it was."""

from __future__ import annotations

import re
from threading import Thread
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction

from nucleus_ledger.errors import Database
from nucleus_ledger.models import Entry, Stream
from tests.processes import Site, lines_of

KEYS = "INSERT INTO nucleus_ledger_stream (id, name, ledger, length) VALUES "


def restored(alias: str) -> None:
    """Put streams back as a dump has them, their keys included."""
    with connections[alias].cursor() as cursor:
        if connections[alias].vendor == "postgresql":
            cursor.execute("SELECT nextval(pg_get_serial_sequence('nucleus_ledger_stream', 'id'))")
            (at,) = cursor.fetchone()
        else:
            at = Stream.objects.using(alias).count()
        rows = ", ".join(f"({at + n}, 'old{n}', 'persistent-ledger', 0)" for n in range(1, 4))
        cursor.execute(KEYS + rows)


def appended(alias: str) -> Any:
    return Entry.objects.using(alias).append("new", {})


def saved(alias: str) -> Any:
    stream = Stream(name="new")
    stream.save(using=alias)
    return stream


@pytest.mark.parametrize("make", [appended, saved])
def test_the_clash_is_named(ledger_db: str, make: Any) -> None:
    restored(ledger_db)
    if ledger_db == "default":
        assert make(ledger_db)._state.db == ledger_db  # SQLite goes on from the greatest key
        return
    for _ in range(2):  # in the caller's transaction, which stays usable
        with (
            pytest.raises(Database, match=r"'new' cannot be made: .* sqlsequencereset"),
            transaction.atomic(using=ledger_db),
        ):
            make(ledger_db)
    assert Entry.objects.using(ledger_db).append("old1", {}).sequence == 0


def test_the_command_that_is_named_mends_it(ledger_db: str, capsys: Any) -> None:
    restored(ledger_db)
    call_command("sqlsequencereset", "nucleus_ledger", database=ledger_db, no_color=True)
    if ledger_db == "postgres":
        with connections[ledger_db].cursor() as cursor:
            # Without the command's own BEGIN and COMMIT: the test rolls back what it did.
            cursor.execute(re.sub("(?m)^(BEGIN|COMMIT);$", "", capsys.readouterr().out))
    assert appended(ledger_db).sequence == 0


def test_an_existing_name_is_still_what_it_is(ledger_db: str) -> None:
    saved(ledger_db)
    with pytest.raises(Exception, match="a stream named 'new' exists"):
        saved(ledger_db)


def test_an_existing_name_is_no_clash_while_others_make_streams(ledger_db_committed: str) -> None:
    """Another session makes a stream between the refused insert and the look at the sequence."""
    alias = ledger_db_committed
    saved(alias)

    def make_another() -> None:
        try:
            Stream(name="other").save(using=alias)
        finally:
            connections[alias].close()

    def another(execute: Any, sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if alias == "postgres" and sql.startswith("INSERT INTO nucleus_ledger_stream"):
            thread = Thread(target=make_another)
            thread.start()
            thread.join()
        return result

    with (
        connections[alias].execute_wrapper(another),
        pytest.raises(IntegrityError, match="a stream named 'new' exists"),
    ):
        saved(alias)
    # SQLite has one writer at a time.
    assert Stream.objects.using(alias).filter(name="other").exists() == (alias == "postgres")


@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
def test_a_command_says_it_in_one_line(site: Site) -> None:
    site.sql(KEYS + "(1, 'old', 'persistent-ledger', 0)")
    done = site.manage("append_entries", text=lines_of({"stream": "new", "payload": {}}))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "sqlsequencereset nucleus_ledger" in done.stderr
