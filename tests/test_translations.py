"""No text is left in English, and what Django reads is what people translated."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from tests import messages
from tests.tamper import edit_payload
from tests.test_admin import INDEX, boss, fill, ledger, listing, page, verify

__all__ = ["boss", "ledger"]  # fixtures
PLACES = re.compile(r"%\(\w+\)s|%\(\w+\)d|%%|\{\w+\}|‹U\+XXXX›|#5000|manage\.py \w+|docs/\S+\.md")


def as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    there = {message.id for message in messages.texts() if message.id}
    catalog = messages.translated(language)
    assert {message.id for message in catalog if message.id} == there, "python -m tests.messages"
    assert len(there) > 150
    for message in catalog:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        for one, other in zip(as_tuple(message.id), as_tuple(message.string), strict=True):
            assert other.strip(), one
            assert sorted(PLACES.findall(one)) == sorted(PLACES.findall(other)), one


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_what_django_reads_is_what_was_translated(language: str) -> None:
    binary = messages.files_of(language)[1].read_bytes()
    assert binary == messages.compiled(messages.translated(language)), "python -m tests.messages"
    with translation.override(language):
        assert translation.gettext("Never verified") != "Never verified"


def test_templates_hold_no_words_outside_of_their_texts() -> None:
    templates = sorted(messages.PACKAGE.rglob("*.html"))
    assert len(templates) >= 6
    for file in templates:
        source = file.read_text("utf-8")
        text = re.sub(r"{%\s*blocktrans.*?endblocktrans\w*\s*%}", "", source, flags=re.S)
        text = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}|<[^>]*>", " ", text, flags=re.S)
        assert not re.search(r"[A-Za-z]", text), (file, text.split())


def test_no_page_says_anything_in_english(boss: Client, ledger: str, settings: Any) -> None:
    """Looks for each English text, where it is long enough to be no name or value."""
    settings.LANGUAGE_CODE = "nl"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    entries = fill(5)
    fill(1, "others")
    verify(boss, "others")
    edit_payload(ledger, "r3")
    answer = verify(boss, "things")
    shown = [answer.content.decode()]
    for address in (
        INDEX,
        listing("stream"),
        listing("entry"),
        listing("verification"),
        page("stream", entries[0].stream_id),
        page("entry", entries[2].hash),
        page("entry", entries[3].hash),
    ):
        shown.append(boss.get(address, headers={"Accept-Language": "nl"}).content.decode())
    long = [
        text
        for message in messages.translated("nl")
        for text, other in zip(as_tuple(message.id), as_tuple(message.string), strict=True)
        if len(text) > 8
        and "%" not in text
        and text != other
        and text != "incremental"  # a value of a setting, in a system check
    ]
    assert len(long) > 80
    html = "\n".join(shown)
    assert "Gemanipuleerd" in html
    visible = re.sub(r"<(script|style|pre|code)\b.*?</\1>|<[^>]*>", " ", html, flags=re.S)
    found = [text for text in long if re.search(rf"(?<![\w_]){re.escape(text)}(?![\w_])", visible)]
    assert found == []
