"""A host site's own suites, run as the host runs them, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.processes import psql

HOST = Path(__file__).parent / "hostsite"
TESTS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "PYTEST_"))}
    if request.param == "sqlite":
        yield {**clean, "HOST_DATABASE": str(tmp_path / "host.sqlite3")}
        return
    name = f"host_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    psql(f"CREATE DATABASE {name}")
    url = postgres.ensure_running().replace("/postgres?", f"/{name}?")
    yield {**clean, "HOST_DATABASE": url, "HOST_TEST_NAME": f"test_{name}"}
    psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def run(environ: dict[str, str], *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=HOST, env=environ, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--create-db", "shop/tests.py")


@pytest.mark.parametrize("extra", [(), ("-n", "2")])
def test_pytest_with_nothing_configured(environ: dict[str, str], extra: tuple[str, ...]) -> None:
    code, output = run(environ, *PYTEST, *extra)
    assert code == 0, output
    assert f"{TESTS} passed" in output


@pytest.mark.parametrize("extra", [(), ("--parallel", "2")])
def test_djangos_runner_with_one_line(environ: dict[str, str], extra: tuple[str, ...]) -> None:
    code, output = run(environ, "manage.py", "test", "--noinput", *extra)
    assert code == 0, output
    assert re.search(rf"Ran {TESTS} tests .*\n\nOK", output)


def test_without_the_helper_the_flush_is_refused(environ: dict[str, str]) -> None:
    code, output = run(environ, *PYTEST, "-p", "no:nucleus_ledger")
    assert code == 1
    assert "couldn't be flushed" in output
    code, output = run(
        {**environ, "HOST_RUNNER": "django.test.runner.DiscoverRunner"},
        "manage.py", "test", "--noinput", "shop.tests.Committed",
    )  # fmt: skip
    assert code == 1
    assert "couldn't be flushed" in output


def test_flush_elsewhere_stays_refused(environ: dict[str, str]) -> None:
    assert run(environ, "manage.py", "migrate", "--verbosity", "0")[0] == 0
    code, output = run(environ, "manage.py", "flush", "--noinput")
    assert code == 1
    assert "couldn't be flushed" in output
    code, output = run(environ, "manage.py", "verify_ledger")
    assert code == 0, output
    assert "intact: 1 entries in 1 streams" in output


DJANGOS = {"HOST_RUNNER": "django.test.runner.DiscoverRunner"}


def test_a_suite_without_the_helper_is_told_what_it_lacks(environ: dict[str, str]) -> None:
    code, output = run({**environ, **DJANGOS}, "manage.py", "test", "--noinput", "shop.empty_suite")
    assert "nucleus_ledger.W009" in output
    assert "nucleus_ledger.testing.runner.LedgerRunner" in output
    assert "shop.empty_suite.Nothing" in output
    assert code == 1
    if environ["HOST_DATABASE"].startswith("postgresql"):
        assert "TRUNCATE refused" in output
        assert "HINT:  Of a test suite" in output
    code, output = run(environ, "manage.py", "test", "--noinput", "shop.empty_suite")
    assert code == 0, output
    assert "W009" not in output


def test_a_suite_that_needs_no_helper_is_told_of_none(environ: dict[str, str]) -> None:
    command = ("manage.py", "test", "--noinput", "shop.rolled_suite")
    code, output = run({**environ, **DJANGOS}, *command)
    assert code == 0, output
    assert "W009" not in output
    assert "W009" not in run({**environ, **DJANGOS}, "manage.py", "check")[1]
