"""Measures the parts asked for against one database, in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import django


def main(vendor: str, sizes: str, rounds: str, names: str, output: str) -> None:
    """Write figures and environment as JSON; a part that fails is a figure with its error."""
    django.setup()
    from django.core.management import call_command

    from benchmarks.harness import Run

    call_command("migrate", verbosity=0, skip_checks=True)
    run = Run(vendor, tuple(map(int, sizes.split(","))), int(rounds))
    figures = [figure for name in names.split(",") for figure in _measure(name, run)]
    document = {"environment": _environment(vendor), "figures": figures}
    Path(output).write_text(json.dumps(document), "utf-8")


def _measure(name: str, run: Any) -> list[dict[str, Any]]:
    from benchmarks.figures import Figure
    from benchmarks.harness import say
    from benchmarks.parts import PARTS, measure_of

    figures: list[Figure] = []
    start = perf_counter()
    try:
        figures.extend(measure_of(name)(run))
    except Exception as exc:
        reason = " ".join(f"{type(exc).__name__}: {exc}".split())
        figures.append(Figure(PARTS[name], error=reason))
    say(f"{run.vendor}: {PARTS[name]} ({perf_counter() - start:.0f} s)")
    return [figure.as_dict() | {"part": name, "database": run.vendor} for figure in figures]


def _environment(vendor: str) -> dict[str, str]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()" if vendor == "sqlite" else "SHOW server_version")
        version = str(cursor.fetchone()[0]).split()[0]
    label = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[vendor]
    return {
        "Python": platform.python_version(),
        "Django": django.get_version(),
        label: version,
        "processors": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
