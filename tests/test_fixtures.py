"""`dumpdata` and `loaddata` of a whole site that has a ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import CommandError

from nucleus_ledger.append_only import FixtureRefused
from nucleus_ledger.errors import AppendOnlyViolation
from tests.processes import Site, lines_of

USER = "from django.contrib.auth.models import User\n"


@pytest.fixture
def used(site: Site) -> Site:
    lines = lines_of({"stream": "a", "payload": {}}, {"stream": "b", "payload": {}})
    assert site.manage("append_entries", text=lines).returncode == 0
    site.python(USER + "User.objects.create_user('payer')")
    return site


@pytest.fixture
def empty(tmp_path: Path) -> Site:
    site = Site(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    assert site.manage("migrate", "--verbosity", "0").returncode == 0
    return site


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("first", ["everything", "nucleus_ledger.entry"])
def test_a_fixture_with_a_ledger_is_refused(
    used: Site, empty: Site, tmp_path: Path, form: str, first: str
) -> None:
    file = str(tmp_path / f"site.{form}")
    labels = () if first == "everything" else (first,)
    done = used.manage("dumpdata", *labels, "--format", form, "-o", file)
    assert done.returncode == 0, done.stderr
    done = empty.manage("loaddata", file)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    named = "nucleus_ledger.Stream(pk=1)" if not labels else "nucleus_ledger.Entry(pk="
    for part in (named, "export_ledger", "import_ledger", "--exclude nucleus_ledger"):
        assert part in done.stderr
    assert empty.python(USER + "print(User.objects.count())").stdout == "0\n"


def test_the_way_that_the_refusal_names(used: Site, empty: Site, tmp_path: Path) -> None:
    bundle, file = str(tmp_path / "ledger.jsonl"), str(tmp_path / "site.json")
    leave_out = ("--exclude", "nucleus_ledger", "--exclude", "contenttypes")
    for command in (
        ("export_ledger", bundle, "--no-checkpoint"),
        ("dumpdata", *leave_out, "--exclude", "auth.permission", "-o", file),
    ):
        done = used.manage(*command)
        assert done.returncode == 0, done.stderr
    for command in (("loaddata", file), ("import_ledger", bundle, "--chain-only")):
        done = empty.manage(*command)
        assert done.returncode == 0, done.stderr
    assert empty.report()["entries"] == 2
    heads = [
        {s["name"]: s["head_hash"] for s in each.report()["streams"]} for each in (used, empty)
    ]
    assert heads[0] == heads[1]
    # A fixture that was dumped with the ledger can be loaded without it.
    whole = str(tmp_path / "whole.json")
    assert used.manage("dumpdata", "-o", whole).returncode == 0
    done = replace(empty).manage("loaddata", whole, *leave_out, "--exclude", "auth.permission")
    assert done.returncode == 0, done.stderr


def test_code_that_loads_fixtures_can_catch_either() -> None:
    assert {AppendOnlyViolation, CommandError} < set(FixtureRefused.__mro__)
