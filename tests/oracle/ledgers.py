"""A ledger to be tampered with: built once for a session, copied for every case.

Each copy is a database of its own, where everything is committed, since the site's commands are to
be run on it as they run on a site's. All models are routed to it meanwhile.
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings

from nucleus_ledger import guards, incidents, verification
from nucleus_ledger.core import signing
from nucleus_ledger.evidence import making, signers, sinks
from nucleus_ledger.models import Entry, Stream
from tests import postgres
from tests.oracle import reading
from tests.oracle.oracle import Ledger
from tests.processes import psql

ALIAS = "subject"
LEDGER, FORMER = "persistent-ledger", "former-ledger"
ORIGIN = f"example.com/{LEDGER}"
SCARRED = "scars"
OPINIONS = ("streamstatus", "verification", "finding", "verificationstep")
COPIES = ("checkpoint", "recordedhead", "hashtile")
_numbers = itertools.count()


class ToSubject:
    """All models of the site are in the one database that a case is about."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return ALIAS

    db_for_write = db_for_read


@dataclass
class Subject:
    """One database that holds a ledger, and the folder where its checkpoints are kept."""

    kind: str
    place: str  # the file, or the name of the database
    folder: Path
    snapshots: list[dict[str, list[dict[str, Any]]]] = field(default_factory=list)
    session: str = ""
    vkey: str = ""

    @property
    def vendor(self) -> str:
        return self.kind

    @property
    def log(self) -> Path:
        return self.folder / "evidence" / sinks.folder_of(ORIGIN)

    def open(self) -> Any:
        """Return a connection of the plain driver, where every statement is committed at once."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.place, isolation_level=None)
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            return connection
        import psycopg

        return psycopg.connect(self.url, autocommit=True)

    @property
    def url(self) -> str:
        return postgres.ensure_running().replace("/postgres?", f"/{self.place}?")

    def rows(self) -> Ledger:
        if self.kind == "sqlite":
            return reading.read_sqlite(self.place)
        return reading.read_postgresql(self.url)

    def client(self) -> Client:
        client = Client()
        client.cookies["sessionid"] = self.session
        return client

    @contextmanager
    def copied(self) -> Iterator[Subject]:
        """Yield a copy, to which all models are routed until it is thrown away."""
        number = next(_numbers)
        place = f"{self.place}_{number}"
        self.copy_to(place)
        made = Subject(self.kind, place, self.folder, self.snapshots, self.session, self.vkey)
        try:
            with made.routed():
                yield made
        finally:
            made.destroy()

    def copy_to(self, place: str) -> None:
        """Requires that nobody is connected."""
        if self.kind == "sqlite":
            shutil.copyfile(self.place, place)
        else:
            psql(f'CREATE DATABASE "{place}" TEMPLATE "{self.place}" STRATEGY FILE_COPY')

    def destroy(self) -> None:
        if self.kind == "postgresql":
            psql(f'DROP DATABASE IF EXISTS "{self.place}" WITH (FORCE)')
            return
        for ending in ("", "-wal", "-shm", "-journal"):
            Path(self.place + ending).unlink(missing_ok=True)

    @contextmanager
    def routed(self) -> Iterator[None]:
        name = "default" if self.kind == "sqlite" else "postgres"
        own = copy.deepcopy(connections.databases[name])
        own["NAME"] = self.place
        connections.databases[ALIAS] = own
        try:
            yield
        finally:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.databases[ALIAS]


def settings_of(folder: Path, vkey: str, **ledger: Any) -> dict[str, Any]:
    """The settings of the site whose ledger it is."""
    from django.conf import settings

    return {
        "DATABASE_ROUTERS": ["tests.oracle.ledgers.ToSubject"],
        "STORAGES": {
            **settings.STORAGES,
            "evidence": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(folder / "evidence")},
            },
        },
        "NUCLEUS_LEDGER": {
            "LEDGER_ID": LEDGER,
            "FORMER_LEDGER_IDS": (FORMER,),
            "CHECKPOINT_ORIGIN": ORIGIN,
            "CHECKPOINT_KEY_FILES": [str(folder / "key")],
            "CHECKPOINT_VKEYS": [vkey],
            "CHECKPOINT_SINKS": ["storage:evidence"],
            **ledger,
        },
    }


def create(kind: str, folder: Path, name: str) -> Subject:
    """Create an empty database."""
    if kind == "sqlite":
        return Subject(kind, str(folder / f"{name}.sqlite3"), folder)
    place = f"oracle_{name}_{os.getpid()}"
    psql(f'DROP DATABASE IF EXISTS "{place}" WITH (FORCE)')
    psql(f'CREATE DATABASE "{place}"')
    return Subject(kind, place, folder)


def build(kind: str, folder: Path) -> tuple[Subject, Subject]:
    """Build a ledger on which nothing is wrong, and one with a break that is acknowledged."""
    signer, vkey = signing.generate(ORIGIN)
    signers.write(folder / "key", signer)
    clean = create(kind, folder, "template")
    clean.vkey = str(vkey)
    with override_settings(**settings_of(folder, str(vkey))), clean.routed():
        call_command("migrate", database=ALIAS, verbosity=0)
        with override_settings(**settings_of(folder, str(vkey), LEDGER_ID=FORMER)):
            append("old/stream", 6)
        _fill(clean)
    scarred = Subject(
        kind, f"{clean.place}_scarred", folder, session=clean.session, vkey=clean.vkey
    )
    clean.copy_to(scarred.place)
    with override_settings(**settings_of(folder, str(vkey))), scarred.routed():
        edit_scar(kind)
        verification.verify(ALIAS)
        incidents.acknowledge(ALIAS, SCARRED, reason="known", by="owner")
        Entry.objects.append(SCARRED, {"after": "the break"})
        verification.verify(ALIAS)
        scarred.snapshots = [*clean.snapshots, snapshot(scarred)]
    shutil.copytree(folder / "evidence", folder / "evidence-kept")
    return clean, scarred


def edit_scar(kind: str) -> None:
    connection = connections[ALIAS]
    guards.remove(connection)
    cast = "::jsonb" if kind == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE nucleus_ledger_entry SET payload = %s{cast} WHERE record_id = %s",
            ['{"n":1000}', f"{SCARRED}-2"],
        )
    guards.install(connection)


def _fill(subject: Subject) -> None:
    append("payments", 280)
    append("ünï/ön", 20, meta={"source": "api", "rate": 0.1})
    making.make(ALIAS, init=True)
    verification.verify(ALIAS)
    subject.snapshots.append(snapshot(subject))
    append("payments", 12, low=280)
    append("consents", 15)
    append(SCARRED, 8)
    Stream(name="empty").save(using=ALIAS)
    making.make(ALIAS)
    verification.verify(ALIAS)
    subject.snapshots.append(snapshot(subject))
    append("payments", 8, low=292)
    append("consents", 3, low=15, meta={})
    user = User.objects.db_manager(ALIAS).create_superuser("boss", password="x")
    client = Client()
    client.force_login(user)
    subject.session = client.cookies["sessionid"].value


def append(stream: str, count: int, low: int = 0, **fields: Any) -> None:
    Entry.objects.using(ALIAS).append_batch(
        {
            "stream": stream,
            "record_id": f"{stream}-{n}",
            "payload": [n, {"half": n + 0.5}] if n % 5 == 4 else {"n": n, "amount": 100, "x": None},
            **fields,
        }
        for n in range(low, low + count)
    )


def snapshot(subject: Subject) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of opinions as the site wrote them: who put them back forged nothing."""
    connection = subject.open()
    tables = {}
    for table in OPINIONS:
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM nucleus_ledger_{table}")
        names = [column[0] for column in cursor.description]
        tables[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    connection.close()
    return tables
