"""The record hash of the reference engine (Nucleus, in Rust), whose ledgers can be imported.

    SHA-256 of compact JSON of {id, meta (left out when absent), payload, stream, timestamp}, keys
    sorted by code point at every depth, floats as Rust's ryu prints them, integers exact

What it leaves out is `prev_hash`: it says nothing of the order of records.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.errors import Deserialization

_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1  # i64 and u64; other integers are floats there
_MOST_DEPTH = 127
_FIELDS = {"id", "stream", "timestamp", "payload", "meta"}
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class NucleusRecord:
    """A record as that engine's text says it; `hash` is by its rule."""

    id: str
    stream: str
    timestamp: int
    payload: Any
    meta: Any
    hash: str


def parse(serialized: str) -> NucleusRecord:
    """Read a record; raises `Deserialization` where that engine would not read it."""
    said = loads(serialized)
    if not isinstance(said, dict) or not {"id", "stream", "timestamp", "payload"} <= said.keys():
        raise Deserialization("not a record: id, stream, timestamp, payload and perhaps meta")
    if not isinstance(said["id"], str) or not isinstance(said["stream"], str):
        raise Deserialization("the id or the stream of the record is no text")
    time = said["timestamp"]
    if type(time) is not int or not 0 <= time <= _HIGHEST:
        raise Deserialization("the timestamp of the record is no whole number >= 0")
    document = {name: said[name] for name in said if name in _FIELDS}
    if document.get("meta", 0) is None:
        del document["meta"]
    return NucleusRecord(
        said["id"], said["stream"], time, said["payload"], said.get("meta"),
        hash_text(dumps(document)),
    )  # fmt: skip


def loads(text: str) -> Any:
    """Return the value of a JSON text with integers and floats kept apart."""
    last: list[str] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        last[:] = [key for key, _value in pairs]
        return dict(pairs)

    try:
        text.encode()
        value = json.loads(
            text,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant,
            object_pairs_hook=as_object,
        )
        _check(value, 0)
        # The outermost object is read last. Inside others that engine keeps the last of two.
        if isinstance(value, dict) and len(set(last)) < len(last):
            raise ValueError("a member stands there twice")
    except (ValueError, RecursionError) as exc:
        raise Deserialization(f"not JSON of that engine: {exc}") from exc
    return value


def dumps(value: Any) -> str:
    """Return the canonical text of a value by that engine's rule."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(k)}:{dumps(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return _ryu(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def whole_floats(value: Any, path: str = "") -> list[str]:
    """Return where whole numbers stand that are floats there (1.0), as JSON pointers (RFC 6901).

    RFC 8785 writes them as integers, so that the old hash needs to be told where they were.
    """
    if isinstance(value, float):
        return [path] if value.is_integer() else []
    if isinstance(value, dict):
        parts = [(key.replace("~", "~0").replace("/", "~1"), item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        return []
    return [found for name, item in parts for found in whole_floats(item, f"{path}/{name}")]


def with_floats(value: Any, pointers: list[str], path: str = "") -> Any:
    """Return a value with the numbers at the pointers as floats; undoes what JCS does to them."""
    if path in pointers:
        return float(value)
    if isinstance(value, dict):
        return {
            key: with_floats(item, pointers, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [with_floats(item, pointers, f"{path}/{i}") for i, item in enumerate(value)]
    return value


def _integer(token: str) -> int | float:
    if len(token) > 21 or not _LOWEST <= int(token) <= _HIGHEST or token == "-0":
        return _float(token)
    return int(token)


def _float(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError(f"the number {token[:40]} is out of range")
    return value


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON")


def _check(value: Any, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        value.encode()  # a lone surrogate is no character


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _ryu(value: float) -> str:
    """Print a float as the crate ryu does (its `format`, d2s): the shortest digits, placed."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    minus = "-" if sign else ""
    text = "".join(map(str, digits))
    assert isinstance(exponent, int)
    point = len(text) + exponent  # where the decimal point stands, from the first digit on
    if value == 0:
        return f"{minus}0.0"
    if exponent >= 0 and point <= 16:
        return f"{minus}{text}{'0' * exponent}.0"
    if 0 < point <= 16:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -5 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{point - 1}"
