"""The console in a browser, under Django's own admin and three themes of it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.processes import ROOT, Site
from tests.test_browser import FLAGS

THEMES = ("stock", "unfold", "jazzmin", "grappelli")

_SETUP = """
from django.contrib.auth.models import User
from django.db import connection
from nucleus_ledger import guards, verification
User.objects.create_superuser("boss", password="secret")
for stream in ("payments", "receipts"):
    Entry.objects.append_batch(
        {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"n": n}} for n in range(200))
guards.remove(connection)
with connection.cursor() as cursor:
    cursor.execute("UPDATE nucleus_ledger_entry SET payload = '{}' WHERE record_id = 'receipts-3'")
guards.install(connection)
"""
BLACK = "rgb(0, 0, 0)"


@pytest.fixture(params=THEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a site under a theme, with one stream that is whole and one that is not."""
    environment = {"DJANGO_SETTINGS_MODULE": "tests.themed_site", "THEME": request.param}
    site = Site(f"sqlite:///{tmp_path / 'themed.sqlite3'}", environment)
    assert site.manage("migrate", "--verbosity", "0").returncode == 0
    site.python(_SETUP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "server.log", "wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "manage.py"),
                "runserver",
                "--noreload",
                f"127.0.0.1:{port}",
            ],
            env={**site.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}/admin/"
    try:
        _wait_for(address, server, tmp_path / "server.log")
        yield address
    finally:
        server.kill()
        server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    pytest.fail(f"the site does not answer: {log.read_text()}")


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    assert chromium, "this test needs Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)  # other tests want the processor too
        page.goto(url)
        page.fill("[name=username]", "boss")
        page.fill("[name=password]", "secret")
        page.press("[name=password]", "Enter")
        page.wait_for_load_state()
        yield page
        browser.close()
        expect.set_options()


def test_what_the_ledger_adds_works_under_a_theme(url: str, page: Page) -> None:
    page.goto(f"{url}nucleus_ledger/stream/")
    page.click(".ledger-verify button[value=full]")
    expect(page.get_by_text("Tampered. Findings: 1.").first).to_be_visible(timeout=30_000)

    page.goto(f"{url}nucleus_ledger/stream/")
    page.get_by_role("link", name="payments", exact=True).first.click()
    page.click(".ledger-verify button[value=full]")
    expect(page.get_by_text("Intact: nothing found.").first).to_be_visible(timeout=30_000)

    page.goto(f"{url}nucleus_ledger/")
    expect(page.get_by_text("The ledger at a glance")).to_be_visible()
    page.click(".ledger-totals a[href$='integrity=tampered']")
    page.get_by_role("link", name="receipts", exact=True).first.click()
    _look_at_the_chart(page)
    page.click(".ledger-findings a")
    expect(page.get_by_text("field_mismatch").first).to_be_visible()
    page.click("a[rel=next]")
    expect(
        page.locator("#content, .grp-module, main").get_by_text("receipts-4").first
    ).to_be_visible()


def _look_at_the_chart(page: Page) -> None:
    """No part of it is black, which is what a colour that no theme defines comes to."""
    expect(page.locator(".ledger-chart svg")).to_be_visible()
    filled = page.eval_on_selector_all(
        ".ledger-chart svg :is(path, rect, polygon, polyline, line, circle)",
        "all => all.map(each => [each.getAttribute('class'), getComputedStyle(each).fill])",
    )
    assert filled
    assert [name for name, fill in filled if fill == BLACK] == []
    drawn = page.eval_on_selector(".ledger-line", "line => getComputedStyle(line).stroke")
    assert drawn != "none"
    assert drawn != BLACK
