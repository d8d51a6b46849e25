"""Undoing migrations: a ledger with entries is not deleted by the way."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import nucleus_ledger.migrations
from nucleus_ledger.operations import DESTROY, KeepEntries
from tests.processes import Site, lines_of

NAMES = sorted(file.stem for file in Path(nucleus_ledger.migrations.__path__[0]).glob("0*.py"))


@pytest.fixture
def used(site: Site) -> Site:
    lines = lines_of({"stream": "a", "payload": {}}, {"stream": "b", "payload": {}})
    assert site.manage("append_entries", text=lines).returncode == 0
    return site


@pytest.mark.parametrize("target", ["zero", "0001", "0003"])
def test_a_ledger_with_entries_is_kept(used: Site, target: str) -> None:
    done = used.manage("migrate", "nucleus_ledger", target)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for part in ("2 entries in 2 streams of 'persistent-ledger'", "export_ledger", DESTROY):
        assert part in done.stderr
    # Nothing was undone on the way to the refusal.
    report = used.report("--strict-guards")
    assert (report["exit_code"], report["entries"]) == (0, 2)
    assert "[ ]" not in used.manage("showmigrations", "nucleus_ledger").stdout


@pytest.mark.parametrize("named", ["1", "another-ledger"])
def test_another_ledger_is_named(used: Site, named: str) -> None:
    wrong = replace(used, environment={DESTROY: named})
    assert wrong.manage("migrate", "nucleus_ledger", "zero").returncode == 1
    assert used.report()["entries"] == 2


def test_the_ledger_is_named(used: Site) -> None:
    meant = replace(used, environment={DESTROY: "persistent-ledger"})
    done = meant.manage("migrate", "nucleus_ledger", "zero")
    assert done.returncode == 0, done.stderr
    assert used.manage("migrate").returncode == 0
    done = used.manage("append_entries", text=lines_of({"stream": "a", "payload": {}}))
    assert done.returncode == 0, done.stderr
    assert used.report("--strict-guards")["entries"] == 1


def test_an_empty_ledger_may_go(site: Site) -> None:
    assert site.manage("migrate", "nucleus_ledger", "zero").returncode == 0
    assert site.manage("migrate").returncode == 0


def test_what_deletes_nothing_is_not_refused(used: Site) -> None:
    for name in NAMES:
        done = used.manage("sqlmigrate", "nucleus_ledger", name, "--backwards")
        assert done.returncode == 0, done.stderr
    assert used.manage("migrate", "--plan", "nucleus_ledger", "zero").returncode == 0
    assert used.manage("migrate", "--fake", "nucleus_ledger", "zero").returncode == 0
    assert used.manage("migrate", "--fake", "nucleus_ledger").returncode == 0
    assert used.report()["entries"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_migration_keeps_the_entries(name: str) -> None:
    """The newest too, which is undone first: or `zero` leaves a database that is half undone."""
    module = import_module(f"nucleus_ledger.migrations.{name}")
    assert isinstance(module.Migration.operations[-1], KeepEntries)
