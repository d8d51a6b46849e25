"""A stream whose newest entry is dated ahead of now is warned of, everywhere, with the way out."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from nucleus_ledger import clocks, stepping
from nucleus_ledger.core.moments import moment
from nucleus_ledger.errors import InvalidData
from nucleus_ledger.models import Entry, Stream
from tests.tamper import lay_bare, sql

DAY = 86_400_000


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def fast(ledger_db: str, settings: Any) -> int:
    """One append under a clock that was 400 days ahead; returns its time."""
    if ledger_db != "default":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    for stream in ("right", "fast"):
        Entry.objects.using(ledger_db).append(stream, {})
    ahead = now() + 400 * DAY
    before = settings.NUCLEUS_LEDGER
    settings.NUCLEUS_LEDGER = {**before, "MAX_CLOCK_SKEW_MS": 500 * DAY}
    Entry.objects.using(ledger_db).append("fast", {}, timestamp=ahead)
    settings.NUCLEUS_LEDGER = before
    return ahead


def said(ahead: int) -> str:
    return f"stream 'fast': its newest entry is dated {moment(ahead)}, 399 d ahead of now"


def ask(name: str, alias: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, database=alias, stdout=out, **options)
    return out.getvalue()


def test_what_a_writer_meets(ledger_db: str, fast: int) -> None:
    entry = Entry.objects.using(ledger_db).append("fast", {})
    assert entry.timestamp == fast
    with pytest.raises(InvalidData, match="lies before"):
        Entry.objects.using(ledger_db).append("fast", {}, timestamp=now())


def test_every_verification_warns_of_it(ledger_db: str, fast: int) -> None:
    for mode in ("full", "incremental"):
        report = Entry.objects.using(ledger_db).verify_integrity(mode=mode)
        (warning,) = [each for each in report.warnings if "ahead of now" in each]
        assert warning.startswith(said(fast))
        assert "docs/operations.md, A clock that was fast" in warning
        assert report.findings_total == 0
    run = stepping.begin(ledger_db)
    while not (progress := stepping.step(ledger_db, run.pk)).finished:
        pass
    assert [each.startswith(said(fast)) for each in progress.run.warnings] == [True]
    assert progress.run.result == "intact"
    assert f"warning: {said(fast)}" in ask("verify_ledger", ledger_db)
    others = Entry.objects.using(ledger_db).verify_integrity("right")
    assert others.warnings == []


def test_the_check_warns_of_it(ledger_db: str, fast: int) -> None:
    (found,) = [
        each
        for each in checks.run_checks(databases=[ledger_db])
        if each.id == "nucleus_ledger.W010"
    ]
    assert said(fast) in found.msg
    assert not found.is_serious()
    assert "nucleus_ledger.W010" not in {each.id for each in checks.run_checks()}


def test_the_status_warns_of_it(ledger_db: str, fast: int) -> None:
    assert f"warning: {said(fast)}" in ask("ledger_status", ledger_db)
    streams = json.loads(ask("ledger_status", ledger_db, format="json"))["streams"]
    ahead = {each["name"]: each["ahead_ms"] for each in streams}
    assert ahead["right"] == 0
    assert 399 * DAY < ahead["fast"] <= 400 * DAY


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["ahead of now", "appended under a clock that was fast", "Streams dated ahead"]),
        ("nl", ["later dan nu", "de klok liep voor", "Stromen met een tijd later dan nu"]),
    ],
)
def test_the_pages_warn_of_it(
    ledger_db: str, fast: int, client: Client, language: str, words: list[str], settings: Any
) -> None:
    settings.LANGUAGE_CODE = language
    client.force_login(User.objects.create_superuser("boss"))
    listing = "/admin/nucleus_ledger/stream/"
    keys = dict(Stream.objects.using(ledger_db).values_list("name", "pk"))
    with translation.override(language):
        assert client.get(listing).content.decode().count(words[0]) == 1
        page = client.get(f"{listing}{keys['fast']}/change/").content.decode()
        assert words[1] in page
        assert words[1] not in client.get(f"{listing}{keys['right']}/change/").content.decode()
        assert words[2] in client.get("/admin/nucleus_ledger/").content.decode()


def test_nothing_is_said_of_what_is_within_the_skew(ledger_db: str, settings: Any) -> None:
    Entry.objects.using(ledger_db).append("s", {}, timestamp=now() + 200_000)
    assert clocks.streams_ahead(ledger_db) == []
    assert clocks.ahead("s", now() + 200_000) is None
    assert clocks.ahead("s", None) is None


def test_many_streams_make_few_lines(ledger_db: str) -> None:
    found = [clocks.HeadAhead("x" * 10_000, 10**15, DAY)] * 1000
    lines = clocks.warnings(found)
    assert len(lines) == 6
    assert sum(map(len, lines)) < 3000


@pytest.mark.parametrize("ledger_db", ["default"])
@pytest.mark.parametrize("value", ["'soon'", "x'ff'", "9223372036854775807", "1e300"])
def test_a_tampered_time_breaks_nothing(fast: int, client: Client, value: str, db: None) -> None:
    lay_bare("default")
    sql("default", f"UPDATE nucleus_ledger_stream SET head_timestamp = {value}")
    clocks.warnings(clocks.streams_ahead("default"))
    checks.run_checks(databases=["default"])
    client.force_login(User.objects.create_superuser("boss"))
    pages = ["/admin/nucleus_ledger/", "/admin/nucleus_ledger/stream/"]
    pages += [f"{pages[1]}{key}/change/" for key in Stream.objects.values_list("pk", flat=True)]
    assert [client.get(page).status_code for page in pages] == [200] * 4
    report = Entry.objects.verify_integrity()
    assert report.result == "tampered"
    ask("ledger_status", "default")
