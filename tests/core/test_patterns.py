"""One matcher for patterns of streams."""

from __future__ import annotations

from pathlib import Path

import pytest

import nucleus_ledger
from nucleus_ledger.core.patterns import matches
from nucleus_ledger.modules import Module

PACKAGE = Path(nucleus_ledger.__file__).parent
CASES = [
    ("*", "a", True),
    ("*", "a/b", True),
    ("*", "nucleus.incidents", True),
    ("*", "*", True),
    ("a", "a", True),
    ("a", "a/b", False),
    ("a", "A", False),
    ("a/*", "a/b", True),
    ("a/*", "a/b/c", True),
    ("a/*", "a/", True),
    ("a/*", "a/*", True),
    ("a/*", "a", False),
    ("a/*", "ab", False),
    ("a/*", "b/a/c", False),
    ("a/b/*", "a/b/c", True),
    ("a/b/*", "a/c", False),
    ("/*", "/a", True),
    ("/*", "a", False),
    ("a*", "ab", False),
    ("a*", "a*", True),
    ("**", "a", False),
    ("**", "**", True),
    ("*/a", "b/a", False),
    ("a/*/b", "a/x/b", False),
    ("a/?", "a/b", False),
    ("[a]", "a", False),
    ("", "a", False),
    ("", "", True),
]


@pytest.mark.parametrize(("pattern", "stream", "expected"), CASES)
def test_a_pattern_matches(pattern: str, stream: str, expected: bool) -> None:
    assert matches(pattern, stream) is expected


@pytest.mark.parametrize(("pattern", "stream", "expected"), CASES)
def test_a_module_handles_what_its_patterns_match(
    pattern: str, stream: str, expected: bool
) -> None:
    class Handling(Module):
        id, streams = "handling", [pattern]

    assert Handling().handles(stream) is expected


def test_there_is_one_matcher() -> None:
    """Nobody else looks for the end of a pattern."""
    found = [
        file.name
        for file in PACKAGE.rglob("*.py")
        if any(sign in file.read_text("utf-8") for sign in ('endswith("/*")', "fnmatch"))
    ]
    assert found == []
