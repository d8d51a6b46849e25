"""Values as plain JSON, converted without loss or refused by the path of what has no JSON form."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from nucleus_ledger.errors import Serialization

JSONValue = Any  # a dict with str keys, list, str, int, float, bool or None, all the way down
Convert = Callable[[object], object]

MAX_SAFE_INTEGER = 2**53 - 1


class _Refused(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def plain(
    value: object, *, path: str = "payload", max_depth: int = 64, convert: Convert | None = None
) -> JSONValue:
    """Return `value` as plain JSON values, converted without loss.

    Raises `Serialization` naming the path of what has no JSON form. `convert` is asked about types
    unknown here; it returns a replacement, or raises `TypeError`.
    """
    try:
        return _plain(value, max_depth, convert)
    except _Refused as exc:
        where = path + "".join(reversed(exc.steps))
        raise Serialization(f"{where}: {exc.reason}") from None
    except RecursionError:  # `max_depth` beyond Python's own, or `convert` going in circles
        raise Serialization(f"{path}: nested too deeply to be converted") from None


def _plain(value: object, depth: int, convert: Convert | None) -> JSONValue:
    kind = type(value)
    if kind is str:
        _check_text(value)  # type: ignore[arg-type]
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:  # type: ignore[operator]
            raise _Refused("an integer beyond ±(2^53-1) is not exact in JSON")
        return value
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise _Refused(f"{value} has no JSON form")
        return value
    # By its real type: a lazy object or a mock claims another class by `__class__`.
    if issubclass(kind, enum.Enum):  # before str and int, which an enum may also be
        return _plain(value.value, depth, convert)  # type: ignore[attr-defined]
    if issubclass(kind, dict):
        return _plain_object(value, depth, convert)  # type: ignore[arg-type]
    if issubclass(kind, (list, tuple)):
        return _plain_array(value, depth, convert)  # type: ignore[arg-type]
    return _plain(_converted(value, kind, convert), depth, convert)


def _plain_object(value: dict[Any, Any], depth: int, convert: Convert | None) -> dict[str, Any]:
    if depth < 1:
        raise _Refused("nested deeper than MAX_DEPTH")
    result: dict[str, Any] = {}
    # What the dict holds: a subclass may say less, as a MultiValueDict shows the last of a list.
    for original, item in dict.items(value):
        key = original if type(original) is str else _plain_key(original)
        try:
            _check_text(key)
        except _Refused as exc:
            raise _Refused(f"in the key {ascii(key)[:100]}: {exc.reason}") from None
        if key in result:  # different in Python, the same in JSON: one of them would be lost
            raise _Refused(f"the key {ascii(key)[:100]} occurs twice")
        try:
            result[key] = _plain(item, depth - 1, convert)
        except _Refused as exc:
            exc.steps.append(f".{key}" if key.isidentifier() else f"[{ascii(key)[:100]}]")
            raise
    return result


def _plain_key(key: object) -> str:
    """Return a key of a subclass of str as str: its characters, whatever its `__str__` says."""
    if not issubclass(type(key), str):
        raise _Refused(f"the key {key!r:.100} is not a string")
    return str.__str__(key)


def _plain_array(
    value: list[Any] | tuple[Any, ...], depth: int, convert: Convert | None
) -> list[Any]:
    if depth < 1:
        raise _Refused("nested deeper than MAX_DEPTH")
    result = []
    items = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)
    for index, item in enumerate(items):
        try:
            result.append(_plain(item, depth - 1, convert))
        except _Refused as exc:
            exc.steps.append(f"[{index}]")
            raise
    return result


def _converted(value: Any, kind: type, convert: Convert | None) -> object:
    """Return a replacement for a value of another type. Loses nothing, or refuses."""
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, (datetime, date, time)):
        return value.isoformat()  # microseconds and offset included, where it has them
    if issubclass(kind, timedelta):
        exact = timedelta(value.days, value.seconds, value.microseconds)
        if value != exact:  # a subclass may count nanoseconds
            raise _Refused(f"{value!r:.100} is more exact than a timedelta")
        return _duration(exact)
    if issubclass(kind, Decimal):
        if not value.is_finite():
            raise _Refused(f"{value} has no JSON form")
        return Decimal.__str__(value)
    if issubclass(kind, UUID):
        return UUID.__str__(value)
    if convert is not None:
        try:
            return convert(value)
        except TypeError:
            pass
    raise _Refused(f"{kind.__name__} has no JSON form here")


def _duration(value: timedelta) -> str:
    """Write an ISO 8601 duration as `[-]P<days>DT<hours>H<minutes>M<seconds>[.<micros>]S`."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{hours:02d}H{minutes:02d}M{seconds:02d}{fraction}S"


def _check_text(text: str) -> None:
    if "\0" in text:
        raise _Refused("U+0000 cannot be stored")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Refused("a lone surrogate is no character") from None
