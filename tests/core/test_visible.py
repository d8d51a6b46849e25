from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from nucleus_ledger.core.visible import visible, visible_json


@pytest.mark.parametrize("text", ["", "plain", "ünï ✔ 漢字 🙂", "two\nlines", "non\u0301ascii"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a‹U+202E›b"),
        ("\x1b[31m", "‹U+001B›[31m"),
        ("\r\t\x00\x7f\x9b", "‹U+000D›‹U+0009›‹U+0000›‹U+007F›‹U+009B›"),
        ("\u2028\ufeff\U000e0041", "‹U+2028›‹U+FEFF›‹U+E0041›"),
        ("\ud800", "‹U+D800›"),
    ],
)
def test_acting_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_acting_character_comes_through() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    for shown in (visible(everything), visible_json({"x": everything})):
        acting = {char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs")}
        assert acting == {"\n"}


def test_a_document_stays_the_same_document() -> None:
    value = {"a\u202e": ["\U000e0041", "\\u202e", "\x9b\x1b\n", "ü", {"n": [1, 1.5, None, True]}]}
    text = visible_json(value)
    assert json.loads(text) == value
    assert "\\u202e" in text
    assert "\\udb40\\udc41" in text
    assert "ü" in text
