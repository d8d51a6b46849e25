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

# An app of the site whose rows refer to entries, so that its migration depends on the ledger's.
CLAIMS = {
    "claims_settings.py": "from project.settings import *\nINSTALLED_APPS += ['claims']\n",
    "claims/__init__.py": "",
    "claims/models.py": """
from django.db import models
class Claim(models.Model):
    entry = models.ForeignKey("nucleus_ledger.Entry", models.PROTECT, related_name="+")
""",
    "claims/migrations/__init__.py": "",
    "claims/migrations/0001_initial.py": """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("nucleus_ledger", "0005_signed_rows")]
    operations = [
        migrations.CreateModel("Claim", [
            ("id", models.BigAutoField(primary_key=True)),
            ("entry", models.ForeignKey(
                "nucleus_ledger.Entry", models.PROTECT, related_name="+")),
        ]),
    ]
""",
}


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


def test_an_app_that_refers_to_entries_is_kept_too(used: Site, tmp_path: Path) -> None:
    """Django undoes first what depends on the ledger's migrations: the site's own tables."""
    for name, text in CLAIMS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    site = replace(
        used,
        environment={"DJANGO_SETTINGS_MODULE": "claims_settings", "PYTHONPATH": str(tmp_path)},
    )
    assert site.manage("migrate").returncode == 0
    claim = "from claims.models import Claim\n"
    site.python(claim + "Claim.objects.create(entry=Entry.objects.first())")
    done = site.manage("migrate", "nucleus_ledger", "zero")
    assert done.returncode == 1
    assert "Unapplying" not in done.stdout
    site.python(claim + "assert Claim.objects.count() == 1")
    assert site.report("--strict-guards")["exit_code"] == 0
    # What the site undoes of its own is its own affair.
    assert site.manage("migrate", "claims", "zero").returncode == 0


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
