"""The admin in a real browser, under a Content-Security-Policy that allows nothing inline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.servers.basehttp import ThreadedWSGIServer
from django.http import HttpRequest, HttpResponse
from django.test.testcases import LiveServerThread, QuietWSGIRequestHandler
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from nucleus_ledger import stepping
from nucleus_ledger.models import Entry, StreamStatus, Verification
from tests.tamper import edit_payload

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
# What the ledger adds; Django's own header, footer and search form are Django's to mend.
AXE_CONTEXT = {"include": [["#content"]], "exclude": [["#changelist-search"]]}
T = TypeVar("T")
Run = Callable[[Callable[[Page], T]], T]


def strict_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware: scripts and styles only from this host, and none inline."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return response

    return middleware


def _restartable(thread: LiveServerThread, **_: Any) -> Any:
    """A server whose port can be taken again before its last connection is forgotten."""
    address = (thread.host, thread.port)
    return ThreadedWSGIServer(address, QuietWSGIRequestHandler, allow_reuse_address=True)


@pytest.fixture
def server(
    ledger_db_committed: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LiveServer]:
    monkeypatch.setattr(LiveServerThread, "_create_server", _restartable)
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "tests.test_browser.strict_policy",
    ]
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
            page: Page = thread.submit(lambda: browser.new_context().new_page()).result()
            yield lambda step: thread.submit(step, page).result()
            thread.submit(browser.close).result()
        finally:
            thread.submit(playwright.stop).result()


@pytest.fixture
def boss(ledger_db_committed: str) -> User:
    """Somebody who may do everything, and three streams of twenty entries."""
    for stream in ("assets", "payments", "proofs"):
        Entry.objects.append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"cents": 100 * n}}
            for n in range(20)
        )
    return User.objects.create_superuser("boss", password="secret")


@pytest.fixture
def long(boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that are long for their steps."""
    monkeypatch.setattr(stepping, "ENTRIES", 8)


ENGLISH = {
    "never": "Never verified",
    "intact": "Intact",
    "tampered": "Tampered",
    "verify": "Verify all",
    "read": "entries read",
    "now": "Read just now",
}
DUTCH = {
    "never": "Nooit geverifieerd",
    "intact": "Ongeschonden",
    "tampered": "Gemanipuleerd",
    "verify": "Alles verifiëren",
    "read": "regels gelezen",
    "now": "Zojuist gelezen",
}


@pytest.mark.parametrize(
    ("words", "context"),
    [
        (ENGLISH, {"locale": "en-GB"}),
        (
            DUTCH,
            {
                "locale": "nl-NL",
                "color_scheme": "dark",
                "viewport": {"width": 390, "height": 800},
            },
        ),
    ],
    ids=["english", "dutch, dark, on a phone"],
)
def test_what_a_person_does(
    server: LiveServer,
    ledger_db_committed: str,
    run: Run[Any],
    long: None,
    words: dict[str, str],
    context: dict[str, Any],
) -> None:
    """Log in, look, verify, watch, read the finding, open the entry: expected and actual."""
    trouble: list[str] = []
    edit_payload(ledger_db_committed, "payments-1", '{"cents": 1}')

    def walk(first: Page) -> None:
        page = first.context.browser.new_context(**context).new_page()  # type: ignore[union-attr]
        _watch(page, trouble)
        _log_in(page, server.url)
        assert _statuses(page) == [words["never"]] * 3
        _look_around(page, trouble)
        page.route("**/step/", lambda route: route.abort())
        page.click(f"button:has-text('{words['verify']}')")
        expect(page.locator("#ledger-run-text")).to_contain_text(words["read"])
        bar = page.locator("#ledger-run-bar")
        expect(bar).to_have_js_property("max", 60)
        expect(bar).to_have_js_property("value", 8)
        _look_around(page, trouble)
        page.unroute("**/step/")
        expect(page.locator(".messagelist .error").first).to_contain_text(
            words["tampered"], timeout=30_000
        )
        _look_around(page, trouble)
        row = page.locator(".ledger-findings tbody tr").first
        expect(row.locator("td").nth(2)).to_contain_text('"cents": 100')
        expect(row.locator("td").nth(3)).to_contain_text('"cents": 1')
        expect(page.locator(".ledger-differences")).to_contain_text("payload.cents: 100 → 1")
        row.locator("a").click()
        expect(page.locator("h2").first).to_have_text("payments #1")
        _look_around(page, trouble)
        _read_the_entry(page, words)
        page.click(".field-stream_link a")
        expect(page.locator(".field-status_word .ledger-status")).to_contain_text(words["tampered"])
        _look_around(page, trouble)
        page.goto(f"{server.url}/admin/nucleus_ledger/")
        _look_around(page, trouble)
        page.click(".ledger-glance a[href$='/findings/']")
        expect(page.locator("#content table")).to_contain_text("field_mismatch")
        _look_around(page, trouble)
        page.go_back()
        page.click(".ledger-glance a[href$='integrity=tampered']")
        assert _statuses(page, 1) == [words["tampered"]]
        page.goto(f"{server.url}/admin/nucleus_ledger/stream/")
        assert _statuses(page) == [words["intact"], words["tampered"], words["intact"]]

    run(walk)
    assert trouble == []


def _look_around(page: Page, trouble: list[str]) -> None:
    """No page is wider than its window, and none is hard to use without eyes or a mouse."""
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    if wide:
        trouble.append(f"{page.url} is wider than the window")
    before = len(trouble)
    violations = Axe().run(page, context=AXE_CONTEXT).response["violations"]
    del trouble[before:]  # it tries styles that the policy forbids
    for found in violations:
        if found["impact"] in ("serious", "critical"):
            nodes = [node["html"][:200] for node in found["nodes"]]
            trouble.append(f"{page.url}: {found['id']}: {nodes}")


def _read_the_entry(page: Page, words: dict[str, str]) -> None:
    expect(page.locator(".field-payload_text .ledger-tree")).to_contain_text('"cents": 1')
    page.click(".field-payload_text summary")  # folds without a script
    expect(page.locator(".field-payload_text .ledger-value")).to_be_hidden()
    expect(page.locator(".field-checked_now")).to_contain_text("field_mismatch")
    expect(page.locator(".ledger-block--chosen")).to_contain_text("field_mismatch")
    expect(page.locator(".field-canonical_text")).to_contain_text('"cents":100')
    page.click("a[rel=next]")
    expect(page.locator("h2").first).to_have_text("payments #2")
    expect(page.locator(".field-checked_now")).to_contain_text(words["now"])
    page.click("a[rel=prev]")
    expect(page.locator("h2").first).to_have_text("payments #1")


def _statuses(page: Page, count: int = 3) -> list[str]:
    expect(page.locator("#result_list tbody tr")).to_have_count(count)
    found = page.locator("#result_list .field-status_word").all_inner_texts()
    return [text.split(" ", 1)[1] for text in found]


# A verification that does not go straight to its end


def held(page: Page, url: str) -> None:
    """Start a verification, and hold it back after its first step."""
    _log_in(page, url)
    page.route("**/step/", lambda route: route.abort())
    page.click(".ledger-verify button[value=full]")
    expect(page.locator("#ledger-run-said")).not_to_be_empty()


def released(page: Page) -> None:
    page.unroute("**/step/")
    expect(page.locator(".messagelist .success")).to_be_visible(timeout=30_000)
    expect(page.locator(".field-outcome .ledger-status")).to_contain_text("Intact")


def test_cancel(server: LiveServer, run: Run[Any], long: None) -> None:
    run(lambda page: held(page, server.url))
    run(lambda page: page.click("#ledger-run-cancel button"))
    outcome = run(lambda page: page.locator(".field-outcome .readonly").inner_text())
    assert "Not known" in outcome
    assert not StreamStatus.objects.exists()


def test_reload_and_two_tabs(server: LiveServer, run: Run[Any], long: None) -> None:
    def both(page: Page) -> None:
        held(page, server.url)
        page.reload()
        expect(page.locator("#ledger-run-text")).to_contain_text("8 of 60 entries read")
        other = page.context.new_page()
        other.goto(page.url)
        page.unroute("**/step/")
        for tab in (page, other):  # each shows the end, whoever of them made the last step
            expect(tab.locator(".field-outcome .ledger-status")).to_contain_text(
                "Intact", timeout=30_000
            )

    run(both)
    done = Verification.objects.get()
    assert (done.result, done.entries, done.streams) == ("intact", 60, 3)


def test_the_session_ends_in_the_middle(server: LiveServer, run: Run[Any], long: None) -> None:
    run(lambda page: held(page, server.url))
    Session.objects.all().delete()
    run(lambda page: page.unroute("**/step/"))
    told = "You are no longer logged in"
    run(lambda page: expect(page.locator("#ledger-run-said")).to_contain_text(told, timeout=30_000))
    assert Verification.objects.get().result == "running"
    assert not StreamStatus.objects.filter(result="intact").exists()

    def again(page: Page) -> None:
        page.reload()
        page.fill("#id_username", "boss")
        page.fill("#id_password", "secret")
        page.click("input[type=submit]")
        released(page)

    run(again)


def test_the_server_is_restarted_in_the_middle(
    server: LiveServer, run: Run[Any], long: None
) -> None:
    run(lambda page: held(page, server.url))
    address = server.url.removeprefix("http://")
    server.stop()
    run(lambda page: page.unroute("**/step/"))
    told = "The site does not answer"
    run(lambda page: expect(page.locator("#ledger-run-said")).to_contain_text(told))
    assert Verification.objects.get().result == "running"
    second = LiveServer(address)
    try:
        run(released)
    finally:
        second.stop()


def test_a_verification_without_scripts(server: LiveServer, run: Run[Any], long: None) -> None:
    def press(first: Page) -> str:
        context = first.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
        page = context.new_page()
        _log_in(page, server.url)
        with page.expect_navigation():
            page.click(".ledger-verify button[value=full]")
        for _ in range(20):
            if not page.locator("#ledger-run-step button").is_visible():
                break
            # The next page is there in full before it is looked at: a click alone does not wait.
            with page.expect_navigation():
                page.click("#ledger-run-step button")
        return page.locator(".field-outcome .readonly").inner_text()

    assert "Intact" in run(press)


def _watch(page: Page, trouble: list[str]) -> None:
    """Collect what goes wrong in the page: scripts, the policy, missing or failing addresses."""

    def heard(message: Any) -> None:
        # The browser asks for an icon by itself, and no page names one; a step may be held back.
        url = message.location["url"]
        held_back = url.endswith("/step/") and "ERR_FAILED" in message.text
        if message.type == "error" and not url.endswith("/favicon.ico") and not held_back:
            trouble.append(f"{message.text} {message.location['url']}")

    page.on("console", heard)
    page.on("pageerror", lambda error: trouble.append(str(error)))


def _log_in(page: Page, url: str, streams: int = 3) -> None:
    page.goto(f"{url}/admin/nucleus_ledger/stream/")
    page.fill("#id_username", "boss")
    page.fill("#id_password", "secret")
    page.click("input[type=submit]")
    expect(page.locator("#result_list tbody tr")).to_have_count(streams)
