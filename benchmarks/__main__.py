"""`python -m benchmarks`: measures, prints the goals as a Markdown table and stores the figures."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import databases, parts, plots, report
from benchmarks.figures import Figure

_SMALLEST = 200  # entries: reads of a range of 100 need a stream to choose it from
OUT = Path("docs/performance")


@dataclass(slots=True)
class Results:
    figures: list[Figure]
    environment: dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    wanted = [name for name in parts.NAMES if name in (options.only or parts.NAMES)]
    results = Results([], {})
    for vendor in options.databases:
        _measure(vendor, [name for name in wanted if name in parts.PARTS], options, results)
    document = {
        "command": _command(options),
        "environment": results.environment,
        "sizes": options.sizes,
        "rounds": options.rounds,
    }
    # A run of some parts does not take the place of a whole one unless it is told where to.
    out = options.out or (None if options.only else OUT)
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        if parts.PLOTS in wanted:
            results.figures += plots.draw(results.figures, options.sizes, Path(out))
        report.store(document, results.figures, Path(out))
    print(report.goals_table(results.figures))
    return 1 if any(figure.error for figure in results.figures) else 0


def _measure(vendor: str, names: list[str], options: Any, results: Results) -> None:
    """Run the parts against an empty database; those that ask for more apps against their own.

    Each of these has a process, too: what it has installed would weigh on the others, and a
    million entries on it.
    """
    try:
        for extra in ("", *databases.EXTRAS):
            some = [name for name in names if (name if name in databases.EXTRAS else "") == extra]
            if some:
                with databases.database(vendor, options.postgres) as url:
                    _session(url, vendor, some, extra, options, results)
    except Exception as exc:
        reason = " ".join(f"{type(exc).__name__}: {exc}".split())
        done = {figure.part for figure in results.figures if figure.database == vendor}
        results.figures += [
            Figure(parts.PARTS[name], error=reason, part=name, database=vendor)
            for name in names
            if name not in done
        ]


def _session(
    url: str, vendor: str, names: list[str], extra: str, options: Any, results: Results
) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        databases.VARIABLE: url,
        databases.EXTRA: extra,
    }
    sizes = ",".join(map(str, options.sizes))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        values = (vendor, sizes, options.rounds, ",".join(names), output)
        command = [sys.executable, "-m", "benchmarks.session", *map(str, values)]
        subprocess.run(command, env=environment, check=True)
        document = json.loads(output.read_text("utf-8"))
    results.environment.update(document["environment"])
    results.figures += map(Figure.from_dict, document["figures"])


def _command(options: Any) -> str:
    given = [
        f"--sizes {','.join(map(str, options.sizes))}",
        f"--databases {','.join(options.databases)}",
        *([f"--only {' '.join(options.only)}"] if options.only else []),
        f"--rounds {options.rounds}",
    ]
    return " ".join(["python -m benchmarks", *given])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default="1000,10000,100000,1000000")
    parser.add_argument("--databases", type=_vendors, default=",".join(databases.VENDORS))
    parser.add_argument("--only", nargs="+", choices=parts.NAMES, metavar="NAME",
                        help=", ".join(parts.NAMES))  # fmt: skip
    parser.add_argument("--rounds", type=_rounds, default=5)
    parser.add_argument("--out", help=f"folder for the results; {OUT} for a run of all parts")
    parser.add_argument("--postgres", metavar="URL", help="a server of your own, durable as set")
    return parser


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",")})
    if sizes[0] < _SMALLEST:
        raise argparse.ArgumentTypeError(f"a size is at least {_SMALLEST}")
    return sizes


def _vendors(text: str) -> list[str]:
    vendors = text.split(",")
    if not set(vendors) <= set(databases.VENDORS):
        raise argparse.ArgumentTypeError(f"not among {', '.join(databases.VENDORS)}: {text}")
    return vendors


def _rounds(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
