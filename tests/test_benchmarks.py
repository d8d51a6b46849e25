"""The benchmarks run, and say what they could not run. What they measure is judged nowhere here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures, parts, plots, report
from benchmarks.figures import Figure, Goal

ROOT = Path(__file__).parent.parent
# The rest needs what the suite does not install, or PostgreSQL.
HERE = [name for name in parts.PARTS if name not in ("concurrency", "flights", "peers")]
COLUMNS = ["what", "against", "database", "goal", "figure", "spread", "goal met"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_")}
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The output and the folder of a real run, as small as it can be."""
    out = tmp_path_factory.mktemp("performance")
    done = run(
        *("--sizes", "200,400", "--databases", "sqlite", "--rounds", 1),
        *("--only", *HERE, "--out", out),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, out


def test_the_goals_are_printed(tiny: tuple[str, Path]) -> None:
    header, line, *rows = cells(tiny[0])
    assert header == COLUMNS
    assert set(line) == {"---"}
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert {row[-1] for row in rows} <= {"met", "**not met**"}
    assert {row[2] for row in rows} == {"SQLite"}
    said = " ".join(row[0] for row in rows)
    for goal in ("verification of 400", "two workers", "peak memory", "append in an open", "batch"):
        assert goal in said


def test_the_figures_are_stored(tiny: tuple[str, Path]) -> None:
    document: dict[str, Any] = json.loads((tiny[1] / "results.json").read_text("utf-8"))
    assert document["sizes"] == [200, 400]
    assert document["command"].startswith("python -m benchmarks --sizes 200,400")
    assert {"Python", "Django", "SQLite", "processors"} <= document["environment"].keys()
    stored = [Figure.from_dict(figure) for figure in document["figures"]]
    assert {figure.part for figure in stored} == set(HERE)
    for figure in stored:
        assert not figure.error
        assert figure.value is not None
        assert figure.value > 0
        assert figure.low is None or figure.low <= figure.value <= (figure.high or 0)
        assert figure.as_dict()["met"] is figure.met


def test_the_tables_hold_every_part_and_no_place_of_this_machine(tiny: tuple[str, Path]) -> None:
    text = (tiny[1] / "tables.md").read_text("utf-8")
    for name in HERE:
        assert f"## {parts.PARTS[name]}".lower() in text.lower()
    everything = text + (tiny[1] / "results.json").read_text("utf-8")
    assert tempfile.gettempdir() + os.sep not in everything
    assert str(Path.home()) + os.sep not in everything


def test_a_part_that_cannot_run_says_why() -> None:
    done = run(
        *("--databases", "postgresql", "--postgres", "postgresql://127.0.0.1:1/none"),
        *("--only", "concurrency", "reading"),
    )
    assert done.returncode == 1
    rows = cells(done.stdout)[2:]
    assert [row[0] for row in rows] == [parts.PARTS["reading"], parts.PARTS["concurrency"]]
    assert all(row[4].startswith("could not run: OperationalError: ") for row in rows)


@pytest.mark.parametrize(
    "arguments", [("--only", "nothing"), ("--sizes", "10"), ("--rounds", "0"), ("--databases", "x")]
)
def test_what_cannot_be_measured_is_refused(arguments: tuple[str, str]) -> None:
    assert run(*arguments).returncode == 2


def test_a_figure_is_the_median_of_the_rounds() -> None:
    twice = figures.speed("a", "b", subject=[1, 1, 1], base=[2, 1, 5], goal=Goal("≥", 2))
    assert (twice.value, twice.low, twice.high, twice.met) == (2, 1.5, 3.5, True)
    assert figures.cost("a", "b", subject=[4], base=[2], goal=Goal("<", 2)).met is False
    assert Figure.from_dict(twice.as_dict()) == twice
    assert Figure("a").met is None


def test_an_error_stands_in_the_table() -> None:
    table = report.goals_table([Figure("a part", error="no | such thing", database="sqlite")])
    assert cells(table)[2] == ["a part", "", "SQLite", "", "could not run: no / such thing", "", ""]


def test_plots_that_cannot_be_drawn_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (figure,) = plots.draw([], [200], tmp_path)
    assert figure.error == "matplotlib is not installed"


def test_the_page_on_performance_shows_what_was_measured() -> None:
    folder = ROOT / "docs" / "performance"
    stored = json.loads((folder / "results.json").read_text("utf-8"))
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert report.goals_table(map(Figure.from_dict, stored["figures"])) in page
    assert stored["command"] in page
