"""The sample site in processes of its own, on a database that the test names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import postgres

ROOT = Path(__file__).parent.parent


@dataclass
class Site:
    """`manage.py` and short Python programs against one database, each in a new process."""

    url: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_")}
        own = {"DATABASE_URL": self.url, "LEDGER_ID": "persistent-ledger", "PYTHONUTF8": "1"}
        return {**inherited, **own, **self.environment}

    def manage(self, *arguments: str, text: str = "", **options: Any) -> Any:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return self._run(command, text, **options)

    def python(self, code: str, *arguments: str) -> Any:
        setup = "import os, sys, json\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', "
        setup += "'project.settings')\nimport django\ndjango.setup()\n"
        setup += "from nucleus_ledger.models import Entry, Stream\n"
        done = self._run([sys.executable, "-c", setup + code, *arguments], "")
        assert done.returncode == 0, done.stderr
        return done

    def sql(self, *statements: str) -> None:
        """Run raw SQL, the guards taken down first."""
        lines = "".join(f"    cursor.execute({statement!r})\n" for statement in statements)
        self.python(
            "from django.db import connection\nfrom nucleus_ledger import guards\n"
            "guards.remove(connection)\nwith connection.cursor() as cursor:\n" + lines
        )

    def report(self, *arguments: str) -> dict[str, Any]:
        done = self.manage("verify_ledger", "--format", "json", *arguments)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return report

    def _run(self, command: list[str], text: str, **options: Any) -> Any:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environ,
            check=False,
            timeout=120,
            **options,
        )


def lines_of(*documents: Any) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


def make_site(kind: str, folder: Path, name: str) -> Site:
    """A migrated site on a new SQLite file, or on a new PostgreSQL database."""
    if kind == "sqlite":
        url = f"sqlite:///{folder / 'site.sqlite3'}"
    else:
        psql(f'DROP DATABASE IF EXISTS "{name}"')
        psql(f'CREATE DATABASE "{name}"')
        url = postgres.ensure_running().replace("/postgres?", f"/{name}?")
    site = Site(url)
    done = site.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return site


def psql(statement: str) -> None:
    import psycopg

    with psycopg.connect(postgres.ensure_running(), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A fresh site per test, in both databases."""
    name = f"site_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    made = make_site(request.param, tmp_path, name)
    yield made
    if request.param == "postgresql":
        psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_site(tmp_path: Path) -> Site:
    return make_site("sqlite", tmp_path, "")
