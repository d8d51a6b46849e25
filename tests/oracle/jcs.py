"""RFC 8785 once more, from the text of the standard: slow, obvious, and nobody else's code.

The oracle must not share a mistake with the ledger, so neither rfc8785 nor orjson is used here.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from decimal import Decimal
from sys import getrecursionlimit, setrecursionlimit
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAFE = 2**53 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")
# RFC 8785 section 3.2.2.2: the two-character escapes; other controls as \u00xx in lower case.
_SHORT = {0x08: "b", 0x09: "t", 0x0A: "n", 0x0C: "f", 0x0D: "r", 0x22: '"', 0x5C: "\\"}
_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    code: f"\\{letter}" for code, letter in _SHORT.items()
}


class NotJSON(ValueError):
    """A text that is no JSON of the format."""


def read(text: str) -> Any:
    """Return the value of a JSON text; whole numbers beyond ±(2^53-1) are floats."""
    return _read(text, parse_int=_whole, parse_float=_finite)


def read_exactly(text: str) -> Any:
    """Return the value of a JSON text with every number as the decimal that stands there."""
    return _read(text, parse_int=Decimal, parse_float=Decimal)


def write(value: Any) -> str:
    """Return the RFC 8785 text of a value."""
    with _deep():
        return "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    if value is None or value is True or value is False:
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        yield f'"{value.translate(_ESCAPES)}"'
    elif isinstance(value, (int, float)):
        yield number(value)
    elif isinstance(value, list):
        yield "["
        for index, each in enumerate(value):
            yield "," if index else ""
            yield from _pieces(each)
        yield "]"
    else:
        yield "{"
        # Section 3.2.3: sorted by UTF-16 code units.
        for index, name in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
            yield "," if index else ""
            yield f'"{name.translate(_ESCAPES)}":'
            yield from _pieces(value[name])
        yield "}"


def number(value: int | float) -> str:
    """Section 3.2.2.3, which is ECMA-262 section 6.1.6.1.20 with the shortest digits."""
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    k, n = len(text), len(text) + exponent
    if k <= n <= 21:
        text += "0" * (n - k)
    elif 0 < n <= 21:
        text = f"{text[:n]}.{text[n:]}"
    elif -6 < n <= 0:
        text = f"0.{'0' * -n}{text}"
    else:
        fraction = f".{text[1:]}" if k > 1 else ""
        text = f"{text[0]}{fraction}e{'+' if n > 0 else '-'}{abs(n - 1)}"
    return f"-{text}" if sign else text


def _read(text: str, **options: Any) -> Any:
    try:
        with _deep():
            value = json.loads(text, parse_constant=_refuse, **options)
            _look_for_surrogates(value)
            return value
    except (ValueError, RecursionError) as exc:
        raise NotJSON(str(exc)) from exc


def _whole(digits: str) -> int | float:
    if len(digits) > 400:
        return _finite(digits)
    value = int(digits)
    return value if abs(value) <= _SAFE else _finite(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    return value if abs(value) != float("inf") else _refuse(digits)


def _refuse(token: str) -> Any:
    raise NotJSON(f"{token} is no number")


def _look_for_surrogates(value: Any) -> None:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str) and _SURROGATE.search(each):
            raise NotJSON("a lone surrogate")
        if isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


@contextmanager
def _deep() -> Iterator[None]:
    """Python's limit is no limit of the format."""
    before = getrecursionlimit()
    setrecursionlimit(max(before, 20_000))
    try:
        yield
    finally:
        setrecursionlimit(before)
