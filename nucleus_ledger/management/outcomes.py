"""What commands tell the shell beside their words: no error may end as exit 1, which says that
tampering was found."""

from __future__ import annotations

import getpass
import sys
import traceback
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import Error as DatabaseError

from nucleus_ledger.core.report import EXIT_TAMPERED, EXIT_UNKNOWN
from nucleus_ledger.errors import IntegrityFailed, LedgerError


class LedgerCommand(BaseCommand):
    """A command that exits 1 for what was tampered with, and 2 for what could not be told."""

    unknown = "could not be told"

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except CommandError as exc:  # raised again for --traceback
            traceback.print_exc()
            sys.exit(exc.returncode)
        except (Exception, KeyboardInterrupt):
            traceback.print_exc()
            sys.exit(EXIT_UNKNOWN)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except SystemCheckError as exc:
            raise CommandError(str(exc), returncode=EXIT_UNKNOWN) from exc
        except IntegrityFailed as exc:
            raise CommandError(str(exc), returncode=EXIT_TAMPERED) from exc
        except (LedgerError, DatabaseError, OSError) as exc:
            message = f"{self.unknown}: {exc or type(exc).__name__}"
            raise CommandError(message, returncode=EXIT_UNKNOWN) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("interrupted", returncode=EXIT_UNKNOWN) from exc


def user() -> str:
    """Return who runs a command; empty in a container whose user has no name."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return ""
