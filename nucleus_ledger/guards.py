"""The guards in the database: install them, remove them, and tell whether they stand.

The SQL is frozen per version in `sql/<vendor>/`; what the catalogue says is compared with it, down
to the source of the functions, because a replaced function leaves its trigger looking untouched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from django.db import transaction

from nucleus_ledger import table_shape
from nucleus_ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

VERSION = 1
VENDORS = ("postgresql", "sqlite")
_TABLES = table_shape.TABLES

# pg_trigger.tgtype: ROW 1, BEFORE 2, DELETE 8, UPDATE 16, TRUNCATE 32.
_POSTGRESQL_TYPES = {"rows": 1 | 2 | 8 | 16, "truncate": 2 | 32}
_CATALOGUE = """
SELECT t.tgname, t.tgenabled, t.tgtype, t.tgqual IS NULL AND t.tgattr::text = '',
       p.proname, p.prosrc, p.proconfig IS NULL, l.lanname
FROM pg_trigger t
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_language l ON l.oid = p.prolang
WHERE t.tgrelid = to_regclass(%s) AND NOT t.tgisinternal
"""
_STANDING_CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid IN (to_regclass(%s), to_regclass(%s))
"""


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """Which guards do not stand as released, and what is there beside them (`foreign`).

    All four lists empty means that the tables are as released.
    """

    missing: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.disabled or self.altered or self.foreign)

    @property
    def triggers_ok(self) -> bool:
        """Whether installing the guards again would change nothing."""
        return not any(
            name for name in (*self.missing, *self.disabled, *self.altered) if _is_trigger(name)
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "version": VERSION,
            "missing": self.missing,
            "disabled": self.disabled,
            "altered": self.altered,
            "foreign": self.foreign,
        }

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("missing", self.missing),
                ("disabled", self.disabled),
                ("altered", self.altered),
                ("not of the ledger", self.foreign),
            )
            if names
        ]
        return "; ".join(parts) or "present"


def inspect(connection: BaseDatabaseWrapper) -> GuardStatus:
    """Compare the database's catalogue with the guards of this release."""
    status = GuardStatus()
    if connection.vendor == "postgresql":
        _inspect_postgresql(connection, status)
    elif connection.vendor == "sqlite":
        _inspect_sqlite(connection, status)
    else:
        status.missing.append(f"all: {connection.vendor} is not supported")
        return status
    _inspect_constraints(connection, status)
    missing, altered, besides = table_shape.differences(connection, _tables(connection.vendor))
    status.missing.extend(missing)
    status.altered.extend(altered)
    status.foreign.extend(besides)
    status.foreign.extend(table_shape.foreign(connection, _triggers(connection.vendor)))
    return status


def install(connection: BaseDatabaseWrapper) -> None:
    """Put the guards in place, whatever stands there now.

    Waits at most five seconds for each table's lock, so that a deployment does not queue behind a
    long transaction with every append queueing behind it.
    """
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL lock_timeout = '5s'")
        for statement in (*undo_statements(connection.vendor), *statements(connection.vendor)):
            cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take the guards away: for migrations and for a test runner's own flush."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for statement in undo_statements(connection.vendor):
            cursor.execute(statement)


def statements(vendor: str, version: int = VERSION) -> list[str]:
    return _read(vendor, f"append_only_v{version}.sql")


def undo_statements(vendor: str, version: int = VERSION) -> list[str]:
    return _read(vendor, f"append_only_v{version}_undo.sql")


@cache
def _read(vendor: str, name: str) -> list[str]:
    if vendor not in VENDORS:
        raise ConfigurationError(f"nucleus_ledger supports {' and '.join(VENDORS)}, not {vendor}")
    text = (resources.files("nucleus_ledger") / "sql" / vendor / name).read_text("utf-8")
    text = re.sub(r"^-- .*\n", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in text.split("--------\n")]


def _inspect_postgresql(connection: BaseDatabaseWrapper, status: GuardStatus) -> None:
    sources = {}
    for statement in statements("postgresql"):
        function = re.search(r"FUNCTION (\w+)\(\).*\$guard\$(.*)\$guard\$", statement, re.DOTALL)
        if function:
            sources[function[1]] = function[2]
    for table in _TABLES:
        found = {}
        with connection.cursor() as cursor:
            cursor.execute(_CATALOGUE, [connection.ops.quote_name(table)])
            for name, *rest in cursor.fetchall():
                found[name] = rest
        for part, wanted_type in _POSTGRESQL_TYPES.items():
            name = f"{table}_{part}_v{VERSION}"
            if name not in found:
                status.missing.append(name)
                continue
            enabled, kind, unconditional, function_name, source, plain, language = found[name]
            wanted = f"{table}_refuse_v{VERSION}"
            if enabled != "A":  # ENABLE ALWAYS, so that replica mode does not switch it off
                status.disabled.append(name)
            if (function_name, kind, language) != (wanted, wanted_type, "plpgsql") or not (
                unconditional and plain and source == sources[wanted]
            ):
                status.altered.append(name)


def _inspect_sqlite(connection: BaseDatabaseWrapper, status: GuardStatus) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        found = dict(cursor.fetchall())
    for statement in statements("sqlite"):
        name = statement.split()[2]
        if name not in found:
            status.missing.append(name)
        elif found[name] != statement:
            status.altered.append(name)


def _inspect_constraints(connection: BaseDatabaseWrapper, status: GuardStatus) -> None:
    wanted = _constraints(connection.vendor)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            tables = [connection.ops.quote_name(table) for table in _TABLES]
            cursor.execute(_STANDING_CONSTRAINTS, tables)
            standing = dict(cursor.fetchall())
        else:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name IN (%s, %s)", _TABLES)
            tables_text = "\n".join(row[0] for row in cursor.fetchall())
            standing = {name: name for name in wanted if f'CONSTRAINT "{name}" ' in tables_text}
            for name, definition in wanted.items():
                if f'CONSTRAINT "{name}" {definition}' in tables_text:
                    standing[name] = definition
    for name, definition in sorted(wanted.items()):
        if name not in standing:
            status.missing.append(name)
        elif standing[name] != definition:  # NOT VALID and NOT ENFORCED stand in it too
            status.altered.append(name)


@cache
def _constraints(vendor: str) -> dict[str, str]:
    """Return the definitions of the released constraints by name, as the catalogue says them."""
    (text,) = _read(vendor, f"constraints_v{VERSION}.sql")
    return dict(line.split(" ", 1) for line in text.splitlines())


@cache
def _tables(vendor: str) -> list[str]:
    """Return the columns and keys of the released tables, a line each."""
    (text,) = _read(vendor, f"tables_v{VERSION}.sql")
    return text.splitlines()


@cache
def _triggers(vendor: str) -> frozenset[str]:
    """Return the names of the released triggers."""
    found = (re.match(r"CREATE TRIGGER (\w+)", each) for each in statements(vendor))
    return frozenset(match[1] for match in found if match)


def _is_trigger(name: str) -> bool:
    return name.endswith(f"_v{VERSION}")
