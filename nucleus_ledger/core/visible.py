"""Text of unknown origin as it may be shown to a person.

What the ledger holds is somebody else's input: a right-to-left mark can make a page read other
than it is, a control character can move a terminal's cursor. Such characters are shown, not obeyed.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

# Control, format (bidi marks among them), surrogates, line and paragraph separators.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return one line or more of text with each acting character as ‹U+XXXX›; keeps newlines."""
    if text.isprintable():
        return text
    return "".join(f"‹U+{ord(char):04X}›" if _acts(char) else char for char in text)


def one_line(value: object, most: int = 1000) -> str:
    """Return what a value says in one line of bounded length, as an error or a log shows it."""
    text = " ".join(str(value).split())
    return visible(text if len(text) <= most else f"{text[:most]}…")


def visible_json(value: Any) -> str:
    """Return a document as indented JSON: acting characters are escaped as JSON itself does."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(json.dumps(char)[1:-1] if _acts(char) else char for char in text)


def _acts(char: str) -> bool:
    return char != "\n" and unicodedata.category(char) in _ACTING
