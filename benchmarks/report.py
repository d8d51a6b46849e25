"""Says and stores what was measured: Markdown tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.parts import PARTS

_LABELS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_MET = {True: "met", False: "**not met**", None: ""}


def goals_table(figures: Iterable[Figure]) -> str:
    """Return the figures that have a goal, and those that could not be measured."""
    rows = [
        (
            *_subject(figure),
            figure.goal and f"{figure.goal.sign} {figure.goal.bound:g} {figure.unit}",
            *_value(figure),
            _MET[figure.met],
        )
        for figure in figures
        if figure.goal or figure.error
    ]
    return _table(("what", "against", "database", "goal", "figure", "spread", "goal met"), rows)


def part_table(figures: Iterable[Figure]) -> str:
    """Return all figures of a part, with the times behind the ratios."""
    rows = [
        (*_subject(figure), *_value(figure), _micro(figure.each), _micro(figure.base_each))
        for figure in figures
    ]
    header = ("what", "against", "database", "figure", "spread", "µs each", "µs each, against")
    return _table(header, rows)


def store(document: Mapping[str, Any], figures: Sequence[Figure], out: Path) -> None:
    """Write `results.json` and `tables.md`."""
    stored = {**document, "figures": [figure.as_dict() for figure in figures]}
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    (out / "results.json").write_text(f"{text}\n", "utf-8")
    (out / "tables.md").write_text(_tables(document, figures), "utf-8")


def _tables(document: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in document["environment"].items())
    lines = [
        "# Figures",
        f"Made by `{document['command']}` ({machine}).",
        "Every ratio is taken between two things that ran in turn in the same run: the figure is "
        "the median of the rounds, the spread the middle half of them. Times are medians too.",
        "## Goals",
        goals_table(figures),
    ]
    for name, title in PARTS.items():
        of_part = [figure for figure in figures if figure.part == name]
        if of_part:
            lines += [f"## {title[0].upper()}{title[1:]}", part_table(of_part)]
    return "\n\n".join(lines) + "\n"


def _subject(figure: Figure) -> tuple[str, str, str]:
    return figure.what, figure.against, _LABELS.get(figure.database, figure.database)


def _value(figure: Figure) -> tuple[str, str]:
    if figure.error:
        return f"could not run: {figure.error.replace('|', '/')}", ""
    assert figure.value is not None
    spread = ""
    if figure.low is not None and figure.high is not None:
        spread = f"{_number(figure.low)} … {_number(figure.high)}"
    return f"{_number(figure.value)} {figure.unit}", spread


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _micro(seconds: float | None) -> str:
    return "" if seconds is None else _number(seconds * 1e6)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell or '') for cell in line)} |" for line in lines)
