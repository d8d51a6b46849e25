"""The page of reliability has a row for every fault that is tried, and for no other."""

from __future__ import annotations

import re

import pytest

from tests.faults.conftest import OPTION, PAGE
from tests.faults.recording import COMMAND, FAULTS, HEADINGS, Recorder, Trial, page, rows


def test_the_page_has_a_row_for_every_fault_and_no_other(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption(OPTION, default=False):
        pytest.skip("this run writes the page")
    text = PAGE.read_text("utf-8")
    assert COMMAND in text
    named = re.findall(r"^\| (.+?) \| (?:SQLite|PostgreSQL)", text, re.MULTILINE)
    assert set(named) == {what for _section, what in FAULTS.values()}


def test_every_fault_has_a_section_and_a_text_of_its_own() -> None:
    assert {section for section, _what in FAULTS.values()} <= set(HEADINGS)
    assert len({what for _section, what in FAULTS.values()}) == len(FAULTS)


def test_trials_of_one_fault_and_database_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAULTS, "power", ("kills", "the plug pulled"))
    trials = [
        Trial("power", "SQLite", 2, 1500, 0, {"wholly absent": 2}),
        Trial("power", "PostgreSQL", 1),
        Trial("power", "SQLite", 3, 7, 1, {"wholly absent": 1, "wholly there": 2}),
    ]
    assert rows(trials, "power") == [
        "| the plug pulled | PostgreSQL | 1 | – | – | – |",
        "| the plug pulled | SQLite | 5 | 1,507 | 1 | 3 wholly absent, 2 wholly there |",
    ]
    assert rows(trials, "power")[1] in page(trials, "Somewhere.")


def test_a_fault_without_a_name_is_refused() -> None:
    with pytest.raises(KeyError, match="unheard of"):
        Recorder().record("unheard of", "SQLite", attempts=1)
