from __future__ import annotations

from typing import Any

import pytest

from nucleus_ledger.core.record import Record, check_shape, is_label
from nucleus_ledger.errors import InvalidData

GOOD = Record("proofs", {"n": 1}, "record-1", 1000, {"source": "api"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"record_id": None, "timestamp": None, "meta": None},
        {"payload": []},
        {"payload": (1, 2)},
        {"timestamp": 1},
        {"timestamp": 2**53 - 1},
        {"stream": "s" * 200, "record_id": "\U0001f600" * 200},
        {"stream": "with space/ünï.✔", "record_id": "\u202e\u2028"},
        {"stream": "nucleus.incidents"},  # who may use a reserved name is not a matter of shape
    ],
)
def test_good_shapes(changes: dict[str, Any]) -> None:
    check_shape(GOOD._replace(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": ""}, "^stream is not a string of 1 to 200"),
        ({"stream": "s" * 201}, "^stream is not a string of 1 to 200"),
        ({"stream": None}, "^stream is not .*: None"),
        ({"stream": b"proofs"}, "^stream is not"),
        ({"stream": "a\nb"}, r"^stream is not .*'a\\nb'"),
        ({"stream": "a\x00b"}, "^stream is not"),
        ({"stream": "a\x7fb"}, "^stream is not"),
        ({"stream": "a\x9fb"}, "^stream is not"),
        ({"stream": "\ud800"}, "^stream is not"),
        ({"record_id": ""}, "^record_id is not a string of 1 to 200"),
        ({"record_id": "r" * 201}, "^record_id is not"),
        ({"record_id": 7}, "^record_id is not .*: 7"),
        ({"record_id": "a\tb"}, "^record_id is not"),
        ({"timestamp": 0}, "^timestamp is not a whole number .*: 0"),
        ({"timestamp": -1}, "^timestamp is not"),
        ({"timestamp": 2**53}, "^timestamp is not"),
        ({"timestamp": 1.0}, "^timestamp is not .*: 1.0"),
        ({"timestamp": True}, "^timestamp is not .*: True"),
        ({"timestamp": "1000"}, "^timestamp is not"),
        ({"payload": None}, "^payload is neither an object nor an array but NoneType"),
        ({"payload": "text"}, "^payload is neither .* but str"),
        ({"payload": 1}, "^payload is neither .* but int"),
        ({"payload": {1}}, "^payload is neither .* but set"),
        ({"meta": []}, "^meta is neither an object nor null but list"),
        ({"meta": "m"}, "^meta is neither .* but str"),
        ({"meta": False}, "^meta is neither .* but bool"),
    ],
)
def test_bad_shapes_are_refused_by_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        check_shape(GOOD._replace(**changes))


def test_a_refusal_stays_short_whatever_was_handed_in() -> None:
    for name in ("stream", "record_id", "timestamp"):
        with pytest.raises(InvalidData) as caught:
            check_shape(GOOD._replace(**{name: "x" * 1_000_000}))
        assert len(str(caught.value)) < 500


def test_labels_hold_no_control_character() -> None:
    controls = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xD800, 0xDFFF)]
    assert not any(is_label(f"a{char}b") for char in controls)
    assert all(is_label(char) for char in " ~\xa0\ud7ff\ue000\U0010ffff")
    assert not any(is_label(value) for value in (None, 1, b"a", ["a"], ""))


def test_from_mapping() -> None:
    assert Record.from_mapping({"stream": "proofs", "payload": []}) == Record("proofs", [])
    everything = {name: getattr(GOOD, name) for name in Record._fields}
    assert Record.from_mapping(everything) == GOOD
    assert everything == {name: getattr(GOOD, name) for name in Record._fields}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"stream": "s"}, "the record has no payload"),
        ({"payload": {}}, "the record has no stream"),
        ({}, "the record has no stream"),
        ({"stream": "s", "payload": {}, "sequence": 3}, "unknown key 'sequence'; a record has"),
        ({"stream": "s", "payload": {}, "b": 1, "a": 1}, "unknown key 'a', 'b'"),
        ({"stream": "s", "payload": {}, 1: 2}, "unknown key 1"),
        ([("stream", "s")], "a record is a mapping or a Record, not list"),
        ("record", "a record is a mapping or a Record, not str"),
        (None, "a record is a mapping or a Record, not NoneType"),
    ],
)
def test_from_mapping_refuses(mapping: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        Record.from_mapping(mapping)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        GOOD.stream = "other"  # type: ignore[misc]
