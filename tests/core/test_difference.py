"""Where two documents differ, as a person would point at it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import canonical
from nucleus_ledger.core.difference import MISSING, differences

NAMES = st.text("ab. ", max_size=2)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.0]) | NAMES
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("p.a", 1, True)]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("p.a[1].b", 2, 3)]),
        ({"a": 1}, {}, [("p.a", 1, MISSING)]),
        ({}, {"a b": None}, [("p['a b']", MISSING, None)]),
        ([1, 2], [1], [("p[1]", 2, MISSING)]),
        ({"a": {}}, {"a": []}, [("p.a", {}, [])]),
        ({"b": 1, "a": 2}, {"a": 3, "b": 4}, [("p.b", 1, 4), ("p.a", 2, 3)]),
    ],
)
def test_each_difference_is_named(one: Any, other: Any, found: list[Any]) -> None:
    assert differences(one, other, "p") == found


@given(JSON, JSON)
def test_documents_are_the_same_where_nothing_differs(one: Any, other: Any) -> None:
    assert (differences(one, other) == []) == canonical.same(one, other)


def test_a_deep_and_a_wide_document_end() -> None:
    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]
    assert differences(deep, [deep])
    assert len(differences({str(n): n for n in range(5000)}, {})) == 1000
