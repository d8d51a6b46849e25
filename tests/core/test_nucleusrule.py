"""The reference engine's record hash; texts and hashes here were made by that engine."""

from __future__ import annotations

import json

import pytest

from nucleus_ledger.core import nucleusrule
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.errors import Deserialization

PLAIN = (
    '{"id":"vec","stream":"proofs","timestamp":1700000000000,"payload":{"type":"proof",'
    '"subject_oid":"oid:onoal:human:alice","issuer_oid":"oid:onoal:org:example"}}'
)
WITH_META = (
    '{"id":"vec","stream":"proofs","timestamp":1700000000000,"payload":{"a":1},'
    '"meta":{"source":"api","ip":"10.0.0.1"}}'
)


def test_hashes_of_that_engine() -> None:
    assert nucleusrule.parse(PLAIN).hash == (
        "2d924a26316ce6894596c343f313f387234b6781d999c3030ee446c0245ee11b"
    )
    assert nucleusrule.parse(WITH_META).hash == (
        "bf6546d99dd471062eecc33b28cc65bf5f48e0ee8fa80d6d7270888ee21a368b"
    )
    assert nucleusrule.parse(WITH_META).meta == {"source": "api", "ip": "10.0.0.1"}


@pytest.mark.parametrize(
    ("token", "printed"),
    [
        ("1", "1"), ("1.0", "1.0"), ("-0.0", "-0.0"), ("-0", "-0.0"), ("0.5", "0.5"),
        ("1e15", "1000000000000000.0"), ("1e16", "1e16"),
        ("12345678901234567.0", "1.2345678901234568e16"),
        ("1e-5", "0.00001"), ("0.000001", "1e-6"), ("1.5e-7", "1.5e-7"), ("1e300", "1e300"),
        ("1.7976931348623157e308", "1.7976931348623157e308"), ("5e-324", "5e-324"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e19"),
        ("-9223372036854775808", "-9223372036854775808"), ("123.456", "123.456"),
    ],
)  # fmt: skip
def test_numbers_as_ryu_prints_them(token: str, printed: str) -> None:
    assert nucleusrule.dumps(nucleusrule.loads(token)) == printed


def test_strings_and_keys() -> None:
    text = '{"b":"\\u0001\\n\\"\\\\/\u007f\u2028","\U0001f600":1,"\uffee":2,"a":[true,null]}'
    assert nucleusrule.dumps(nucleusrule.loads(text)) == (
        '{"a":[true,null],"b":"\\u0001\\n\\"\\\\/\u007f\u2028","\uffee":2,"\U0001f600":1}'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": -5}, {"timestamp": 1.0}, {"timestamp": "1"}, {"id": 1}, {"stream": None},
    ],
)  # fmt: skip
def test_what_that_engine_refuses(change: dict[str, object]) -> None:
    with pytest.raises(Deserialization):
        nucleusrule.parse(json.dumps(json.loads(PLAIN) | change))


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"a":NaN}', PLAIN[:-1] + ',"id":"again"}', PLAIN.replace("1700", "1e9"),
        PLAIN.replace('"proof"', '"\\ud800"'), PLAIN.replace('"proof"', "1e309"),
        PLAIN.replace('"proof"', "[" * 200 + "]" * 200),
    ],
)  # fmt: skip
def test_what_that_parser_refuses(text: str) -> None:
    with pytest.raises(Deserialization):
        nucleusrule.parse(text)


def test_whole_floats_are_found_again() -> None:
    value = nucleusrule.loads('{"a/b":[1.0,2,{"~":3.5}],"c":-4.0,"d":1e16}')
    pointers = nucleusrule.whole_floats(value)
    assert pointers == ["/a~1b/0", "/c", "/d"]
    stored = nucleusrule.loads('{"a/b":[1,2,{"~":3.5}],"c":-4,"d":10000000000000000}')
    again = nucleusrule.with_floats(stored, pointers)
    assert hash_text(nucleusrule.dumps(again)) == hash_text(nucleusrule.dumps(value))
