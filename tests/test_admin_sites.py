"""The ledger's pages in an admin site other than Django's own: no link leads out of the site."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path

from nucleus_ledger.console import sites
from nucleus_ledger.console.checkpoints import CheckpointAdmin
from nucleus_ledger.console.streams import StreamAdmin
from nucleus_ledger.console.verifications import VerificationAdmin
from nucleus_ledger.models import Checkpoint, Entry, Stream, Verification
from tests.tamper import edit_payload

ops = admin.AdminSite(name="ops")
sites.register(ops)
# A site that lacks the entries, and one with checkpoints alone.
few = admin.AdminSite(name="few")
few.register(Stream, StreamAdmin)
few.register(Verification, VerificationAdmin)
fewer = admin.AdminSite(name="fewer")
fewer.register(Checkpoint, CheckpointAdmin)
urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/", ops.urls),
    path("few/", few.urls),
    path("fewer/", fewer.urls),
]
LINK = re.compile(r'(?:href|action|data-step)="(/[^"]*)"')


@pytest.fixture
def boss(ledger_db: str, settings: Any) -> Client:
    settings.ROOT_URLCONF = "tests.test_admin_sites"
    if ledger_db == "postgres":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    Entry.objects.append_batch(
        {"stream": "proofs", "record_id": f"record-{n}", "payload": {"n": n}} for n in range(7)
    )
    edit_payload(ledger_db, "record-3")
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def crawl(client: Client, start: str) -> dict[str, int]:
    """Load every page of the ledger that links lead to, and return each with its status."""
    seen: dict[str, int] = {}
    waiting = [start]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        response = client.get(address)
        seen[address] = response.status_code
        if response.status_code == 200 and "text/html" in response["Content-Type"]:
            for found in LINK.findall(response.content.decode()):
                found = found.replace("&amp;", "&")
                if "/nucleus_ledger/" in found and "/static/" not in found and "?" not in found:
                    waiting.append(found)
    return seen


def verified(client: Client, site: str) -> list[str]:
    """Verify all streams in a site, and return the addresses it led to."""
    response = client.post(f"/{site}/nucleus_ledger/stream/verify/", follow=True)
    assert response.status_code == 200
    return [address for address, _status in response.redirect_chain]


def test_no_page_of_another_site_leads_out_of_it(boss: Client) -> None:
    (led,) = verified(boss, "ops")
    assert led.startswith("/ops/nucleus_ledger/verification/")
    seen = crawl(boss, "/ops/nucleus_ledger/")
    assert not [address for address in seen if not address.startswith("/ops/")]
    kinds = ("stream/1", "stream/findings", "entry/", "verification/", "checkpoint/")
    streams = f"stream/{Stream.objects.get().pk}/change"
    for kind in (*kinds[1:], streams):
        assert [address for address in seen if f"/{kind}" in address], (kind, seen)
    # Steps and verify take a POST.
    assert {status for address, status in seen.items()} <= {200, 405}


def test_the_receipt_page_stays_in_its_site(boss: Client) -> None:
    key = Entry.objects.all()[0].pk
    page = boss.get(f"/ops/nucleus_ledger/entry/{key}/receipt/").content.decode()
    assert f'href="/ops/nucleus_ledger/entry/{key}/change/"' in page
    assert 'href="/admin/' not in page


@pytest.mark.parametrize("site", ["few", "fewer"])
def test_a_site_with_some_of_the_pages_links_to_those_it_has(boss: Client, site: str) -> None:
    if site == "few":
        verified(boss, site)
    seen = crawl(boss, f"/{site}/nucleus_ledger/")
    assert len(seen) > 1
    assert not [address for address in seen if not address.startswith(f"/{site}/")]
    assert {status for address, status in seen.items()} <= {200, 405}


def test_django_s_own_site_has_all_pages(boss: Client) -> None:
    assert {Stream, Entry, Verification, Checkpoint} <= set(admin.site._registry)
    (led,) = verified(boss, "admin")
    assert led.startswith("/admin/nucleus_ledger/verification/")
