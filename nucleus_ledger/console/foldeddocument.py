"""A JSON document as a tree that a reader folds and unfolds; no script is needed for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from nucleus_ledger.core.visible import visible_json

MOST_PARTS, MOST_LEVELS, MOST_CHARACTERS = 1000, 100, 20_000
_OPEN_LEVELS = 2


def fits(value: Any) -> bool:
    """Whether a document is small enough to be shown as a tree."""
    left, characters = MOST_PARTS, MOST_CHARACTERS
    for level, part in _parts(value):
        left -= 1
        characters -= len(part) if isinstance(part, str) else 0
        if left < 0 or characters < 0 or level > MOST_LEVELS:
            return False
    return True


def tree(value: Any) -> SafeString:
    """Return a document that `fits` as nested lists, escaped, with acting characters shown."""
    return format_html('<div class="ledger-tree">{}</div>', _branch(value, 0))


def _parts(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield every key and value with its level, without recursion: a document may be deep."""
    stack = [(0, value)]
    while stack:
        level, part = stack.pop()
        yield level, part
        if isinstance(part, dict):
            stack.extend((level + 1, each) for item in part.items() for each in item)
        elif isinstance(part, list):
            stack.extend((level + 1, each) for each in part)


def _branch(value: Any, level: int) -> SafeString:
    if not isinstance(value, (dict, list)) or not value:
        return format_html('<code class="ledger-value">{}</code>', visible_json(value))
    if isinstance(value, dict):
        members = format_html_join(
            "",
            '<li><code class="ledger-key">{}</code>: {}</li>',
            ((visible_json(key), _branch(item, level + 1)) for key, item in value.items()),
        )
        count = ngettext("object, %(n)d member", "object, %(n)d members", len(value))
    else:
        members = format_html_join(
            "", "<li>{}</li>", ((_branch(item, level + 1),) for item in value)
        )
        count = ngettext("array, %(n)d item", "array, %(n)d items", len(value))
    return format_html(
        "<details{}><summary>{}</summary><ul>{}</ul></details>",
        SafeString(" open") if level < _OPEN_LEVELS else "",
        count % {"n": len(value)},
        members,
    )
