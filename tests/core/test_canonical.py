from __future__ import annotations

import enum
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import canonical
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER, plain
from nucleus_ledger.errors import Deserialization, Serialization

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "\ue000", "\U0001f600", "\x7f", "\x1f", "\u2028", '"\\/', "\x00"]
)
NUMBERS = (
    st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, 1e16, 1e21, 1e-7, 5e-324, 123456789.125, 0.1, 1e-6])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=["orjson", "rfc8785 alone"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "rfc8785 alone":
        monkeypatch.setattr(canonical, "orjson", None)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785 appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_of_the_rfc(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.dumps(value) == text
    assert canonical.dumps({"n": [value]}) == f'{{"n":[{text}]}}'


@pytest.mark.usefixtures("road")
def test_keys_are_sorted_by_utf_16_code_units() -> None:
    document = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7}
    assert list(json.loads(canonical.dumps(document))) == [
        "\r", "1", "\x80", "ö", "\u20ac", "\U0001f600", "\ufb33"
    ]  # fmt: skip
    assert canonical.dumps({"s": '\u20ac$\x0f\nA\'B"\\\\"/'}) == (
        '{"s":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@contextmanager
def without_orjson(wanted: bool) -> Iterator[None]:
    """As on a machine where only rfc8785 is installed; hypothesis allows no fixture for that."""
    with pytest.MonkeyPatch.context() as patch:
        if wanted:
            patch.setattr(canonical, "orjson", None)
        yield


@given(VALUES, st.booleans())
def test_dumps_is_rfc8785(value: Any, alone: bool) -> None:
    with without_orjson(alone):
        assert canonical.dumps(value).encode() == rfc8785.dumps(value)


@given(st.integers(0, 2**64 - 1))
def test_every_float_is_written_as_rfc8785_writes_it(bits: int) -> None:
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    if not math.isfinite(value):
        return
    for document in ([value], {"a": value}, [0, value, "x"]):
        assert canonical.dumps(document).encode() == rfc8785.dumps(document)


@given(VALUES, st.booleans())
def test_what_was_written_is_read_back(value: Any, alone: bool) -> None:
    with without_orjson(alone):
        text = canonical.dumps(value)
        again = canonical.loads(text)
        assert canonical.same(again, value)
        assert canonical.same(canonical._loads_with_json(text), again)
        assert canonical.is_canonical(text, again)
        assert canonical.is_canonical(text, again, deep=True)


# Each takes canonical text away from its form, or leaves it alone where there is nothing to take.
MUTATIONS: dict[str, Callable[[str], str]] = {
    "a space": lambda text: text.replace(":", ": ", 1),
    "a line break": lambda text: text[:1] + "\n" + text[1:],
    "a blank behind": lambda text: text + " ",
    "a fraction of zero": lambda text: re.sub(r"([:\[,]-?\d+)([,}\]])", r"\1.0\2", text, count=1),
    "an exponent": lambda text: re.sub(r"([:\[,]-?\d+)([,}\]])", r"\1e0\2", text, count=1),
    "an exponent instead": lambda text: re.sub(
        r"([:\[,])100([,}\]])", r"\g<1>1e2\2", text, count=1
    ),
    "no plus sign": lambda text: text.replace("e+", "e", 1),
    "a capital E": lambda text: re.sub(r"(\d)e", r"\1E", text, count=1),
    "zero below zero": lambda text: re.sub(r"([:\[,])0([,}\]])", r"\1-0\2", text, count=1),
    "a needless escape": lambda text: text.replace("a", "\\u0061", 1),
    "an escaped slash": lambda text: text.replace("/", "\\/", 1),
    "a long escape": lambda text: text.replace("\\n", "\\u000a", 1),
    "an escape in capitals": lambda text: text.replace("\\u001f", "\\u001F", 1),
    "an escaped letter beyond ASCII": lambda text: text.replace("é", "\\u00e9", 1),
    "a surrogate pair": lambda text: text.replace("\U0001f600", "\\ud83d\\ude00", 1),
    "a key twice": lambda text: text.replace("{", '{"a":1,', 1),
    "keys in another order": lambda text: json.dumps(
        dict(reversed(json.loads(text).items())), separators=(",", ":"), ensure_ascii=False
    ),
}
RICH = {"a": 100, "b": 0, "c": 1e21, "d": "é\n\x1f/\U0001f600a", "e": [2, 0.5]}


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("name", MUTATIONS)
def test_each_departure_from_the_form_is_seen(name: str) -> None:
    text = canonical.dumps(RICH)
    changed = MUTATIONS[name](text)
    assert changed != text
    read = canonical.loads(changed)
    assert canonical.same(read, RICH)
    for deep in (False, True):
        assert canonical.is_canonical(text, canonical.loads(text), deep=deep)
        assert not canonical.is_canonical(changed, read, deep=deep)


@given(VALUES, st.sampled_from(sorted(MUTATIONS)), st.booleans())
def test_the_fast_judge_says_what_the_slow_one_says(value: Any, name: str, alone: bool) -> None:
    text = canonical.dumps({"a": value, "b": 100, "z": "a/\n"})
    changed = MUTATIONS[name](text)
    with without_orjson(alone):
        read = canonical.loads(changed)  # every mutation leaves JSON
        fast = canonical.is_canonical(changed, read)
        assert fast == canonical.is_canonical(changed, read, deep=True)
        assert fast == (rfc8785.dumps(read) == changed.encode())


@given(st.text(st.sampled_from('0123456789-+.eE[]{}",:\\u dDnultrfas'), max_size=40))
def test_both_readers_read_alike(text: str) -> None:
    def read(reader: Any) -> Any:
        try:
            return canonical.dumps(reader(text))
        except Deserialization:
            return Deserialization

    assert read(canonical.loads) == read(canonical._loads_with_json)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740991", 9007199254740991),
        ("9007199254740993", 9007199254740992.0),
        ("1000000000000000000000", 1e21),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\u0000"', "\0"),
        ("[-0]", [0]),
    ],
)
def test_loads(text: str, value: Any) -> None:
    read = canonical.loads(text)
    assert read == value
    assert type(read) is type(value)
    assert canonical.same(canonical.loads(text.encode()), value)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(
    "text",
    ["", "NaN", "[Infinity]", "1e400", "-1e400", "[1,]", '"\\ud800"', "\ufeff1", "[" * 100_000,
     b"\xff", '"\t"', "9" * 400, '{"\\udc00":1}'],
)  # fmt: skip
def test_loads_refuses(text: str | bytes) -> None:
    with pytest.raises(Deserialization):
        canonical.loads(text)


def test_same_tells_types_apart_and_numbers_by_value() -> None:
    alike = [(1, 1.0), (-0.0, 0), ({"a": [1]}, {"a": [1.0]}), (1e21, 10**21)]
    different = [(1, True), (0, False), (0, None), ("1", 1), ([], {}), ({"a": None}, {}),
                 ([1], [True]), ({"a": 1}, {"a": True}), ([1, 2], [2, 1]),
                 ("\u00e9", "e\u0301")]  # fmt: skip
    for a, b in alike:
        assert canonical.same(a, b)
        assert canonical.same(b, a)
    for a, b in different:
        assert not canonical.same(a, b)
        assert not canonical.same(b, a)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "2026-01-02T03:04:05.678901+00:00"),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(1, 2, 3, 4), "01:02:03.000004"),
        (timedelta(days=1, hours=2, seconds=3, microseconds=4), "P1DT02H00M03.000004S"),
        (-timedelta(seconds=90), "-P0DT00H01M30S"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (timedelta(0), "P0DT00H00M00S"),
        (Decimal("1E+3"), "1E+3"),
        (Name("x"), "x"),
        ((1, (2,)), [1, [2]]),
        ({"a": None, "b": True}, {"a": None, "b": True}),
        (1e21, 1e21),
    ],
)
def test_converted_without_loss(value: Any, converted: Any) -> None:
    result = plain({"v": value})["v"]
    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, math.nan]}, r"^payload\.a\[1\]: nan"),
        ({"a": {"b c": -math.inf}}, r"^payload\.a\['b c'\]: -inf"),
        ([2**53], r"^payload\[0\]: an integer beyond"),
        ([-(2**53)], r"^payload\[0\]: an integer beyond"),
        ({1: 2}, r"^payload: the key 1 is not a string"),
        ({True: 2}, r"^payload: the key True is not a string"),
        ({"a": "\ud800"}, r"^payload\.a: a lone surrogate"),
        ({"\udfff": 1}, r"^payload: in the key '\\udfff': a lone surrogate"),
        ({"a": "b\0"}, r"^payload\.a: U\+0000"),
        ({"b\0": 1}, r"^payload: in the key .* U\+0000"),
        ([Decimal("NaN")], r"^payload\[0\]: NaN"),
        ([b"x"], r"^payload\[0\]: bytes has no JSON form"),
        ([{1, 2}], r"^payload\[0\]: set has no JSON form"),
        ([object()], r"^payload\[0\]: object has no JSON form"),
    ],
)
def test_refused_by_path(value: Any, message: str) -> None:
    with pytest.raises(Serialization, match=message):
        plain(value)


def test_depth_is_bounded_before_pythons_own_limit() -> None:
    nested: list[Any] = []
    for _ in range(63):
        nested = [nested]
    assert plain(nested, max_depth=64) == nested
    with pytest.raises(Serialization, match="MAX_DEPTH"):
        plain([nested], max_depth=64)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Serialization, match="MAX_DEPTH"):
        plain(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Serialization):
        canonical.dumps(deep)


def test_foreign_types_are_the_callers_to_convert() -> None:
    class Lazy:
        def __str__(self) -> str:
            return "text"

    def convert(value: object) -> object:
        if isinstance(value, Lazy):
            return str(value)
        raise TypeError

    assert plain([Lazy()], convert=convert) == ["text"]
    with pytest.raises(Serialization):
        plain([object()], convert=convert)


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": None, "b": math.nan}, {"\ud800": 1}])
def test_dumps_refuses_what_has_no_form(value: Any) -> None:
    with pytest.raises(Serialization):
        canonical.dumps(value)


def test_keys_are_taken_by_their_characters() -> None:
    class Mixed(str, enum.Enum):  # noqa: UP042  its str() is "Mixed.RED"
        RED = "red"

    class Lying(str):
        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

        def __str__(self) -> str:
            return "other\0"

    assert plain({Mixed.RED: 1, Lying("x"): 2}) == {"red": 1, "x": 2}
    assert {type(key) for key in plain({Mixed.RED: 1, Lying("x"): 2})} == {str}
    with pytest.raises(Serialization, match="is not a string"):
        plain({Colour.RED: 1})
    with pytest.raises(Serialization, match=r"^payload\.a: the key 'x' occurs twice"):
        plain({"a": {"x": 1, Lying("x"): 2}})


def test_going_in_circles_is_refused_by_name() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Serialization, match=r"^payload: nested too deeply"):
        plain(circle, max_depth=10**6)
    with pytest.raises(Serialization, match=r"^payload: nested too deeply"):
        plain([object()], convert=lambda value: value)


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900])
def test_same_compares_whatever_depth_was_read(text: str) -> None:
    assert canonical.same(canonical.loads(text), canonical.loads(text))


def test_the_judge_takes_bytes_too() -> None:
    assert canonical.is_canonical(b'{"a":1}', {"a": 1})
    assert not canonical.is_canonical(b'{"a": 1}', {"a": 1})
    assert not canonical.is_canonical(b'{"a": 1}', {"a": 1}, deep=True)


FRAGMENTS = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"a"', "1", "1.0", "null", " ", '{"b":2,"a":1}']
    ),
    min_size=1,
    max_size=6,
).map("".join)


def each_by_itself(texts: list[str]) -> list[str] | None:
    try:
        return [rfc8785.dumps(canonical.loads(text)).decode() for text in texts]
    except (Deserialization, rfc8785.CanonicalizationError):
        return None


@given(st.lists(FRAGMENTS, min_size=1, max_size=4), st.booleans())
def test_texts_that_are_json_only_together_are_not_taken_for_json(
    texts: list[str], alone: bool
) -> None:
    with without_orjson(alone):
        found = canonical.reprint_each(texts)
    assert (None if found is None else list(found)) == each_by_itself(texts)


@given(st.lists(VALUES, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_texts_reprinted_together_are_each_in_their_form(
    values: list[Any], as_python_writes: bool, alone: bool
) -> None:
    write = json.dumps if as_python_writes else canonical.dumps
    texts = [write(value) for value in values]
    with without_orjson(alone):
        found = canonical.reprint_each(texts)
    assert found is not None
    assert list(found) == each_by_itself(texts)


@given(st.lists(TEXT | st.sampled_from(['","', '"', "\\", ',"', '",']), min_size=1), st.booleans())
def test_strings_escaped_together_are_each_escaped(strings: list[str], alone: bool) -> None:
    with without_orjson(alone):
        found = canonical.escape_each(strings)
    assert found is not None
    assert [f'"{text}"' for text in found] == [rfc8785.dumps(s).decode() for s in strings]


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("odd", [None, 1, "\ud800", "{", "", "NaN", "1e999", "[1][2]", "1,2"])
def test_what_is_no_text_of_json_spoils_its_neighbours_too(odd: Any) -> None:
    assert canonical.reprint_each(["{}", odd]) is None
    assert canonical.reprint_each([odd, "{}"]) is None
    if odd in (None, 1, "\ud800"):
        assert canonical.escape_each(["x", odd]) is None


class Shade(enum.Enum):
    DARK = "dark"
    DEEP = 2**60
    HALF = 0.5
    NONE = None


class Suit(enum.StrEnum):
    CLUBS = "♣"


class Text(str):
    __slots__ = ()


ANYTHING = st.recursive(
    VALUES
    | st.sampled_from([*Shade, Suit.CLUBS, Text("t"), 2**53, -(2**63), 2**70, 12.0, -12.0, 1e15])
    | st.sampled_from([math.nan, math.inf, "1.0,", "[2.0]", "\ud800", b"bytes", object])
    | st.uuids()
    | st.datetimes()
    | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXT | st.sampled_from([Text("k"), 1, "k"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def by_the_long_road(value: Any, max_depth: int) -> str:
    try:
        return canonical.dumps(plain(value, max_depth=max_depth))
    except Serialization as exc:
        return f"refused: {exc}"


def in_one_step(value: Any, max_depth: int) -> str:
    try:
        return canonical.text_of(value, max_depth=max_depth)
    except Serialization as exc:
        return f"refused: {exc}"


@given(ANYTHING, st.integers(1, 5), st.booleans())
def test_what_goes_in_is_written_alike_on_both_roads(value: Any, depth: int, alone: bool) -> None:
    with without_orjson(alone):
        assert in_one_step(value, depth) == by_the_long_road(value, depth)


@given(st.lists(ANYTHING, max_size=4), st.integers(1, 5))
def test_what_goes_in_together_is_written_as_each_by_itself(values: list[Any], depth: int) -> None:
    texts = canonical.texts_of(values, max_depth=depth)
    if texts is not None:
        assert texts == [by_the_long_road(value, depth) for value in values]


def test_the_fast_roads_are_taken() -> None:
    """What the two tests above stand on."""
    values: list[Any] = [{"a": [1.5, 12.0, None, "x"]}, [(1, 2.5)], {"b": {"c": True}}]
    assert canonical.texts_of(values, max_depth=2) == [
        '{"a":[1.5,12,null,"x"]}', '[[1,2.5]]', '{"b":{"c":true}}'
    ]  # fmt: skip
    assert canonical.texts_of(values, max_depth=1) is None
    assert canonical.texts_of([*values, {"t": datetime.now(UTC)}]) is None


DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,24})?", fullmatch=True)


@given(st.lists(DIGITS, min_size=1, max_size=3), st.booleans())
def test_numbers_that_a_float_would_round_are_told(numbers: list[str], alone: bool) -> None:
    """By the values that the server compares: those of the print, and of the canonical text."""
    text = '{"a": [' + ", ".join(numbers) + '], "b": ' + numbers[0] + "}"
    exact = all(
        Decimal(number) == Decimal(canonical.dumps([canonical.loads(number)])[1:-1])
        for number in numbers
    )
    with without_orjson(alone):
        assert (canonical.reprint_each([text, "[]"], jsonb=True) is not None) == exact
    assert canonical.same(canonical.loads(text), canonical.loads_exactly(text)) == exact


def test_what_looks_like_a_number_in_a_string_is_none() -> None:
    for inner in (" 1234567890123456789,", "[9007199254740993]", " 1.2.3.4.5.6.7.8.9.0,"):
        text = canonical.dumps([inner])
        found = canonical.reprint_each([text], jsonb=True)
        assert found is None or list(found) == [text]  # None: row by row it is seen
        assert canonical.same([inner], canonical.loads_exactly(text))
