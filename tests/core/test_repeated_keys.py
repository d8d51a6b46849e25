"""A key that stands twice in one object is found, with its path, at any depth."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import canonical
from nucleus_ledger.core.repeated_keys import refuse_repeated_keys
from nucleus_ledger.errors import Deserialization

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": "a", "id": "a"}', "the key 'id' occurs twice"),
        ('{"payload": {"cents": 1, "cents": 100}}', "payload: the key 'cents' occurs twice"),
        ('{"payload": [1, {"x": {"b": 1, "a": 1, "a": 2}}]}', "payload[1].x: the key 'a' occurs"),
        ('{"payload": {"\\u0061": 1, "a": 2}}', "payload: the key 'a' occurs twice"),
        ('{"odd key": {"é": 1, "\\u00e9": 2}}', "['odd key']: the key '\\xe9' occurs twice"),
        ('{"a": {"x": 1, "x": 2}, "a": 3}', "the key 'a' occurs twice"),
        ('[[{"": 0, "": 0}]]', "[0][0]: the key '' occurs twice"),
        ("[" * 900 + '{"a": 1, "a": 1}' + "]" * 900, "the key 'a' occurs twice"),
        ('{"a": 1' + "0" * 5000 + ', "a": 1}', "the key 'a' occurs twice"),
    ],
    ids=range(9),
)
def test_where_it_stands_is_named(text: str, said: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(Deserialization) as raised:
            refuse_repeated_keys(form)
        assert said in str(raised.value)


@pytest.mark.parametrize("text", ["{", "", '{"a": 1}}', "[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused_by_its_name(text: Any) -> None:
    with pytest.raises(Deserialization):
        refuse_repeated_keys(text)


@given(VALUES)
def test_nothing_is_said_of_a_text_without(value: Any) -> None:
    refuse_repeated_keys(json.dumps(value))
    refuse_repeated_keys('{"a": {"a": [{"a": 1}, {"a": 1}]}, "b": "{\\"a\\": 1, \\"a\\": 1}"}')


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), st.data())
def test_every_key_is_found_where_it_is_written_twice(
    value: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    text = json.dumps(value)
    doubled = f"{text[:-1]}, {json.dumps(key)}: {json.dumps(value[key])}}}"
    assert canonical.same(json.loads(doubled), json.loads(text))
    with pytest.raises(Deserialization, match="occurs twice"):
        refuse_repeated_keys(doubled)
