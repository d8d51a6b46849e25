"""When entries were registered, on the pages of the admin."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from nucleus_ledger import stepping
from nucleus_ledger.core.manifest import parse_manifest
from nucleus_ledger.evidence import stored
from nucleus_ledger.models import Checkpoint, Entry, Stream, Verification
from tests.evidence.signing_site import SigningSite

LONG_AGO = 1_600_000_000_000


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any, client: Client) -> SigningSite:
    """Manifest 0 covers payments 0, manifest 1 payments 1 and slow 0; slow 1 is under none."""
    if ledger_db == "postgres":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append("payments")
    site.make(init=True)
    append("payments")
    append("slow", timestamp=LONG_AGO)
    site.make()
    append("slow", timestamp=LONG_AGO)
    client.force_login(User.objects.create_superuser("boss"))
    return site


def append(stream: str, **fields: Any) -> None:
    Entry.objects.append(stream, {"n": 1}, **fields)


def registered(client: Client, stream: str, sequence: int) -> str:
    """Return what an entry's page says of its registration, as words."""
    entry = Entry.objects.get(stream__name=stream, sequence=sequence)
    page = client.get(f"/admin/nucleus_ledger/entry/{entry.pk}/change/").content.decode()
    (field,) = re.findall(r'field-registered">(.*?)<div class="form-row', page, flags=re.S)
    return " ".join(unescape(re.sub("<[^>]*>", " ", field)).split())


def made(site: SigningSite) -> list[str]:
    size = stored.size(site.alias)
    return [parse_manifest(text).created_at for text, _ in stored.documents(site.alias, 0, size)]


def test_an_entrys_page_says_when_it_was_registered(site: SigningSite, client: Client) -> None:
    first, second = made(site)
    said = registered(client, "payments", 0)
    assert f"By {first}, by the signer's clock: checkpoint 1 covers it." in said
    assert "late" not in said
    said = registered(client, "payments", 1)
    assert f"Between {first} and {second}, by the signer's clock: checkpoint 2 is the first" in said
    assert "late" not in said
    said = registered(client, "slow", 0)
    assert f"Between {first} and {second}" in said
    assert "It was registered late: its timestamp is" in said
    assert "This is no sign of tampering." in said
    said = registered(client, "slow", 1)
    assert f"After {second}, by the signer's clock: checkpoint 2 does not cover it" in said
    assert "It was registered late" in said


def test_without_a_checkpoint_only_the_timestamp_speaks(
    ledger_db: str, settings: Any, client: Client
) -> None:
    if ledger_db == "postgres":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    append("payments")
    client.force_login(User.objects.create_superuser("boss"))
    assert "There is no checkpoint: only its own timestamp" in registered(client, "payments", 0)


@pytest.mark.parametrize("text", ["", "{}", "null", "\u202e"])
def test_copies_that_cannot_be_read_break_no_page(
    site: SigningSite, client: Client, text: str
) -> None:
    Checkpoint.objects.using(site.alias).update(manifest=text)
    said = registered(client, "payments", 1)
    assert "The copies of the checkpoints in the database cannot be read." in said


def test_after_a_restore_the_manifest_before_may_cover_the_entry(
    site: SigningSite, client: Client
) -> None:
    """What a restore made of the copies is not taken for a bound."""
    stored.heads(site.alias).filter(stream="payments", number=1).update(length=1)
    stored.heads(site.alias).filter(stream="payments", number=0).update(length=2, until=2)
    said = registered(client, "payments", 1)
    assert "Between" not in said


def drive(site: SigningSite) -> Verification:
    run = stepping.begin(site.alias)
    while not (progress := stepping.step(site.alias, run.pk, 100)).finished:
        pass
    return progress.run


def page_of(client: Client, model: str, key: Any) -> str:
    response = client.get(f"/admin/nucleus_ledger/{model}/{key}/change/")
    assert response.status_code == 200
    return unescape(response.content.decode())


def test_a_run_and_a_stream_show_notices_and_stay_green(site: SigningSite, client: Client) -> None:
    run = drive(site)
    assert run.result == "intact"
    second = made(site)[1]
    words = f"slow: entries from #1 on (1) were registered after {second} and claim times up to"
    stream = Stream.objects.get(name="slow").pk
    for page in (
        page_of(client, "verification", run.pk),
        page_of(client, "stream", stream),
    ):
        assert words in page
        assert "This is no sign of tampering." in page
        assert "ledger-badge--tampered" not in page
    other = page_of(client, "stream", Stream.objects.get(name="payments").pk)
    assert "were registered" not in other
    with translation.override("nl"):
        assert translation.gettext("notices") == "opmerkingen"


def test_notices_of_several_runs_are_shown_once(site: SigningSite, client: Client) -> None:
    drive(site)
    append("slow", timestamp=LONG_AGO)
    drive(site)
    page = page_of(client, "stream", Stream.objects.get(name="slow").pk)
    assert page.count("were registered after") == 1
    assert "slow: entries from #1 on (2) were registered" in page


@pytest.mark.parametrize(
    "notices",
    [
        None, 7, "x", [None], [[]], [{"kind": "registered_late"}],
        [{"kind": "registered_late", "stream": "slow", "first_sequence": "x", "count": 1,
          "greatest_lag_ms": 1}],
        [{"kind": "registered_late", "stream": "slow", "first_sequence": 1, "count": 1,
          "greatest_lag_ms": -1, "registered_after": {"<b>": 1}, "registered_by": 3}],
    ],
    ids=str,
)  # fmt: skip
def test_whatever_stands_in_the_table_breaks_no_page(
    site: SigningSite, client: Client, notices: Any
) -> None:
    run = drive(site)
    Verification._base_manager.using(site.alias).filter(pk=run.pk).update(notices=notices or [])
    page_of(client, "verification", run.pk)
    page_of(client, "stream", Stream.objects.get(name="slow").pk)
