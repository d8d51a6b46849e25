"""System checks of databases: which of them the ledger is in, and whether they suit it.

Their ids are listed in `checks`. Only what is told which databases to look into asks one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections, router

from nucleus_ledger import clocks, guards
from nucleus_ledger.checks import MIDDLEWARE, settings_are_bad
from nucleus_ledger.conf import conf
from nucleus_ledger.routing import ledger_alias

_RETURNING_SINCE = (3, 35, 0)


@checks.register("nucleus_ledger")
def check_databases(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report databases of the ledger that it cannot use, or not well, by their settings alone.

    The databases are those that the router names for entries: a site may have others of any kind.
    """
    return [message for alias in _named() for message in _check_database(alias)]


@checks.register("nucleus_ledger")
def check_atomicity(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a ledger in a database where the site keeps nothing else.

    An entry is atomic with what is written in its own database, and with nothing besides.
    """
    ledger = ledger_alias()
    others = {
        router.db_for_write(model)
        for model in apps.get_models()
        if model._meta.app_label != "nucleus_ledger" and model._meta.managed
    }
    if not others or ledger in others:
        return []
    return [
        checks.Warning(
            f"The router sends entries to {ledger!r} and everything else to "
            f"{', '.join(map(repr, sorted(others)))}: no transaction spans both, so a failure "
            "between two commits leaves business data without its entry, or an entry without it.",
            hint="Keep the ledger in the database of the data it is about. "
            "See docs/integration.md, Routers.",
            id="nucleus_ledger.W008",
        )
    ]


@checks.register("nucleus_ledger")
def check_tenants(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report what is missing where one database has a schema, and a ledger, for each tenant."""
    if settings_are_bad() or not hasattr(connections[ledger_alias()], "set_schema"):
        return []
    found: list[checks.CheckMessage] = []
    if not conf.has_ledger_per_connection:
        message = (
            "LEDGER_ID is one text for all tenants: entries, and whole ledgers, could be carried "
            "from one tenant to another and both would be intact."
        )
        hint = "Give it a function of the connection. See docs/integration.md, Tenants."
        found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W011"))
    if conf.verify_on_startup != "off" and MIDDLEWARE in settings.MIDDLEWARE:
        message = (
            "VerifyOnStartup looks into the schema of a new connection only: the ledgers of the "
            "tenants are not verified when a server starts."
        )
        hint = (
            "Put `manage.py all_tenants_command verify_ledger --no-public --incremental` in front "
            "of the server. See docs/integration.md, Tenants."
        )
        found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W012"))
    return found


@checks.register(checks.Tags.database)
def check_tables(databases: Sequence[str] | None = None, **kwargs: Any) -> list[Any]:
    """Report databases that hold the ledger's tables, or are to, and do not suit it."""
    found: list[checks.CheckMessage] = []
    for alias in set(databases or ()) - set(_named()):
        if _holds_ledger(alias):
            found.extend(_check_database(alias))
        elif connections[alias].vendor not in guards.VENDORS and _is_migrated(alias):
            message = (
                f"Database {alias!r}: `migrate` would make the ledger's tables there, and "
                f"{connections[alias].vendor} is not supported."
            )
            hint = "Let allow_migrate() of a router answer False there for nucleus_ledger."
            found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W007"))
    return found


@checks.register(checks.Tags.database)
def check_guards(databases: Sequence[str] | None = None, **kwargs: Any) -> list[Any]:
    """Report guards that are missing, disabled or altered.

    A warning and no error, which would stop the very `migrate` that mends it.
    """
    found = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor not in guards.VENDORS or not _is_migrated(alias):
            continue
        if not _holds_ledger(alias):
            continue
        standing = guards.inspect(connection)
        if not standing.ok:
            found.append(
                checks.Warning(
                    f"Database {alias!r}: append-only guards {standing}.",
                    hint="Run `manage.py migrate`, which puts triggers back, and find out who "
                    "took them away: they may have been down for a reason.",
                    id="nucleus_ledger.W004",
                )
            )
    return found


@checks.register(checks.Tags.database)
def check_clocks(databases: Sequence[str] | None = None, **kwargs: Any) -> list[Any]:
    """Report streams whose newest entry is dated ahead of now."""
    found = []
    for alias in databases or ():
        if connections[alias].vendor not in guards.VENDORS or not _holds_ledger(alias):
            continue
        try:
            ahead = clocks.streams_ahead(alias)
        except DatabaseError:  # a table or a column is lost: the check of guards names it
            continue
        for said in clocks.warnings(ahead):
            hint = "Set the clock of the host that appended right; what was appended stays."
            message = f"Database {alias!r}: {said}."
            found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W010"))
    return found


def _named() -> list[str]:
    """Return the databases that the router names for entries."""
    return sorted({ledger_alias(), router.db_for_read(apps.get_model("nucleus_ledger", "Entry"))})


def _is_migrated(alias: str) -> bool:
    return bool(router.allow_migrate(alias, "nucleus_ledger", model_name="entry"))


def _holds_ledger(alias: str) -> bool:
    """Whether the ledger's tables are there; False for a database that is down.

    Django says by itself that one is.
    """
    try:
        return "nucleus_ledger_entry" in connections[alias].introspection.table_names()
    except DatabaseError:
        return False


def _check_database(alias: str) -> list[checks.CheckMessage]:
    connection = connections[alias]
    if connection.vendor not in guards.VENDORS:
        message = f"Database {alias!r}: {connection.vendor} is not supported by the ledger."
        hint = "Route nucleus_ledger to SQLite or PostgreSQL."
        return [checks.Error(message, hint=hint, id="nucleus_ledger.E006")]
    if connection.vendor == "sqlite":
        return _check_sqlite(alias, connection.settings_dict)
    if not _is_psycopg3():
        message = f"Database {alias!r}: the ledger needs psycopg 3, and not psycopg2."
        hint = 'pip install "psycopg[binary]>=3.1"; Django prefers it where both are there.'
        return [checks.Error(message, hint=hint, id="nucleus_ledger.E008")]
    return []


def _is_psycopg3() -> bool:
    # Not at the top of the module: a site on SQLite has neither.
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return bool(is_psycopg3)


def _check_sqlite(alias: str, options: dict[str, Any]) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    if sqlite3.sqlite_version_info < _RETURNING_SINCE:
        message = f"SQLite {sqlite3.sqlite_version} is too old for the ledger."
        found.append(checks.Error(message, hint="3.35 or newer.", id="nucleus_ledger.E007"))
    if str(options["OPTIONS"].get("transaction_mode", "")).upper() not in (
        "IMMEDIATE",
        "EXCLUSIVE",
    ):
        found.append(
            checks.Warning(
                f"Database {alias!r}: a transaction that reads and then appends will fail with "
                '"database is locked" under load.',
                hint='Set OPTIONS["transaction_mode"] to "IMMEDIATE", or build the settings with '
                "nucleus_ledger.storage.sqlite_storage.",
                id="nucleus_ledger.W002",
            )
        )
    return found
