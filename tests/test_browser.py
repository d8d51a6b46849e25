"""The admin in a real browser, under a Content-Security-Policy that allows nothing inline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from nucleus_ledger import guards
from nucleus_ledger.models import Entry
from tests.tamper import sql

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
T = TypeVar("T")
Run = Callable[[Callable[[Page], T]], T]


def strict_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware: scripts and styles only from this host, and none inline."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return response

    return middleware


@pytest.fixture
def server(ledger_db_committed: str, settings: Any) -> Iterator[LiveServer]:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_browser.strict_policy"]
    if ledger_db_committed == "postgres":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    live = LiveServer("127.0.0.1")
    yield live
    live.stop()


@pytest.fixture
def run(server: LiveServer) -> Iterator[Run[Any]]:
    """Runs a function with the page, in a thread of its own.

    Playwright keeps an event loop in its thread, where Django refuses to use a database.
    """
    chromium = shutil.which("chromium")
    assert chromium, "this test needs Chromium: apt-get install chromium"
    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        try:
            browser: Browser = thread.submit(
                lambda: playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            ).result()
            page: Page = thread.submit(browser.new_page).result()
            yield lambda step: thread.submit(step, page).result()
            thread.submit(browser.close).result()
        finally:
            thread.submit(playwright.stop).result()


def test_log_in_verify_tamper_verify_and_follow_the_chain(
    server: LiveServer, ledger_db_committed: str, run: Run[Any]
) -> None:
    User.objects.create_superuser("boss", password="secret")
    for stream in ("assets", "payments", "proofs"):
        Entry.objects.append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"cents": 100 * n}}
            for n in range(4)
        )
    trouble: list[str] = []
    run(lambda page: _watch(page, trouble))

    run(lambda page: _log_in(page, server.url))
    statuses = run(lambda page: page.locator("#result_list .ledger-status").all_inner_texts())
    assert [text.split(" ", 1)[1] for text in statuses] == ["Never verified"] * 3

    run(_verify_all)
    assert "Intact: nothing found. Streams: 3, entries: 12." in run(_messages)
    statuses = run(lambda page: page.locator("#result_list .ledger-status").all_inner_texts())
    assert [text.split(" ", 1)[1] for text in statuses] == ["Intact"] * 3

    guards.remove(connections[ledger_db_committed])
    sql(
        ledger_db_committed,
        "UPDATE nucleus_ledger_entry SET payload = %s WHERE record_id = 'payments-1'",
        ['{"cents": 1}'],
    )
    guards.install(connections[ledger_db_committed])
    run(_verify_all)
    assert "Stream payments: field_mismatch (payload) at #1" in run(_messages)
    statuses = run(lambda page: page.locator("#result_list .ledger-status").all_inner_texts())
    assert [text.split(" ", 1)[1] for text in statuses] == ["Intact", "Tampered", "Intact"]

    run(_read_the_finding)
    assert trouble == []


def _watch(page: Page, trouble: list[str]) -> None:
    """Collect what goes wrong in the page: scripts, the policy, missing or failing addresses."""

    def heard(message: Any) -> None:
        # The browser asks for an icon by itself, and no page names one.
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            trouble.append(f"{message.text} {message.location['url']}")

    page.on("console", heard)
    page.on("pageerror", lambda error: trouble.append(str(error)))


def _log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/nucleus_ledger/stream/")
    page.fill("#id_username", "boss")
    page.fill("#id_password", "secret")
    page.click("input[type=submit]")
    expect(page.locator("#result_list tbody tr")).to_have_count(3)


def _verify_all(page: Page) -> None:
    page.check("#action-toggle")
    page.select_option("select[name=action]", "verify_selected")
    page.click("button[name=index]")
    expect(page.locator(".messagelist")).to_be_visible()


def _messages(page: Page) -> str:
    return page.locator(".messagelist").inner_text()


def _read_the_finding(page: Page) -> None:
    """From the message to the run, to the entry, along the chain, and back to the stream."""
    page.click(".messagelist a")
    row = page.locator(".ledger-findings tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator("td").nth(2)).to_contain_text('"cents": 100')
    expect(row.locator("td").nth(3)).to_contain_text('"cents": 1')
    row.locator("a").click()
    expect(page.locator("h2")).to_have_text("payments #1")
    expect(page.locator(".field-payload_text .ledger-tree")).to_contain_text('"cents": 1')
    page.click(".field-payload_text summary")  # folds without a script
    expect(page.locator(".field-payload_text .ledger-value")).to_be_hidden()
    expect(page.locator(".field-checked_now")).to_contain_text("field_mismatch")
    expect(page.locator(".field-canonical_text")).to_contain_text('"cents":100')
    page.click("a[rel=next]")
    expect(page.locator("h2")).to_have_text("payments #2")
    expect(page.locator(".field-checked_now")).to_contain_text("Read just now")
    page.click("a[rel=prev]")
    expect(page.locator("h2")).to_have_text("payments #1")
    page.click(".field-stream_link a")
    expect(page.locator(".field-status_word .ledger-status")).to_contain_text("Tampered")
    page.click(".object-tools a")
    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    page.click(".breadcrumbs a[href='/admin/nucleus_ledger/']")
    expect(page.locator(".ledger-glance")).to_contain_text("What to do now")
    page.click(".ledger-glance a[href$='integrity=tampered']")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("#result_list .ledger-status")).to_contain_text("Tampered")
