"""A person's way through the admin, in a real browser."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from nucleus_ledger import guards
from nucleus_ledger.models import Entry
from tests.tamper import sql

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


def in_browser(steps: Callable[[Any], None], width: int, folder: Path) -> None:
    """Run steps with a page, in a thread: Playwright's loop would keep Django from the database."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "the browser tests need Chromium: apt-get install chromium"
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                page = browser.new_page(viewport={"width": width, "height": 900})
                errors: list[str] = []
                page.on("pageerror", lambda error: errors.append(str(error)))
                try:
                    steps(page)
                finally:
                    page.screenshot(path=str(folder / "last.png"), full_page=True)
                    browser.close()
                assert errors == []
        except BaseException as exc:
            trouble.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]


def follow(page: Any, selector: str) -> None:
    """Click what leads to another page, and wait for that page."""
    with page.expect_navigation():
        page.click(selector)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_verify_find_and_look(live_server: Any, tmp_path: Path, width: int) -> None:
    User.objects.create_superuser("owner", password="secret")
    Entry.objects.append_batch(
        [
            {"stream": name, "record_id": f"r{n}", "payload": {"n": n, "html": "<b>x</b>"}}
            for name in ("payments", "proofs", "assets")
            for n in range(3)
        ]
    )

    def tamper() -> None:
        guards.remove(connections["default"])
        sql("default", "UPDATE nucleus_ledger_entry SET payload = '{\"n\":99}' "
                       "WHERE record_id = 'r1' AND serialized LIKE '%%payments%%'", [])  # fmt: skip
        guards.install(connections["default"])

    def in_thread(work: Callable[[], None]) -> None:
        def done() -> None:
            work()
            connections.close_all()

        thread = threading.Thread(target=done)
        thread.start()
        thread.join()

    def steps(page: Any) -> None:
        page.goto(f"{live_server.url}/admin/nucleus_ledger/stream/")
        page.fill("#id_username", "owner")
        page.fill("#id_password", "secret")
        follow(page, "[type=submit]")
        assert page.locator(".ledger-status--never").count() == 3

        def verify_all() -> None:
            page.check("#action-toggle")
            page.select_option("select[name=action]", "verify_selected")
            follow(page, "button[name=index]")

        verify_all()
        assert "Intact: 9 entries in 3 streams read." in page.inner_text(".messagelist")
        assert page.locator(".ledger-status--intact").count() == 3
        in_thread(tamper)
        verify_all()
        assert "Tampering found: 1 findings in 3 streams." in page.inner_text(".messagelist")
        assert page.locator(".ledger-status--tampered").count() == 1
        follow(page, ".messagelist a")
        finding = page.inner_text(".ledger-findings")
        assert "field_mismatch" in finding
        assert '"n": 99' in finding
        page.goto(f"{live_server.url}/admin/nucleus_ledger/entry/?q=r0")
        follow(page, "#result_list tbody tr:first-child a")
        assert "<b>x</b>" in page.inner_text(".field-payload_text")
        follow(page, "text=Next entry")
        assert page.inner_text(".field-sequence").endswith("1")
        follow(page, "text=Previous entry")
        assert page.inner_text(".field-sequence").endswith("0")

    in_browser(steps, width, tmp_path)
    assert (tmp_path / "last.png").stat().st_size > 10_000
