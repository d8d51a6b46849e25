"""What may stand in a payload: a type has a rule, or is refused by its path.

Every value that orjson, Django and the standard library know is one of the two, wherever it is:
as a member, in a list, in an enum, alone or in a batch. What is stored verifies and comes back.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import fractions
import ipaddress
import pathlib
import types
import typing
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from django.http import QueryDict
from django.utils.datastructures import CaseInsensitiveMapping, MultiValueDict
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy

from nucleus_ledger.errors import InvalidData, LedgerError, Serialization
from nucleus_ledger.models import Entry, Stream

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

REFUSED = object()


class Colour(enum.Enum):
    RED = "red"
    PART = orjson.Fragment(b'"red"')
    PAIR = ("a", 1)


class Text(str, enum.Enum):  # noqa: UP042
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Lying(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class LyingInt(int):
    def __int__(self) -> int:
        return 7


class LyingFloat(float):
    def __float__(self) -> float:
        return 7.0


class LyingDict(dict[str, Any]):
    def items(self) -> Any:
        return [("b", 2)]

    def __iter__(self) -> Any:
        return iter(["b"])


class LyingList(list[Any]):
    def __iter__(self) -> Any:
        return iter([7])


class Nanoseconds(timedelta):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = timedelta.__hash__


class Moment(datetime):
    pass


@dataclasses.dataclass
class Point:
    x: int = 1


class Pair(typing.NamedTuple):
    a: int
    b: str


class Typed(typing.TypedDict):
    a: int


def generator() -> Any:
    yield 1


VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "fragment": (lambda: orjson.Fragment(b'{"x":1}'), REFUSED),
    "fragment that injects a member": (lambda: orjson.Fragment(b'1,"x":2'), REFUSED),
    "fragment that is no JSON": (lambda: orjson.Fragment(b"}"), REFUSED),
    "fragment in a list": (lambda: [orjson.Fragment("1")], REFUSED),
    "fragment in a tuple": (lambda: (orjson.Fragment("1"),), REFUSED),
    "fragment in an enum": (lambda: Colour.PART, REFUSED),
    "enum": (lambda: Colour.RED, "red"),
    "enum of a tuple": (lambda: Colour.PAIR, ["a", 1]),
    "enum of text": (lambda: Text.RED, "red"),
    "enum of a number": (lambda: Number.ONE, 1),
    "flags": (lambda: Rights.READ | Rights.WRITE, 3),
    "dataclass": (Point, REFUSED),
    "class": (lambda: Point, REFUSED),
    "str": (lambda: "é\U0001f600", "é\U0001f600"),
    "subclass of str": (lambda: Lying("x"), "x"),
    "SafeString": (lambda: mark_safe("<b>"), "<b>"),
    "UserString": (lambda: collections.UserString("x"), REFUSED),
    "int": (lambda: 2**53 - 1, 2**53 - 1),
    "int too large": (lambda: 2**53, REFUSED),
    "subclass of int": (lambda: LyingInt(3), 3),
    "subclass of float": (lambda: LyingFloat(0.5), 0.5),
    "float": (lambda: 1e21, 1e21),
    "NaN": (lambda: float("nan"), REFUSED),
    "bool": (lambda: True, True),
    "None": (lambda: None, None),
    "complex": (lambda: 1j, REFUSED),
    "Fraction": (lambda: fractions.Fraction(1, 2), REFUSED),
    "Decimal": (lambda: Decimal("1.10"), "1.10"),
    "Decimal NaN": (lambda: Decimal("NaN"), REFUSED),
    "dict": (lambda: {"b": 1, "a": {}}, {"a": {}, "b": 1}),
    "dict with a key that is a number": (lambda: {1: 1}, REFUSED),
    "dict with a key that is a subclass": (lambda: {Lying("k"): 1}, {"k": 1}),
    "dict with a key that is an enum": (lambda: {Text.RED: 1}, {"red": 1}),
    "dict with a key that is a UUID": (lambda: {UUID(int=1): 1}, REFUSED),
    "dict with a key that is None": (lambda: {None: 1}, REFUSED),
    "subclass of dict": (lambda: LyingDict(a=1), {"a": 1}),
    "TypedDict": (lambda: Typed(a=1), {"a": 1}),
    "OrderedDict": (lambda: collections.OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
    "defaultdict": (lambda: collections.defaultdict(int, a=1), {"a": 1}),
    "Counter": (lambda: collections.Counter("aab"), {"a": 2, "b": 1}),
    "UserDict": (lambda: collections.UserDict(a=1), REFUSED),
    "ChainMap": (lambda: collections.ChainMap({"a": 1}), REFUSED),
    "MappingProxyType": (lambda: types.MappingProxyType({"a": 1}), REFUSED),
    "SimpleNamespace": (lambda: types.SimpleNamespace(a=1), REFUSED),
    "MultiValueDict": (lambda: MultiValueDict({"a": ["1", "2"]}), {"a": ["1", "2"]}),
    "QueryDict": (lambda: QueryDict("a=1&a=2"), {"a": ["1", "2"]}),
    "CaseInsensitiveMapping": (lambda: CaseInsensitiveMapping({"A": 1}), REFUSED),
    "list": (lambda: [1, [2]], [1, [2]]),
    "subclass of list": (lambda: LyingList([1]), [1]),
    "tuple": (lambda: (1, (2,)), [1, [2]]),
    "namedtuple": (lambda: Pair(1, "b"), [1, "b"]),
    "deque": (lambda: collections.deque([1]), REFUSED),
    "set": (lambda: {1}, REFUSED),
    "frozenset": (lambda: frozenset({1}), REFUSED),
    "generator": (generator, REFUSED),
    "iterator": (lambda: iter([1]), REFUSED),
    "range": (lambda: range(2), REFUSED),
    "dict keys": (lambda: {"a": 1}.keys(), REFUSED),
    "bytes": (lambda: b"x", REFUSED),
    "bytearray": (lambda: bytearray(b"x"), REFUSED),
    "memoryview": (lambda: memoryview(b"x"), REFUSED),
    "array": (lambda: array.array("i", [1]), REFUSED),
    "Ellipsis": (lambda: ..., REFUSED),
    "StopIteration": (lambda: StopIteration, REFUSED),
    "code": (lambda: generator.__code__, REFUSED),
    "datetime": (
        lambda: datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        "2026-01-02T03:04:05.678901+00:00",
    ),
    "datetime of a zone": (
        lambda: datetime(2026, 7, 2, tzinfo=ZoneInfo("Europe/Amsterdam")),
        "2026-07-02T00:00:00+02:00",
    ),
    "subclass of datetime": (lambda: Moment(2026, 1, 2), "2026-01-02T00:00:00"),
    "date": (lambda: date(2026, 1, 2), "2026-01-02"),
    "time": (lambda: time(1, 2, 3, 4, timezone(timedelta(hours=1))), "01:02:03.000004+01:00"),
    "timedelta": (lambda: timedelta(days=-1, microseconds=1), "-P0DT23H59M59.999999S"),
    "timedelta that counts nanoseconds": (lambda: Nanoseconds(1), REFUSED),
    "time zone": (lambda: UTC, REFUSED),
    "UUID": (lambda: UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "IP address": (lambda: ipaddress.ip_address("::1"), REFUSED),
    "path": (lambda: pathlib.PurePosixPath("/x"), REFUSED),
    "exception": (lambda: ValueError("x"), REFUSED),
    "lazy text": (lambda: gettext_lazy("Verify"), str(gettext_lazy("Verify"))),
    "lazy plural": (lambda: ngettext_lazy("%d stream", "%d streams", 2) % 2, "2 streams"),
    "lazy number": (lambda: lazy(lambda: 5, int)(), REFUSED),
    "lazy list": (lambda: lazy(lambda: [5], list)(), REFUSED),
    "lazy object": (lambda: SimpleLazyObject(lambda: {"a": 1}), REFUSED),
    "lazy object of text": (lambda: SimpleLazyObject(lambda: "x"), REFUSED),
    "model": (lambda: Stream(name="x"), REFUSED),
    "query set": (lambda: Stream.objects.none(), REFUSED),
    "mock": (mock.MagicMock, REFUSED),
    "mock of a dict": (lambda: mock.MagicMock(spec=dict), REFUSED),
    "surrogate": (lambda: "\ud800", REFUSED),
    "NUL": (lambda: "\0", REFUSED),
}
if numpy is not None:
    VALUES["numpy array"] = (lambda: numpy.array([1]), REFUSED)
    VALUES["numpy int"] = (lambda: numpy.int64(1), REFUSED)
    VALUES["numpy float, which is a float"] = (lambda: numpy.float64(0.5), 0.5)

PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a member": (lambda value: {"v": value}, "payload.v"),
    "deep down": (lambda value: {"a": [0, {"v": value}]}, r"payload.a\[1\].v"),
}


def check_intact(alias: str) -> None:
    for deep in (False, True):
        report = Entry.objects.using(alias).verify_integrity(deep=deep, store=False)
        assert report.findings == []
        assert report.intact


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", VALUES)
def test_every_type_has_a_rule_or_is_refused_by_its_path(
    ledger_db: str, name: str, place: str
) -> None:
    make, expected = VALUES[name]
    within, path = PLACES[place]
    manager = Entry.objects.using(ledger_db)
    alone = [{"stream": "things", "payload": within(make())}]
    records = alone, [{"stream": "things", "payload": {}}, *alone]
    for given in records:  # one append goes another way than a batch
        if expected is REFUSED:
            with pytest.raises(Serialization, match=rf"^(records\[\d\]: )?{path}"):
                manager.append_batch(given)
            continue
        entry = manager.append_batch(given)[-1]
        stored = manager.get(pk=entry.pk)
        assert stored.payload == entry.payload == within(expected)
        assert manager.filter(payload=within(expected), pk=entry.pk).exists()
    if expected is not REFUSED:
        manager.append("things", {"meta": True}, meta=within(make()))
        check_intact(ledger_db)
    assert manager.count() == (0 if expected is REFUSED else 4)


@pytest.mark.parametrize("name", VALUES)
def test_as_a_payload_itself(ledger_db: str, name: str) -> None:
    make, expected = VALUES[name]
    manager = Entry.objects.using(ledger_db)
    # The payload itself is an object or an array: an enum is neither, whatever its value is.
    if not isinstance(expected, (dict, list)) or isinstance(make(), enum.Enum):
        with pytest.raises((InvalidData, Serialization), match=r"^payload"):
            manager.append("things", make())
        return
    entry = manager.append("things", make())
    assert manager.get(pk=entry.pk).payload == expected
    check_intact(ledger_db)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("field", ["stream", "record_id"])
def test_as_a_name(ledger_db: str, name: str, field: str) -> None:
    """A name that is a subclass of str is its characters, on every way to the columns."""
    make, expected = VALUES[name]
    manager = Entry.objects.using(ledger_db)
    record = {"stream": "things", "record_id": "r", "payload": {}} | {field: make()}
    if name == "model" and field == "stream":
        return
    try:
        entry = manager.append_batch([record])[0]
    except LedgerError:
        assert type(expected) is not str or not isinstance(make(), str)
        return
    if field == "record_id" and expected is None:  # the ledger chose one
        return
    stored = manager.select_related("stream").get(pk=entry.pk)
    for each in (stored, entry):
        said = each.stream.name if field == "stream" else each.record_id
        assert (type(said), said) == (str, expected)
    check_intact(ledger_db)
