"""What commands tell the shell beside their words: no error may end as exit 1, which says that
tampering was found."""

from __future__ import annotations

import getpass
import json
import os
import sys
import traceback
from argparse import ArgumentParser
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, ClassVar

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import Error as DatabaseError
from django.db import connections

from nucleus_ledger import guards
from nucleus_ledger.core.report import EXIT_TAMPERED, EXIT_UNKNOWN
from nucleus_ledger.core.visible import one_line, visible
from nucleus_ledger.errors import IntegrityFailed, LedgerError
from nucleus_ledger.routing import ledger_alias


def failure(message: str, *, returncode: int = EXIT_UNKNOWN) -> CommandError:
    """Return the error of a command, which exits 2 unless another code is named."""
    return CommandError(message, returncode=returncode)


class LedgerCommand(BaseCommand):
    """A command that exits 1 for what was tampered with, and 2 for what could not be told.

    Subclasses define `handle_ledger`, which gets its options as keywords. `database` among them is
    an alias that can be used and holds the ledger's tables. `unknown` begins the message of an
    error that nobody foresaw.
    """

    unknown: ClassVar[str] = "could not be told"
    uses_database: ClassVar[bool] = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        if self.uses_database:
            parser.add_argument(
                "--database",
                metavar="ALIAS",
                help="the database; without it the one that the router names for the ledger",
            )

    def handle_ledger(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        if self.uses_database:
            _check_tables(options["database"])
        self.handle_ledger(*args, **options)
        self.stdout.flush()

    def run_from_argv(self, argv: list[str]) -> None:
        _survive_any_encoding()
        try:
            super().run_from_argv(argv)
        except CommandError as exc:  # raised again for --traceback
            traceback.print_exc()
            _end(exc.returncode)
        except SystemExit as exc:
            _end(exc.code)
        except (Exception, KeyboardInterrupt):
            traceback.print_exc()
            _end(EXIT_UNKNOWN)
        _end(0)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            if self.uses_database:
                options["database"] = _alias(options["database"])
            return super().execute(*args, **options)
        except SystemCheckError as exc:
            raise failure(str(exc)) from exc
        except CommandError:
            raise
        except IntegrityFailed as exc:
            raise failure(visible(str(exc)), returncode=EXIT_TAMPERED) from exc
        except LedgerError as exc:
            raise failure(f"{self.unknown}: {visible(str(exc))}") from exc
        except KeyboardInterrupt as exc:
            raise failure("interrupted") from exc
        except (DatabaseError, OSError, ImproperlyConfigured) as exc:
            raise failure(f"{self.unknown}: {one_line(exc) or type(exc).__name__}") from exc
        except Exception as exc:
            name = type(exc).__name__
            hint = "--traceback shows where"
            raise failure(f"{self.unknown}: {name}: {one_line(exc)} ({hint})") from exc

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks without asking a database.

        Django 6.1 asks every one whether it can store JSON, so that a replica that is down would
        keep the others from being verified.
        """
        super().check(*args, **{**kwargs, "databases": kwargs.get("databases") or []})

    def write_json(self, document: Any) -> None:
        """Write a document to standard output, in the encoding that it has."""
        self.stdout.write(json_text(document, getattr(self.stdout, "encoding", None)))

    def write_exactly(self, text: str) -> None:
        """Write a text to standard output in UTF-8, whatever its encoding: somebody hashes it."""
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.stdout.write(text, ending="")
            return
        self.stdout.flush()
        buffer.write(text.encode())


def json_text(document: Any, encoding: str | None) -> str:
    """Return a document as indented JSON, with escapes where an encoding lacks a character."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeError:
        return json.dumps(document, indent=2)
    return text


def user() -> str:
    """Return who runs a command; empty in a container whose user has no name."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return ""


def _alias(named: str | None) -> str:
    """Return the database to use; raises `CommandError` where the ledger cannot be in it."""
    alias = ledger_alias() if named is None else named
    if alias not in connections:
        known = ", ".join(sorted(connections))
        raise failure(f"there is no database {alias!r}; DATABASES has {known}")
    vendor = connections[alias].vendor
    if vendor not in guards.VENDORS:
        supported = " and ".join(sorted(guards.VENDORS))
        raise failure(
            f"database {alias!r}: {vendor} is not supported, but {supported} are; name another "
            "with --database"
        )
    return alias


def _check_tables(alias: str) -> None:
    """Raise `CommandError` where tables are missing, or the database cannot be asked."""
    try:
        there = set(connections[alias].introspection.table_names())
    except DatabaseError as exc:
        raise failure(f"database {alias!r} cannot be used: {one_line(exc)}") from exc
    models = apps.get_app_config("nucleus_ledger").get_models()
    missing = sorted({model._meta.db_table for model in models if model._meta.managed} - there)
    if missing:
        raise failure(
            f"database {alias!r} lacks {', '.join(missing)}: run `manage.py migrate --database "
            f"{alias}`; where it was migrated, somebody dropped them"
        )


def _survive_any_encoding() -> None:
    """Have characters that a terminal, a file or a mail cannot take escaped, and not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end(code: Any) -> None:
    """Exit with a code that does not depend on whether somebody still reads our output.

    What cannot be flushed would be tried again when Python ends, and turn the code into 120.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or EXIT_UNKNOWN
    if code:
        sys.exit(code)
