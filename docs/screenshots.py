"""Takes the pictures in docs/images: `python docs/screenshots.py`, with Chromium installed.

It fills a ledger of its own with sample streams, verifies it, breaks two streams behind the
ledger's back, and visits the admin of the sample site as it then is.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
DAY = 86_400_000
BEGIN = 1_760_000_000_000  # 2025-10-09: entries of the year before


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def fill() -> None:
    from nucleus_ledger.models import Entry

    for count, stream, payload in (
        (2400, "payments", lambda n: {"order": 70000 + n, "cents": 37 * n % 9000, "to": "NL"}),
        (800, "consents", lambda n: {"person": f"p-{n % 90}", "for": "mail", "given": n % 7 > 0}),
        (300, "access/doors", lambda n: {"door": f"D{n % 12}", "badge": 4000 + n, "granted": True}),
        (40, "contracts", lambda n: {"contract": f"C-{n}", "parties": ["us", f"client {n}"],
                                     "terms": {"months": 12 + n % 3, "euros": 250 * n}}),
    ):  # fmt: skip
        step = 330 * DAY // count
        Entry.objects.append_batch(
            {
                "stream": stream,
                "record_id": f"{stream.partition('/')[0]}-{n}",
                "timestamp": BEGIN + n * step + (n % 11) * step // 23,
                "payload": payload(n),
                "meta": {"by": "site"},
            }
            for n in range(count)
        )


def tamper() -> None:
    """What somebody does who owns the tables: guards away, a payment and a door made other."""
    from django.db import connection

    from nucleus_ledger import guards

    guards.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE nucleus_ledger_entry SET payload = json_set(payload, '$.cents', 1) "
            "WHERE record_id = 'payments-1600'"
        )
        cursor.execute("DELETE FROM nucleus_ledger_entry WHERE record_id = 'access-120'")
    guards.install(connection)


def visit(url: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        admin = f"{url}/admin/nucleus_ledger"

        def take(name: str, height: int = 900) -> None:
            page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
            page.screenshot(path=IMAGES / f"{name}.png")
            print(f"docs/images/{name}.png")

        page.goto(f"{admin}/stream/")
        page.fill("#id_username", "boss")
        page.fill("#id_password", "secret")
        page.click("input[type=submit]")
        take("streams", 620)
        page.goto(f"{admin}/")
        take("index", 900)
        page.click("a[href$='/findings/']")
        take("findings", 1000)
        page.goto(f"{admin}/stream/")
        page.click("#result_list a:has-text('payments')")
        page.goto(f"{page.url.partition('?')[0]}?around=1600")
        take("stream", 1750)
        page.click(".ledger-findings a")
        take("entry", 1500)
        page.click(".field-stream_link a")
        page.click(".object-tools a")
        page.fill("#searchbar", "2026-05-17..2026-05-18")
        page.click("#changelist-search input[type=submit]")
        take("entries", 620)
        page.goto(f"{admin}/entry/?q=contracts-7")
        page.click("#result_list tbody tr:first-child a")
        page.click(".object-tools a:has-text('Receipt')")
        page.wait_for_selector(".ledger-receipt-said--intact")
        take("receipt", 900)
        page.goto(f"{admin}/verification/")
        take("verifications", 520)
        page.click("#result_list tbody tr:first-child a")
        take("verification", 1000)
        page.route("**/step/", lambda route: route.abort())  # so that the bar can be looked at
        from nucleus_ledger import stepping

        stepping.ENTRIES = 2000
        page.goto(f"{admin}/stream/")
        page.click(".ledger-verify button[value=full]")
        take("verifying", 700)
        page.unroute("**/step/")
        page.click("#ledger-run-cancel button")
        page.set_viewport_size({"width": 390, "height": 800})
        page.emulate_media(color_scheme="dark")
        page.goto(f"{admin}/stream/")
        take("phone", 800)
        browser.close()


def sign_in(folder: str) -> None:
    """Let the sample site sign checkpoints, with a key and a storage of their own."""
    from nucleus_ledger.core import signing
    from nucleus_ledger.evidence import signers

    signer, vkey = signing.generate("nucleus-ledger-sample")
    signers.write(Path(folder) / "key", signer)
    os.environ["CHECKPOINT_KEY_FILES"] = f"{folder}/key"
    os.environ["CHECKPOINT_VKEYS"] = str(vkey)
    os.environ["CHECKPOINT_SINKS"] = "storage:evidence"
    os.environ["EVIDENCE_FOLDER"] = f"{folder}/evidence"


def main() -> None:
    folder = tempfile.mkdtemp(prefix="ledger-pictures-")
    os.environ["DATABASE_URL"] = f"sqlite:///{folder}/ledger.sqlite3"
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    sys.path.insert(0, str(ROOT))
    sign_in(folder)
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    from nucleus_ledger import verification

    IMAGES.mkdir(exist_ok=True)
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("boss", password="secret")
    fill()
    call_command("checkpoint_ledger", init=True)
    # The server starts while all is well: it would not on a broken ledger.
    server = make_server(
        "127.0.0.1", 0, StaticFilesHandler(get_wsgi_application()), handler_class=Quiet
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    verification.verify("default", ["consents", "payments"], origin="command")
    tamper()
    verification.verify("default", ["access/doors", "payments"], origin="admin", user="boss")
    with ThreadPoolExecutor(1) as thread:  # Playwright's event loop and Django do not share one
        thread.submit(visit, f"http://127.0.0.1:{server.server_port}").result()
    server.shutdown()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
