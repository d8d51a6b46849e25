"""Sites with more databases than one: which of them concern the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Site

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.site_with_databases"}


@pytest.fixture
def others(site: Site) -> Site:
    """A site with a `legacy` database of another vendor, whose server does not answer."""
    return replace(site, environment=SETTINGS)


def test_a_database_of_another_vendor_is_the_sites_own_affair(others: Site) -> None:
    done = others.manage("check", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    for command in ("migrate", "verify_ledger"):
        assert "E006" not in others.manage(command).stderr
    program = """
from django.test import Client
assert Client().get("/admin/login/", headers={"host": "localhost"}).status_code == 200
"""
    others.python(program)


def test_the_ledger_in_a_database_of_another_vendor(others: Site, tmp_path: Path) -> None:
    apart = replace(others, environment={**SETTINGS, "LEDGER_ALIAS": "legacy"})
    done = apart.manage("check")
    assert done.returncode == 1
    assert "nucleus_ledger.E006" in done.stderr
    assert "'legacy': mysql is not supported" in done.stderr


def test_tables_in_a_database_of_another_vendor(others: Site, tmp_path: Path) -> None:
    """The router does not name it: only who looks into it sees that the tables are there."""
    legacy = replace(others, environment={**SETTINGS, "LEGACY_FILE": str(tmp_path / "legacy")})
    done = legacy.manage("check", "--database", "legacy")
    assert done.returncode == 0, done.stderr
    assert "nucleus_ledger.W007" in done.stderr
    assert "allow_migrate()" in done.stderr
    legacy.python(
        "from django.db import connections\n"
        "connections['legacy'].cursor().execute('CREATE TABLE nucleus_ledger_entry (hash blob)')"
    )
    assert legacy.manage("check", "--fail-level", "WARNING").returncode == 0
    done = legacy.manage("check", "--database", "legacy")
    assert done.returncode == 1
    assert "nucleus_ledger.E006" in done.stderr
    # Where the router keeps the ledger away nothing is said.
    kept = replace(legacy, environment={**SETTINGS, "LEDGER_ALIAS": "default"})
    kept.environment["LEGACY_FILE"] = str(tmp_path / "other")
    done = kept.manage("check", "--database", "legacy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def apart(others: Site, tmp_path: Path) -> Site:
    """The ledger in a second database, everything else in the first."""
    environment = {**SETTINGS, "SECOND_FILE": str(tmp_path / "second"), "LEDGER_ALIAS": "second"}
    site = replace(others, environment=environment)
    for alias in ("default", "second"):
        done = site.manage("migrate", "--database", alias, "--verbosity", "0")
        assert done.returncode == 0, done.stderr
    return site


def test_a_ledger_apart_from_the_data_is_told(apart: Site) -> None:
    done = apart.manage("check")
    assert done.returncode == 0, done.stderr
    assert "nucleus_ledger.W008" in done.stderr
    assert "sends entries to 'second' and everything else to 'default'" in done.stderr
    assert "docs/integration.md" in done.stderr
    beside = replace(apart, environment={**apart.environment, "LEDGER_ALIAS": "default"})
    assert "W008" not in beside.manage("check").stderr


def test_an_entry_outlives_the_business_data_that_rolls_back(apart: Site) -> None:
    """What the check warns of, seen: if this ever fails, the warning can go."""
    done = apart.python("""
from django.contrib.auth.models import User
from django.db import transaction
try:
    with transaction.atomic():
        User.objects.create_user("payer")
        Entry.objects.append("payments", {"cents": 1})
        raise RuntimeError("the request fails")
except RuntimeError:
    pass
print(User.objects.count(), Entry.objects.count())
""")
    assert done.stdout.split() == ["0", "1"]


def test_a_checkpoint_is_of_the_database_that_the_router_names(apart: Site, tmp_path: Any) -> None:
    key = tmp_path / "key"
    vkey = apart.manage("ledger_keygen", "--output", str(key)).stdout.split()[-1]
    apart.environment.update(
        CHECKPOINT_KEY_FILES=str(key),
        CHECKPOINT_VKEYS=vkey,
        CHECKPOINT_SINKS="storage:evidence",
        EVIDENCE_FOLDER=str(tmp_path / "evidence"),
    )
    done = apart.python("""
from nucleus_ledger import checkpoints
from nucleus_ledger.models import Checkpoint
Entry.objects.append("payments", {"cents": 1})
checkpoints.make(init=True)
print(Checkpoint.objects.using("second").count())
""")
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize(
    "change", ["RENAME TO somewhere_else", "RENAME COLUMN head_timestamp TO something_else"]
)
def test_a_lost_table_or_column_stops_neither_check_nor_migrate(site: Site, change: str) -> None:
    site.sql(f"ALTER TABLE nucleus_ledger_stream {change}")
    for command in (("check", "--database", "default"), ("migrate",)):
        done = site.manage(*command)
        assert done.returncode == 0, done.stderr
        assert "nucleus_ledger.W004" in done.stderr
