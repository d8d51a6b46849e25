"""The system checks: each id, its hint, and that it is registered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core import checks as django_checks
from django.core.checks.registry import registry
from django.db import connections
from django.db.backends.postgresql import psycopg_any
from django.test import override_settings

from nucleus_ledger import checks, database_checks, guards
from nucleus_ledger.conf import OPTIONS
from nucleus_ledger.modules import Module, ProofModule

MIDDLEWARE = [checks.MIDDLEWARE]


class SameIdModule(Module):
    id = ProofModule.id


class OnPostgres:
    """A router that keeps everything in the second database."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "postgres"

    db_for_read = db_for_write


class NoMigrations:
    """A router that keeps the ledger out of every database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "nucleus_ledger" else None


@pytest.fixture(autouse=True, scope="module")
def features_known(django_db_setup: None, django_db_blocker: Any) -> None:
    """Django's check of JSONField asks the default database, once, whether it can JSON."""
    with django_db_blocker.unblock():
        assert connections["default"].features.supports_json_field


def found(**options: Any) -> list[django_checks.CheckMessage]:
    """Run everything registered, as `manage.py check` does; return our messages."""
    messages = django_checks.run_checks(**options)
    ours = [message for message in messages if str(message.id).startswith("nucleus_ledger.")]
    assert all(message.hint for message in ours)
    return ours


def ids(**options: Any) -> list[str]:
    return [str(message.id).removeprefix("nucleus_ledger.") for message in found(**options)]


@contextmanager
def ledger(**values: Any) -> Iterator[None]:
    with override_settings(NUCLEUS_LEDGER=values, MIDDLEWARE=MIDDLEWARE):
        yield


@pytest.mark.parametrize(
    "check",
    [
        checks.check_settings,
        checks.check_modules,
        checks.check_middleware,
        checks.check_ledger_id,
        checks.check_checkpoints,
        database_checks.check_databases,
        database_checks.check_atomicity,
        database_checks.check_tables,
        database_checks.check_guards,
    ],
)
def test_every_check_is_registered(check: Any) -> None:
    everything = registry.get_checks(include_deployment_checks=True)
    assert check.__name__ in {getattr(one, "__name__", "") for one in everything}


def test_good_settings_have_nothing_to_report() -> None:
    with ledger(LEDGER_ID="shop", MODULES=["nucleus_ledger.modules.ProofModule"]):
        assert ids(include_deployment_checks=True) == []


def test_settings_that_are_no_dict() -> None:
    with override_settings(NUCLEUS_LEDGER=["LEDGER_ID"], MIDDLEWARE=MIDDLEWARE):
        assert ids(include_deployment_checks=True) == ["E001"]


def test_unknown_key_is_named() -> None:
    with ledger(LEGDER_ID="shop"):
        (message,) = found()
    assert (message.id, message.level) == ("nucleus_ledger.E002", django_checks.ERROR)
    assert "'LEGDER_ID'" in message.msg
    assert "LEDGER_ID" in str(message.hint)


@pytest.mark.parametrize("key", OPTIONS)
def test_bad_value_of_every_key_is_named(key: str) -> None:
    with ledger(**{key: object()}):
        (message,) = found()
    assert (message.id, message.level) == ("nucleus_ledger.E003", django_checks.ERROR)
    assert f"{key!r}" in message.msg
    assert OPTIONS[key].wanted in message.msg


def test_two_faults_are_two_messages() -> None:
    with ledger(MAX_DEPTH=0, NOPE=1):
        assert sorted(ids()) == ["E002", "E003"]


@pytest.mark.parametrize("path", ["nowhere.Module", "nucleus_ledger.modules.Nope", "os.path", 3])
def test_module_that_cannot_be_used(path: Any) -> None:
    with ledger(MODULES=[path]):
        (message,) = found()
    assert message.id == "nucleus_ledger.E004"
    assert str(path) in message.msg


def test_module_ids_used_twice() -> None:
    with ledger(MODULES=[ProofModule, f"{__name__}.SameIdModule"]):
        (message,) = found()
    assert message.id == "nucleus_ledger.E005"
    assert repr(ProofModule.id) in message.msg


@pytest.mark.parametrize(("mode", "wanted"), [("full", ["W001"]), ("off", [])])
def test_missing_middleware(mode: str, wanted: list[str]) -> None:
    with override_settings(NUCLEUS_LEDGER={"VERIFY_ON_STARTUP": mode}, MIDDLEWARE=[]):
        assert ids() == wanted


def test_unsupported_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    with ledger():
        (message,) = found()
        assert message.id == "nucleus_ledger.E006"
        assert "'default'" in message.msg
        assert "oracle" in message.msg
        with override_settings(DATABASE_ROUTERS=[OnPostgres()]):
            assert ids() == []


def test_sqlite_library_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with ledger():
        assert ids() == ["E007"]


def test_psycopg2_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg_any, "is_psycopg3", False)
    with ledger():
        assert ids() == []
        with override_settings(DATABASE_ROUTERS=[OnPostgres()]):
            (message,) = found()
    assert message.id == "nucleus_ledger.E008"
    assert "'postgres'" in message.msg


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("IMMEDIATE", []), ("exclusive", []), ("DEFERRED", ["W002"]), (None, ["W002"])],
)
def test_sqlite_that_is_not_immediate(
    mode: str | None, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections["default"].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "transaction_mode", mode)
    with ledger():
        assert ids() == wanted
        with override_settings(DATABASE_ROUTERS=[OnPostgres()]):
            assert ids() == []


def test_default_ledger_id_is_reported_for_deployment_only() -> None:
    with ledger():
        assert ids() == []
        assert ids(include_deployment_checks=True) == ["W003"]
        tag = django_checks.Tags.security
        assert ids(include_deployment_checks=True, tags=[tag]) == ["W003"]


def test_guards_that_stand(ledger_db: str) -> None:
    with ledger():
        assert ids(databases=[ledger_db]) == []


def test_guards_that_were_removed(ledger_db: str) -> None:
    guards.remove(connections[ledger_db])
    with ledger():
        (message,) = found(databases=[ledger_db])
        assert (message.id, message.level) == ("nucleus_ledger.W004", django_checks.WARNING)
        assert repr(ledger_db) in message.msg
        assert "missing" in message.msg
        assert "manage.py migrate" in str(message.hint)
        # Without databases, as most commands run the checks, nothing is asked of one.
        assert ids() == []
        with override_settings(DATABASE_ROUTERS=[NoMigrations()]):
            assert ids(databases=[ledger_db]) == []


@pytest.mark.django_db(databases=["postgres"])
def test_guard_that_was_disabled() -> None:
    with connections["postgres"].cursor() as cursor:
        cursor.execute("ALTER TABLE nucleus_ledger_entry DISABLE TRIGGER USER")
    with ledger():
        (message,) = found(databases=["postgres"])
    assert "disabled" in message.msg


def test_tables_that_do_not_exist_yet(ledger_db: str) -> None:
    connection = connections[ledger_db]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE nucleus_ledger_entry RENAME TO elsewhere")
    with ledger():
        assert ids(databases=[ledger_db]) == []


VKEY = "example.com/ledger+d59e3af8+AWTrRH8wMLjTUqhRWXIJJDScjcRI/e59PS4l8eWArPjq"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"CHECKPOINT_KEY_FILES": ["k"]}, ["W005"]),
        ({"CHECKPOINT_KEY_FILES": ["k"], "CHECKPOINT_SINKS": ["stdout"]}, ["W005"]),
        ({"CHECKPOINT_SINKS": ["storage:default"]}, ["W006"]),
        ({"CHECKPOINT_SINKS": ["storage:nowhere"]}, ["E010"]),
        ({"CHECKPOINT_SINKS": ["storage:"]}, ["E003"]),
        ({"CHECKPOINT_SINKS": ["ftp:x"]}, ["E003"]),
        ({"CHECKPOINT_SINKS": ["stdout"], "CHECKPOINT_ORIGIN": "other"}, ["E011"]),
        ({"CHECKPOINT_VKEYS": ["nonsense"]}, ["E003"]),
        ({"CHECKPOINT_VKEYS": [VKEY]}, ["E003"]),  # its id is not that of this name
        ({"WITNESS_THRESHOLD": 0}, ["E003"]),
    ],
    ids=str,
)
def test_checkpoints(values: dict[str, Any], expected: list[str]) -> None:
    with ledger(**values):
        assert ids() == expected


def test_checkpoints_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _name: None)
    with ledger(CHECKPOINT_SINKS=["stdout"]):
        assert ids() == ["E009"]
