"""The admin through Django's client, with the ledger on either database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nucleus_ledger import guards
from nucleus_ledger.admin import visible
from nucleus_ledger.models import Entry, Stream, StreamStatus, Verification
from tests.tamper import sql

STREAMS = "admin:nucleus_ledger_stream_changelist"
ENTRIES = "admin:nucleus_ledger_entry_changelist"
HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "marks": "abc\u202edef\u2066\u200b",
    "control": "\x1b[31m\x7f\x85",
}


class Router:
    """Sends the ledger, and nothing else, to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self.alias if model._meta.app_label == "nucleus_ledger" else None

    db_for_write = db_for_read


@pytest.fixture
def alias_routed(ledger_db: str, settings: Any) -> str:
    settings.DATABASE_ROUTERS = [Router(ledger_db)]
    return ledger_db


@pytest.fixture
def client(alias_routed: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    return client


def viewer(*permissions: str) -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    names = ["view_stream", "view_entry", "view_verification", *permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def fill(streams: int = 2, entries: int = 3) -> None:
    Entry.objects.append_batch(
        [
            {"stream": f"s{number}", "record_id": f"r{index}", "payload": {"n": index}}
            for number in range(streams)
            for index in range(entries)
        ]
    )


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def verify(client: Client, *streams: Stream) -> str:
    data = {"action": "verify_selected", "_selected_action": [s.pk for s in streams]}
    return text_of(client.post(reverse(STREAMS), data, follow=True))


def test_status_comes_from_verification_and_never_from_the_head_row(client: Client) -> None:
    fill()
    assert text_of(client.get(reverse(STREAMS))).count("○ Never verified") == 2
    one, _ = Stream.objects.order_by("name")
    page = verify(client, one)
    assert "Intact: 3 entries in 1 streams read." in page
    assert page.count("✔ Intact") == 1
    assert page.count("○ Never verified") == 1
    run = Verification.objects.get()
    assert (run.origin, run.user, run.mode) == ("admin", "owner", "full")
    one.append({"n": 9})
    assert '<td class="field-since">1</td>' in text_of(client.get(reverse(STREAMS)))
    StreamStatus.objects.update(verified_at=datetime.now(UTC) - timedelta(days=8))
    assert "◷ Stale" in text_of(client.get(reverse(STREAMS)))


def test_a_finding_is_shown_with_both_values(client: Client, alias_routed: str) -> None:
    fill()
    guards.remove(connections[alias_routed])
    sql(alias_routed, "UPDATE nucleus_ledger_entry SET record_id = '<b>x</b>' WHERE sequence = 1")
    streams = list(Stream.objects.order_by("name"))
    page = verify(client, *streams)
    assert "Tampering found: 2 findings in 2 streams." in page
    assert page.count("✖ Tampered") == 2
    url = re.search(r'href="(/admin/nucleus_ledger/verification/\d+/change/)"', page)
    assert url is not None
    detail = text_of(client.get(url[1]))
    assert detail.count("field_mismatch") == 2
    assert "&lt;b&gt;x&lt;/b&gt;" in detail
    assert "<b>x</b>" not in detail
    change = reverse("admin:nucleus_ledger_stream_change", args=[streams[0].pk])
    assert "field_mismatch" in text_of(client.get(change))


def test_an_entrys_page(client: Client) -> None:
    fill()
    first, second, third = Entry.objects.in_chain_order("s0")
    page = text_of(client.get(reverse("admin:nucleus_ledger_entry_change", args=[second.pk])))
    for other in (first, third):
        assert reverse("admin:nucleus_ledger_entry_change", args=[other.pk]) in page
    assert second.hash in page
    assert "s0 #1" in page
    assert "No verification has read this entry yet." in page
    last = text_of(client.get(reverse("admin:nucleus_ledger_entry_change", args=[third.pk])))
    assert "Next entry" not in last
    missing = reverse("admin:nucleus_ledger_entry_change", args=["ab" * 32])
    assert client.get(missing).status_code == 302  # as for any model: back, with a message
    wrong = reverse("admin:nucleus_ledger_entry_change", args=["nonsense"])
    assert client.get(wrong).status_code == 302


def test_hostile_content_neither_runs_nor_misleads(client: Client) -> None:
    name = "<i>s</i>"
    entry = Entry.objects.append(name, HOSTILE, record_id="<u>r</u>\u202e", meta={"<s>": "\u202e"})
    pages = [
        text_of(client.get(reverse("admin:nucleus_ledger_entry_change", args=[entry.pk]))),
        text_of(client.get(reverse(ENTRIES))),
        text_of(client.get(reverse(STREAMS))),
    ]
    for page in pages:
        for raw in ("<script>alert", "<img src=x", "<u>r</u>", "<i>s</i>", "<s>"):
            assert raw not in page
    payload = pages[0]
    for mark in ("\u2066", "\u200b", "\x1b", "\x85"):
        assert mark not in payload
    assert "‹U+202E›" in payload
    assert visible("a\nb\u202e") == "a\nb‹U+202E›"
    assert len(visible("x" * 200_000)) < 101_000


@pytest.mark.parametrize("query", ["", "?q=r1", "?q=" + "ab" * 32, "?q=%231", "?p=2"])
def test_lists_cost_the_same_whatever_the_size(
    client: Client, alias_routed: str, query: str
) -> None:
    counts = []
    for streams, entries in ((2, 60), (30, 60)):
        Entry.objects.append_batch(
            [
                {"stream": f"{streams}-{number}", "record_id": f"r{index}", "payload": {}}
                for number in range(streams)
                for index in range(entries)
            ]
        )
        with CaptureQueriesContext(connections[alias_routed]) as queries:
            for name in (STREAMS, ENTRIES):
                text_of(client.get(reverse(name) + query.replace("?p=2", "?p=1")))
        counts.append(len(queries))
        for executed in queries:
            if "nucleus_ledger_entry" in executed["sql"]:
                assert "COUNT(*)" not in executed["sql"]
                assert "LIKE" not in executed["sql"].upper()
                assert "payload" not in executed["sql"]
    assert counts[0] == counts[1]


def test_an_index_answers_what_the_entry_list_asks(client: Client, alias_routed: str) -> None:
    fill(streams=3, entries=200)
    connection = connections[alias_routed]
    if connection.vendor == "postgresql":
        sql(alias_routed, "SET LOCAL enable_seqscan = off")
        sql(alias_routed, "SET LOCAL enable_sort = off")
    stream = Stream.objects.get(name="s1")
    for query in ("", f"?stream__id__exact={stream.pk}", "?q=r1", "?q=" + "ab" * 32):
        with CaptureQueriesContext(connection) as queries:
            text_of(client.get(reverse(ENTRIES) + query))
        lists = [q["sql"] for q in queries if 'FROM "nucleus_ledger_entry"' in q["sql"]]
        assert lists
        for statement in lists:
            with connection.cursor() as cursor:
                explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
                cursor.execute(explain + statement.replace("%", "%%"))
                plan = "\n".join(str(row) for row in cursor.fetchall())
            assert re.search(r"(?i)index", plan), plan
            assert not re.search(r"Seq Scan on nucleus_ledger_entry", plan), plan
            assert "SCAN nucleus_ledger_entry'" not in plan, plan


def test_search(client: Client) -> None:
    fill()
    entry = Entry.objects.get_by_id("s1", "r2")
    found = text_of(client.get(reverse(ENTRIES), {"q": entry.hash}))
    assert found.count('class="field-sequence"') == 1
    found = text_of(client.get(reverse(ENTRIES), {"q": "r2"}))
    assert found.count('class="field-sequence"') == 2
    found = text_of(client.get(reverse(ENTRIES), {"q": "#2", "stream__id__exact": entry.stream_id}))
    assert found.count('class="field-sequence"') == 1
    assert 'class="field-sequence"' not in text_of(client.get(reverse(ENTRIES), {"q": "nothing"}))


def test_nothing_in_the_admin_writes_history(client: Client) -> None:
    fill()
    entry, stream = Entry.objects.get_by_id("s0", "r0"), Stream.objects.get(name="s0")
    run = Entry.objects.verify_integrity().verification
    before = list(Entry.objects.order_by("pk").values())
    for model, key in (("entry", entry.pk), ("stream", stream.pk), ("verification", run)):
        for view in ("change", "delete"):
            url = reverse(f"admin:nucleus_ledger_{model}_{view}", args=[key])
            assert client.post(url, {"post": "yes", "name": "x"}).status_code == 403
        assert client.get(reverse(f"admin:nucleus_ledger_{model}_add")).status_code == 403
        listing = reverse(f"admin:nucleus_ledger_{model}_changelist")
        assert "delete_selected" not in text_of(client.get(listing))
    assert list(Entry.objects.order_by("pk").values()) == before


def test_verifying_takes_its_own_permission(alias_routed: str) -> None:
    fill()
    client = viewer()
    assert "Verify selected streams" not in text_of(client.get(reverse(STREAMS)))
    verify(client, Stream.objects.get(name="s0"))
    assert Verification.objects.count() == 0
    User.objects.all().delete()
    client = viewer("verify_stream")
    assert "Verify selected streams" in text_of(client.get(reverse(STREAMS)))
    assert "Intact" in verify(client, Stream.objects.get(name="s0"))
    assert Verification.objects.count() == 1
    User.objects.all().delete()
    stranger = Client()
    stranger.force_login(User.objects.create_user("stranger", is_staff=True))
    assert stranger.get(reverse(STREAMS)).status_code == 403
    assert stranger.get(reverse(ENTRIES)).status_code == 403


def test_verifying_inside_a_requests_transaction_raises_no_false_alarm(
    client: Client, alias_routed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections[alias_routed].settings_dict, "ATOMIC_REQUESTS", True)
    fill()
    stream = Stream.objects.get(name="s0")
    assert "Intact: 3 entries" in verify(client, stream)
    stream.append({"n": 1})
    assert "Intact: 4 entries" in verify(client, stream)
    assert StreamStatus.objects.get(stream__name="s0").result == "intact"
