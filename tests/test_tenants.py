"""django-tenants: a schema, and a ledger, for each tenant of one PostgreSQL database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from nucleus_ledger.conf import conf
from nucleus_ledger.errors import ConfigurationError
from nucleus_ledger.models import Entry
from tests import postgres
from tests.processes import lines_of, psql

SITE = Path(__file__).parent / "tenantsite"
SETUP = "import os, json\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nimport django\n"
SETUP += "django.setup()\nfrom django.db import connection\n"


class Tenants:
    """`manage.py` of the site with tenants, in processes of its own."""

    def __init__(self, database: str, **environment: str) -> None:
        url = postgres.ensure_running().replace("/postgres?", f"/{database}?")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_")}
        self.environ = {**inherited, "TENANTS_DATABASE": url, **environment}

    def run(self, *command: str, text: str = "") -> Any:
        return subprocess.run(
            [sys.executable, *command],
            cwd=SITE, env=self.environ, input=text, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip

    def python(self, code: str) -> str:
        done = self.run("-c", SETUP + code)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def manage(self, schema: str, name: str, *arguments: str, text: str = "") -> Any:
        return self.run(
            "manage.py", "tenant_command", name, f"--schema={schema}", *arguments, text=text
        )

    def report(self, schema: str, *arguments: str) -> dict[str, Any]:
        done = self.manage(schema, "verify_ledger", "--format", "json", *arguments)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return report


@pytest.fixture(scope="module")
def template() -> Iterator[str]:
    """A database with the tenants `alpha` and `beta`."""
    name = f"tenants_{os.getpid()}"
    psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    psql(f"CREATE DATABASE {name}")
    site = Tenants(name)
    done = site.run("manage.py", "migrate_schemas", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    site.python(
        "from customers.models import Customer\n"
        "for name in ('alpha', 'beta'): Customer(schema_name=name).save(verbosity=0)"
    )
    yield name
    psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(template: str) -> Iterator[str]:
    name = f"{template}_test"
    psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    psql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield name
    psql(f"DROP DATABASE {name} WITH (FORCE)")


def filled(site: Tenants) -> Tenants:
    for schema, count in (("alpha", 2), ("beta", 3)):
        lines = lines_of(*({"stream": "s", "payload": {"n": n}} for n in range(count)))
        done = site.manage(schema, "append_entries", text=lines)
        assert done.returncode == 0, done.stderr
    return site


def test_each_tenant_has_a_ledger_of_its_own(database: str) -> None:
    site = filled(Tenants(database))
    for schema, entries in (("alpha", 2), ("beta", 3)):
        for arguments in ([], ["--deep"], ["--strict-guards"]):
            report = site.report(schema, *arguments)
            found = (report["result"], report["entries"], report["ledger"])
            assert found == ("intact", entries, f"example.com/{schema}")
        assert site.report(schema, "--incremental")["result"] == "intact_since"
        done = site.manage(schema, "ledger_status")
        assert f"{entries} entries in 1 streams of 'example.com/{schema}'" in done.stdout
    done = site.run("manage.py", "all_tenants_command", "verify_ledger", "--no-public")
    assert done.returncode == 0, done.stderr
    assert [f"ledger 'example.com/{name}'" in done.stdout for name in ("alpha", "beta")] == [
        True
    ] * 2


SWAP = (
    "cursor = connection.cursor()\n"
    "for old, new in (('alpha', 'x'), ('beta', 'alpha'), ('x', 'beta')):\n"
    "    cursor.execute(f'ALTER SCHEMA {old} RENAME TO {new}')"
)


def test_two_ledgers_that_were_swapped_are_told(database: str) -> None:
    site = filled(Tenants(database))
    assert site.report("alpha")["exit_code"] == 0
    site.python(SWAP)
    for schema in ("alpha", "beta"):
        for arguments in ([], ["--incremental"]):
            report = site.report(schema, *arguments)
            kinds = {f["kind"] for stream in report["streams"] for f in stream["findings"]}
            assert (report["exit_code"], "wrong_ledger" in kinds) == (1, True)
        done = site.manage(schema, "append_entries", text=lines_of({"stream": "s", "payload": {}}))
        assert done.returncode == 1
    done = site.run("manage.py", "all_tenants_command", "verify_ledger", "--no-public")
    assert done.returncode == 1


def test_one_id_for_all_tenants_is_warned_of(database: str) -> None:
    """With it the swap cannot be seen, which is why."""
    site = filled(Tenants(database, TENANTS_LEDGER_ID="example.com"))
    site.python(SWAP)
    assert [site.report(schema)["exit_code"] for schema in ("alpha", "beta")] == [0, 0]
    assert "nucleus_ledger.W011" in site.run("manage.py", "check").stderr
    assert "W011" not in Tenants(database).run("manage.py", "check").stderr


def test_a_start_says_that_it_sees_no_tenant(database: str) -> None:
    site = filled(Tenants(database))
    assert "nucleus_ledger.W012" in site.run("manage.py", "check").stderr
    done = site.run(
        "-c",
        SETUP + "from django.core.handlers.wsgi import WSGIHandler\nWSGIHandler()\nprint('up')",
    )
    assert done.stdout == "up\n"
    assert "LEDGER_ID is a function of the connection" in done.stderr


def test_other_processes_are_refused(database: str) -> None:
    done = filled(Tenants(database)).manage("beta", "verify_ledger", "--workers", "2")
    assert done.returncode == 2
    assert "use one worker" in done.stderr


def test_pages_verify_in_the_schema_of_the_request(database: str) -> None:
    site = filled(Tenants(database))
    program = """
from nucleus_ledger import stepping
from nucleus_ledger.models import Entry, StreamStatus, Verification
found = []
for schema in ("alpha", "beta"):
    connection.set_schema(schema)
    run = stepping.begin("default")
    while not stepping.step("default", run.pk).finished:
        pass
    run.refresh_from_db()
    found.append([run.result, run.entries, Entry.objects.verify_integrity().ledger])
print(json.dumps(found))
"""
    assert json.loads(site.python(program)) == [
        ["intact", 2, "example.com/alpha"],
        ["intact", 3, "example.com/beta"],
    ]


def test_checkpoints_and_bundles(database: str, tmp_path: Path) -> None:
    key, evidence = str(tmp_path / "key"), str(tmp_path / "evidence")
    environment = {"TENANTS_ORIGIN": "example.org/", "TENANTS_EVIDENCE": evidence}
    done = Tenants(database, **environment).manage(
        "alpha", "ledger_keygen", "--output", key, "--name", "example.org"
    )
    assert done.returncode == 0, done.stderr
    site = filled(Tenants(database, TENANTS_KEY=key, **environment))
    done = site.run(
        "manage.py", "all_tenants_command", "checkpoint_ledger", "--init", "--no-public"
    )
    assert done.returncode == 0, done.stderr
    for schema, other in (("alpha", "beta"), ("beta", "alpha")):
        assert site.report(schema)["assurance"] == "checkpoint"
        bundle = str(tmp_path / f"{schema}.jsonl")
        done = site.manage(schema, "export_ledger", bundle)
        assert done.returncode == 0, done.stderr
        with open(bundle, encoding="utf-8") as file:
            assert json.loads(file.readline())["ledger"] == f"example.com/{schema}"
        done = site.manage(other, "import_ledger", bundle, "--chain-only")
        assert done.returncode == 2
        assert f"it is of ledger 'example.com/{schema}'" in done.stderr
    site.python(SWAP)
    assert site.manage("alpha", "checkpoint_ledger").returncode == 2


def by_alias(connection: Any) -> str:
    return f"ledger-{connection.alias}"


def former(connection: Any) -> list[str]:
    return [f"former-{connection.alias}"]


@pytest.mark.parametrize("function", [by_alias, f"call:{__name__}.by_alias"])
def test_an_id_by_connection(ledger_db: str, function: Any) -> None:
    with override_settings(NUCLEUS_LEDGER={"LEDGER_ID": f"former-{ledger_db}"}):
        Entry.objects.using(ledger_db).append("old", {})
    with override_settings(
        NUCLEUS_LEDGER={"LEDGER_ID": function, "FORMER_LEDGER_IDS": f"call:{__name__}.former"}
    ):
        assert conf.ledger_of(ledger_db) == f"ledger-{ledger_db}"
        entry = Entry.objects.using(ledger_db).append("s", {})
        assert entry.stream.ledger == f"ledger-{ledger_db}"
        assert Entry.objects.using(ledger_db).append("old", {}).sequence == 1
        report = Entry.objects.using(ledger_db).verify_integrity()
        assert (report.intact, report.ledger) == (True, f"ledger-{ledger_db}")


@pytest.mark.parametrize("value", [lambda _: "", lambda _: None, lambda _: "a\nb"])
def test_a_function_that_gives_no_id(ledger_db: str, value: Any) -> None:
    with (
        override_settings(NUCLEUS_LEDGER={"LEDGER_ID": value}),
        pytest.raises(ConfigurationError, match=f"gave .* for database '{ledger_db}'"),
    ):
        Entry.objects.using(ledger_db).append("s", {})


def test_a_function_that_gives_no_list_of_former_ids(ledger_db: str) -> None:
    settings = {"LEDGER_ID": "here", "FORMER_LEDGER_IDS": lambda _: "there"}
    with (
        override_settings(NUCLEUS_LEDGER=settings),
        pytest.raises(ConfigurationError, match=r"gave 'there' .* not a list of ledger ids$"),
    ):
        Entry.objects.using(ledger_db).verify_integrity()


@pytest.mark.parametrize("path", ["call:nowhere.at_all", "call:", "call:os.sep", "call:os"])
def test_a_path_that_leads_nowhere(path: str) -> None:
    with (
        override_settings(NUCLEUS_LEDGER={"LEDGER_ID": path}),
        pytest.raises(ConfigurationError, match="LEDGER_ID"),
    ):
        conf.ledger_of("default")


def test_a_plain_id_needs_no_connection() -> None:
    with override_settings(NUCLEUS_LEDGER={"LEDGER_ID": "os.getcwd"}):
        assert conf.ledger_of("an alias that does not exist") == "os.getcwd"
