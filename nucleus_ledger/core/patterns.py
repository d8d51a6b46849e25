"""Patterns of stream names, as settings and modules write them."""

from __future__ import annotations

ALL = "*"
_BELOW = "/*"


def matches(pattern: str, stream: str) -> bool:
    """Whether a pattern stands for a stream.

    `*` is every stream, `prefix/*` every one whose name begins with `prefix/`, and everything else
    the one stream of exactly that name: `a*`, `a/*/b` and `**` have no special meaning.
    """
    if pattern == ALL:
        return True
    if pattern.endswith(_BELOW):
        return stream.startswith(pattern[:-1])
    return pattern == stream
