"""The receipt page: this browser's verifier, written from the specification in another language,
agrees with ours on every receipt and every change of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission, User
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from nucleus_ledger import checkpoints
from nucleus_ledger.core import note, receipt, signing
from nucleus_ledger.models import Entry
from tests.entryvectors import VECTORS, document, receipt_of
from tests.evidence.signing_site import ORIGIN, SigningSite
from tests.evidence.test_receipts import cosigned
from tests.test_browser import AXE_CONTEXT, Run, _log_in, boss, run, server  # noqa: F401

# Each byte of a receipt changed in two ways, and every beginning of it: which of them are accepted.
ACCEPTED = """async ([text, keys]) => {
  const data = new TextEncoder().encode(text);
  const accepted = [];
  const tried = async (bytes, name) => {
    try {
      await nucleusLedgerReceipt.check(bytes, keys, null);
      accepted.push(name);
    } catch {}
  };
  for (let place = 0; place < data.length; place += 1) {
    for (const bit of [1, 32]) {
      const changed = data.slice();
      changed[place] ^= bit;
      await tried(changed, `${place}^${bit}`);
    }
    await tried(data.slice(0, place), `${place} bytes`);
  }
  await tried(data, "whole");
  return accepted;
}"""
REGISTERED = """async ([text, keys]) => {
  const found = await nucleusLedgerReceipt.check(new TextEncoder().encode(text), keys, null);
  return [found.registered.after, found.registered.by, found.lag];
}"""
WHY_NOT = """async ([text, keys, ledger]) => {
  try {
    await nucleusLedgerReceipt.check(new TextEncoder().encode(text), keys, ledger);
    return "";
  } catch (error) {
    return error.message;
  }
}"""


LONG_AGO = 1_600_000_000_000


@pytest.fixture
def site(boss: User, ledger_db_committed: str, tmp_path: Path, settings: Any) -> SigningSite:  # noqa: F811
    """A signing site on the database that the admin shows."""
    site = SigningSite.build("default", tmp_path, settings)
    if settings.DATABASE_ROUTERS:
        site.alias = "postgres"
    site.make(init=True)
    entries = Entry.objects.using(site.alias)
    for _checkpoint in range(2):
        entries.append("payments", {"cents": 5})
        entries.append("slow", {}, timestamp=LONG_AGO)
        site.make()
    return site


def test_the_browser_checks_what_the_server_claims(
    server: LiveServer, boss: User, site: SigningSite, run: Run[Any]  # noqa: F811
) -> None:  # fmt: skip
    entry = Entry.objects.using(site.alias).get(record_id="payments-7")
    texts = [
        checkpoints.receipt(each)
        for each in Entry.objects.using(site.alias).select_related("stream")
    ]
    late = Entry.objects.using(site.alias).get(stream__name="slow", sequence=1)
    stranger = signing.generate(ORIGIN)[1]
    small = note.VerifierKey(ORIGIN, note.ED25519, bytes([1]) + bytes(31))

    def step(page: Page) -> None:
        _log_in(page, server.url, streams=5)
        page.goto(f"{server.url}/admin/nucleus_ledger/entry/{entry.pk}/change/")
        page.get_by_role("link", name="Receipt").click()
        said = page.locator("#ledger-receipt-said")
        expect(said).to_contain_text("It holds: entry 7 of stream payments is under checkpoint 3")
        violations = Axe().run(page, context=AXE_CONTEXT).response["violations"]
        assert [each["id"] for each in violations] == []
        expect(said).to_contain_text("the receipt does not tell after when")
        text = page.locator("#ledger-receipt-text").input_value()
        assert text == checkpoints_text
        page.locator("#ledger-receipt-text").fill(text.replace("cents", "euros"))
        page.get_by_role("button", name="Check again").click()
        expect(said).to_contain_text("It does not hold: the entry in the stream")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_text("utf-8") == text
        keys = [str(site.vkey)]
        assert page.evaluate(ACCEPTED, [text, keys]) == ["whole"]
        bounds = []
        for other in texts:
            assert page.evaluate(WHY_NOT, [other, keys, "persistent-ledger"]) == ""
            proved = receipt.check(receipt.parse(other), [site.vkey])
            after, by, lag = page.evaluate(REGISTERED, [other, keys])
            assert by == proved.manifest.created_at
            assert after == (proved.before.created_at if proved.before else None)
            (*notices,) = proved.notices(0)
            assert lag == (None if after is None else sum(each.greatest_lag for each in notices))
            bounds.append((after is not None, bool(lag)))
        assert set(bounds) == {(False, False), (True, False), (True, True)}
        page.goto(f"{server.url}/admin/nucleus_ledger/entry/{late.pk}/receipt/")
        expect(said).to_contain_text("It was registered between 20")
        expect(said).to_contain_text("It was registered late: its timestamp is")
        expect(said).to_have_class(re.compile("said--intact"))
        text = page.locator("#ledger-receipt-text").input_value()
        assert page.evaluate(ACCEPTED, [text, keys]) == ["whole"]
        for key, why in (
            (str(stranger), "no signature is of a key that was given"),
            (str(small), "the key is of small order"),
            ("nonsense", "not a vkey"),
        ):
            assert why in page.evaluate(WHY_NOT, [text, [key], None])
        assert "is of ledger" in page.evaluate(WHY_NOT, [text, keys, "other"])
        for alone, why in ((True, "no signature is of a key that was given"), (False, "")):
            other, witness = cosigned(site, receipt.parse(text), alone=alone)
            assert page.evaluate(WHY_NOT, [other, [*keys, witness], None]) == why

    checkpoints_text = checkpoints.receipt(entry)
    run(step)


def test_the_browser_judges_entries_as_we_do(server: LiveServer, run: Run[Any]) -> None:  # noqa: F811
    """The same vectors go through the walk and the receipts in Python, in test_entryshape.py."""
    signer, vkey = signing.generate(ORIGIN)

    def step(page: Page) -> None:
        page.goto(f"{server.url}/admin/login/")
        page.add_script_tag(url=f"{server.url}/static/nucleus_ledger/receipt.js")
        judged = {
            name: page.evaluate(WHY_NOT, [receipt_of(document(changes), signer), [str(vkey)], None])
            for name, (changes, _good) in VECTORS.items()
        }
        assert {name: not why for name, why in judged.items()} == {
            name: good for name, (_changes, good) in VECTORS.items()
        }

    run(step)


def test_who_may_see_a_receipt(site: SigningSite, client: Client) -> None:
    entry = Entry.objects.using(site.alias).get(record_id="payments-7")
    address = f"/admin/nucleus_ledger/entry/{entry.pk}/receipt/"
    user = User.objects.create_user("u", password="secret", is_staff=True)
    client.force_login(user)
    for codename, status in ((None, 403), ("view_entry", 403), ("view_payload", 200)):
        if codename:
            user.user_permissions.add(Permission.objects.get(codename=codename))
        for part in ("", "file/"):
            assert client.get(address + part).status_code == status
    unknown = address.replace(entry.pk, "0" * 64)
    assert client.get(unknown).status_code == 404
    later = Entry.objects.using(site.alias).append("payments", {"later": True})
    address = address.replace(entry.pk, later.pk)
    assert "the next checkpoint will have it" in client.get(address).content.decode()
    assert client.get(f"{address}file/").status_code == 404
