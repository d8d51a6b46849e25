"""Fixtures that run a test on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

ALIASES = ("default", "postgres")
_IDS = ("sqlite", "postgresql")
_MARKS = {
    "ledger_db": pytest.mark.django_db(databases=list(ALIASES)),
    "ledger_db_committed": pytest.mark.django_db(databases=list(ALIASES), transaction=True),
}


@pytest.hookimpl(tryfirst=True)  # before pytest-django sorts by its mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, mark in _MARKS.items():
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.fixture(params=ALIASES, ids=_IDS)
def alias(request: pytest.FixtureRequest) -> str:
    """A database alias; a test that takes it runs once for each database."""
    return str(request.param)


@pytest.fixture
def ledger_db(alias: str, db: None) -> str:
    """A database alias, in a transaction that is rolled back after the test."""
    return alias


@pytest.fixture
def ledger_db_committed(alias: str, transactional_db: None) -> str:
    """A database alias where everything is committed, and flushed after the test."""
    return alias


from tests.processes import site, sqlite_site  # noqa: E402, F401
