"""Flips one bit after the other in a stored ledger, and verifies after each.

`python -m tests.faults.flipping COUNT` runs on the sample site. On SQLite a bit of the file is
flipped, anywhere; on PostgreSQL a bit of one column of one row, in a transaction that is rolled
back. Prints how often each verdict came, and every flip that changed the ledger and was not found.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.faults.killing import answer

COLUMNS = {
    "nucleus_ledger_entry": (
        "hash", "stream_id", "sequence", "record_id", "timestamp", "payload", "meta", "prev_hash",
        "serialized",
    ),
    "nucleus_ledger_stream": ("id", "name", "ledger", "length", "head_hash", "head_timestamp"),
}  # fmt: skip
FOUND, UNREAD, REFUSED = "found", "*could not be told*", "refused by the database"
OUTSIDE, MISSED = "outside the ledger's rows, verified as intact", "missed"
Flip = tuple[str, str]  # its verdict, and where it was


def flip_file(file: Path, count: int) -> list[Flip]:
    """Flip bits of a SQLite file, each in a fresh copy of what it was."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good, before, flips = file.read_bytes(), _rows(file), list[Flip]()
    for _turn in range(count):
        position, bit = random.randrange(len(good)), random.randrange(8)
        bad = bytearray(good)
        bad[position] ^= 1 << bit
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        file.write_bytes(bad)
        same = _rows(file) == before
        verdict = {"1": FOUND, "2": UNREAD}.get(answer(_exit_code), OUTSIDE if same else MISSED)
        flips.append((verdict, f"byte {position}, bit {bit}"))
    return flips


def _rows(file: Path) -> object:
    """Return the rows of the ledger as the tables have them, or else as an index leads to them.

    A damaged page may keep a table from being read in order while every row is as it was.
    """
    for how in ("NOT INDEXED", ""):
        with closing(sqlite3.connect(file)) as connection, suppress(sqlite3.Error, ValueError):
            connection.text_factory = bytes
            return [
                sorted(
                    connection.execute(
                        f"SELECT {', '.join(columns)} FROM {table} {how} ORDER BY {columns[1]}"
                    ).fetchall(),
                    key=repr,
                )
                for table, columns in COLUMNS.items()
            ]
    return None


def _exit_code() -> str:
    from django.core.management import CommandError, call_command

    with open(os.devnull, "w") as nowhere:
        try:
            call_command("verify_ledger", no_progress=True, stdout=nowhere, stderr=nowhere)
        except CommandError as exc:
            return str(exc.returncode)
        except SystemExit as exc:
            return str(exc.code)
    return "0"


def flip_columns(count: int) -> list[Flip]:
    """Flip bits of columns, each in a transaction of its own."""
    from django.db import DatabaseError, connection, transaction

    from nucleus_ledger import guards, verification

    guards.remove(connection)
    before, flips = _dump(connection), list[Flip]()
    while len(flips) < count:
        with transaction.atomic(), suppress(DatabaseError):
            verdict, where = REFUSED, ""
            try:
                with transaction.atomic():
                    where = _flip(connection)
                    changed = where and _dump(connection) != before
            except DatabaseError:
                flips.append((verdict, where))
                continue
            if where:
                report = verification.verify("default", store=False)
                green = OUTSIDE if not changed else MISSED
                verdict = {1: FOUND, 2: UNREAD}.get(report.exit_code(), green)
                flips.append((verdict, where))
            transaction.set_rollback(True)
    return flips


def _flip(connection: Any) -> str:
    """Flip a bit of a random column of a random row; return which, or "" where it has no value."""
    table = random.choices(list(COLUMNS), weights=[5, 1])[0]
    column = random.choice(COLUMNS[table])
    with connection.cursor() as cursor:
        shown = f"{column}::text" if column in ("payload", "meta") else column
        cursor.execute(f"SELECT ctid::text, {shown} FROM {table} ORDER BY random() LIMIT 1")
        row, value = cursor.fetchone()
        if value is None:
            return ""
        changed = _flipped(value)
        if changed is None:
            return ""
        cast = "::jsonb" if column in ("payload", "meta") else ""
        cursor.execute(
            f"UPDATE {table} SET {column} = %s{cast} WHERE ctid = %s::tid", [changed, row]
        )
    return f"{table}.{column} from {value!r:.100} to {changed!r:.100}"


def _flipped(value: Any) -> Any:
    """Return a value with one bit flipped; None where that is no value of its type."""
    if isinstance(value, int):
        return value ^ (1 << random.randrange(62))
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    if not isinstance(value, str):
        return bytes(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _dump(connection: Any) -> object:
    found = []
    with connection.cursor() as cursor:
        for table, columns in COLUMNS.items():
            shown = ", ".join(f"{column}::text" for column in columns)
            cursor.execute(f"SELECT {shown} FROM {table} ORDER BY {shown}")
            found.append(cursor.fetchall())
    return found


def main(count: int) -> None:
    import django
    from django.conf import settings

    django.setup()
    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        flips = flip_file(Path(database["NAME"]), count)
    else:
        flips = flip_columns(count)
    missed = [where for verdict, where in flips if verdict == MISSED]
    print(json.dumps({"verdicts": Counter(each for each, _ in flips), "missed": missed}))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main(int(sys.argv[1]))
