"""Finds a key that an object of a JSON text has twice.

Parsers keep one of the two and say nothing (RFC 8259 section 4): which one depends on the parser.
A text from outside that has two is not what its writer believes it is.
"""

from __future__ import annotations

import json
from typing import Any

from nucleus_ledger.errors import Deserialization

_SHOWN, _SHOWN_PATH = 100, 500  # characters of a key, and of a path


class _Object(dict[str, Any]):
    """An object with the first key that it has twice."""

    repeated: str | None = None


def refuse_repeated_keys(text: str | bytes) -> None:
    """Raise `Deserialization`, naming the path and the key, where an object has a key twice."""
    found = find_repeated_key(text)
    if found is not None:
        raise Deserialization(found)


def find_repeated_key(text: str | bytes) -> str | None:
    """Return a sentence that names the path and the key where an object has a key twice, or None.

    Raises `Deserialization` for what is no JSON. Numbers and strings are not judged.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except (ValueError, RecursionError) as exc:
        raise Deserialization(str(exc)) from exc
    stack = [("", value)]  # outermost first: what stands in a lost value is lost with it
    while stack:
        path, value = stack.pop()
        if isinstance(value, _Object):
            if value.repeated is not None:
                where = f"{path[:_SHOWN_PATH]}: " if path else ""
                return f"{where}the key {_shown(value.repeated)} occurs twice"
            stack.extend((f"{path}{_step(path, key)}", item) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend((f"{path}[{index}]", item) for index, item in enumerate(value))
    return None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        seen = set()
        for key, _value in pairs:
            if key in seen:
                found.repeated = key
                break
            seen.add(key)
    return found


def _step(path: str, key: str) -> str:
    if not key.isidentifier():
        return f"[{_shown(key)}]"
    return f".{key}" if path else key


def _shown(key: str) -> str:
    return ascii(key)[:_SHOWN]
