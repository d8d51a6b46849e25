"""Copies of a site's database, put back as an owner puts back a backup."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests import postgres
from tests.processes import Site, psql


class Backup:
    """A copy of the whole database as it was when this was made."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._file, self._copy = site.url.removeprefix("sqlite:///"), folder / "backup.sqlite3"
        self._name = urlsplit(site.url).path.lstrip("/")
        if site.url.startswith("sqlite"):
            with closing(sqlite3.connect(self._file)) as here, closing(_open(self._copy)) as there:
                here.backup(there)
            self._name = ""
        else:
            psql(f'CREATE DATABASE "{self._name}_backup" TEMPLATE "{self._name}"')

    def restore(self) -> None:
        if not self._name:
            for suffix in ("-wal", "-shm"):
                Path(self._file + suffix).unlink(missing_ok=True)
            shutil.copyfile(self._copy, self._file)
        else:
            psql(f'DROP DATABASE "{self._name}" WITH (FORCE)')
            psql(f'CREATE DATABASE "{self._name}" TEMPLATE "{self._name}_backup"')

    def remove(self) -> None:
        if self._name:
            psql(f'DROP DATABASE "{self._name}_backup" WITH (FORCE)')


def copy_rows(source: Site, target: Site, tables: list[str]) -> None:
    """Copy the rows of tables and nothing else: no sequence, no guard, no constraint."""
    if source.url.startswith("sqlite"):
        with closing(_open(target.url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("ATTACH ? AS source", [source.url.removeprefix("sqlite:///")])
            for table in tables:
                connection.execute(f"INSERT INTO {table} SELECT * FROM source.{table}")
        return
    with psycopg.connect(_libpq(source)) as here, psycopg.connect(_libpq(target)) as there:
        for table in tables:
            with here.cursor().copy(f"COPY {table} TO STDOUT") as data:
                with there.cursor().copy(f"COPY {table} FROM STDIN") as into:
                    for part in data:
                        into.write(part)


def execute(site: Site, script: str) -> None:
    """Run what a command printed as SQL."""
    if script and not site.url.startswith("sqlite"):
        with psycopg.connect(_libpq(site)) as connection:
            connection.execute(script)


def _libpq(site: Site) -> str:
    name = urlsplit(site.url).path.lstrip("/")
    return postgres.ensure_running().replace("/postgres?", f"/{name}?")


def _open(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path)
