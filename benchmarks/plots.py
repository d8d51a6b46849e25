"""Draws the figures as SVG files that come out alike for like figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.parts import PLOTS, SPEED

_COLOURS = {"sqlite": "#2a6f97", "postgresql": "#bc6c25"}
_LABELS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_GROWING = ("verification", "growth", "incremental")


def draw(figures: Sequence[Figure], sizes: Sequence[int], out: Path) -> list[Figure]:
    """Write the plots; returns a figure that says why where they could not be drawn."""
    try:
        import matplotlib
    except ImportError:
        return [Figure("the plots", error="matplotlib is not installed", part=PLOTS)]
    matplotlib.use("svg")
    settings = {"svg.hashsalt": "nucleus_ledger", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        for name, plot in _PLOTS.items():
            plot(figures, sizes[0], out / f"{name}.svg")
    return []


def _goals(figures: Sequence[Figure], _smallest: int, path: Path) -> None:
    """How much of each goal is reached: 1 is all of it."""
    chosen = [figure for figure in figures if figure.goal and figure.value]
    if chosen:
        bars = [(_named(figure), _reached(figure), figure.database) for figure in chosen]
        _bars(bars, "share of the goal reached (right of the line: met)", 1, path)


def _reached(figure: Figure) -> float:
    assert figure.goal is not None
    assert figure.value is not None
    share = figure.value / figure.goal.bound
    return share if figure.goal.sign == "≥" else 1 / share


def _checks(figures: Sequence[Figure], _smallest: int, path: Path) -> None:
    chosen = [figure for figure in figures if figure.part == "checks" and figure.value]
    if chosen:
        bars = [(_named(each), each.value, each.database) for each in chosen]
        _bars(bars, "time, against the loop that only hashes and links", 1, path)


def _named(figure: Figure) -> str:
    peer = f" / {figure.against}" if figure.part == "peers" else ""
    return f"{figure.what}{peer} ({_LABELS.get(figure.database, figure.database)})"


def _bars(bars: Sequence[tuple[str, Any, str]], label: str, line: float, path: Path) -> None:
    from matplotlib import pyplot

    names, values, databases = zip(*reversed(bars), strict=True)
    drawing, axes = pyplot.subplots(figsize=(9, 1 + 0.25 * len(bars)))
    axes.barh(range(len(bars)), values, color=[_COLOURS[name] for name in databases])
    axes.set_yticks(range(len(bars)), names)
    axes.margins(y=0.01)
    axes.axvline(line, color="black", linewidth=0.8)
    axes.set_xlabel(label)
    _save(drawing, path)


def _growth(figures: Sequence[Figure], smallest: int, path: Path) -> None:
    # The speed against the loop, which has a goal, is no growth.
    chosen = [
        figure
        for figure in figures
        if figure.part in _GROWING and figure.value and figure.series != SPEED
    ]
    _lines(chosen, "time for one entry (1: that in the shortest)", smallest, path)


def _reading(figures: Sequence[Figure], smallest: int, path: Path) -> None:
    chosen = [figure for figure in figures if figure.part == "reading" and figure.value]
    _lines(chosen, "time for one read (1: that in the shortest)", smallest, path)


def _lines(figures: Sequence[Figure], label: str, smallest: int, path: Path) -> None:
    from matplotlib import pyplot

    databases = list(dict.fromkeys(figure.database for figure in figures))
    if not databases:
        return
    drawing, every = pyplot.subplots(
        1, len(databases), figsize=(4.5 * len(databases), 3.5), sharey=True, squeeze=False
    )
    for axes, database in zip(every[0], databases, strict=True):
        here = [figure for figure in figures if figure.database == database]
        for series in dict.fromkeys(figure.series for figure in here):
            points = _points([each for each in here if each.series == series], smallest)
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=series)
        axes.set(xscale="log", title=_LABELS[database], xlabel="entries in the stream")
        axes.legend()
    every[0][0].set_ylabel(label)
    every[0][0].set_ylim(0, 1.1 * max(figure.value or 0 for figure in figures))
    _save(drawing, path)


def _points(figures: Sequence[Figure], smallest: int) -> list[tuple[int, float]]:
    points = [(figure.size or 0, figure.value or 0) for figure in figures]
    # What is held against the smallest size is not held against itself: there it is 1.
    return points if points[0][0] == smallest else [(smallest, 1), *points]


def _save(drawing: Any, path: Path) -> None:
    from matplotlib import pyplot

    drawing.tight_layout()
    # Neither a date nor a version: the same figures give the same file.
    drawing.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(drawing)


_PLOTS: dict[str, Callable[[Sequence[Figure], int, Path], None]] = {
    "goals": _goals,
    "checks": _checks,
    "growth": _growth,
    "reading": _reading,
}
