"""Where two JSON documents differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nucleus_ledger.core import canonical

MISSING: Final = object()
_MOST = 1000


def differences(expected: Any, actual: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return (path, expected, actual) of each value that differs, `MISSING` where there is none.

    Paths are written as `payload.lines[2].cents`. Stops after a thousand.
    """
    found: list[tuple[str, Any, Any]] = []
    stack = [(path, expected, actual)]
    while stack and len(found) < _MOST:
        path, one, other = stack.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            names = list(dict.fromkeys([*one, *other]))
            inner = [
                (_member(path, name), one.get(name, MISSING), other.get(name, MISSING))
                for name in names
            ]
        elif isinstance(one, list) and isinstance(other, list):
            inner = [
                (f"{path}[{index}]", *pair) for index, pair in enumerate(_side_by_side(one, other))
            ]
        else:
            if one is MISSING or other is MISSING or not canonical.same(one, other):
                found.append((path, one, other))
            continue
        stack.extend(reversed(inner))
    return found


def _member(path: str, name: str) -> str:
    shown = name if name.isidentifier() else f"[{name!r}]"
    return f"{path}.{shown}" if path and not shown.startswith("[") else f"{path}{shown}"


def _side_by_side(one: list[Any], other: list[Any]) -> Iterator[tuple[Any, Any]]:
    for index in range(max(len(one), len(other))):
        yield (
            one[index] if index < len(one) else MISSING,
            other[index] if index < len(other) else MISSING,
        )
