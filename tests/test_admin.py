"""The admin on both databases: what it shows, what it refuses, and what it costs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from nucleus_ledger import guards, stepping, verification
from nucleus_ledger.core.chain import KINDS
from nucleus_ledger.models import Entry, Stream, StreamStatus, Verification
from nucleus_ledger.row_signatures import sign_statuses
from tests.tamper import edit_payload, lay_bare, sql

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
BIDI, ESCAPE = "\u202e", "\x1b"
TABLE = "nucleus_ledger_entry"
INDEX = "/admin/nucleus_ledger/"


class LedgerOnPostgres:
    """A site that keeps its users on SQLite and its ledger on PostgreSQL."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "postgres" if model._meta.app_label == "nucleus_ledger" else None

    db_for_write = db_for_read


@pytest.fixture
def ledger(ledger_db: str, settings: Any) -> str:
    """The alias of the ledger's database, to which the admin is routed too."""
    if ledger_db == "postgres":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    return ledger_db


def client_of(*permissions: str, superuser: bool = False) -> Client:
    user = User.objects.create_user("carol", password="x", is_staff=True, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss(ledger: str) -> Client:
    return client_of(superuser=True)


@pytest.fixture
def viewer_of_nothing(ledger: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("dave", is_staff=True))
    return client


@pytest.fixture
def viewer(ledger: str) -> Client:
    return client_of("view_stream", "view_entry", "view_verification")


def fill(count: int, stream: str = "things", payload: Any = None, **fields: Any) -> list[Entry]:
    begin = Stream.objects.filter(name=stream).values_list("length", flat=True).first() or 0
    return Entry.objects.append_batch(
        {
            "stream": stream,
            "record_id": f"r{number}",
            "payload": {"n": number} if payload is None else payload,
            **fields,
        }
        for number in range(begin, begin + count)
    )


def listing(model: str) -> str:
    return reverse(f"admin:nucleus_ledger_{model}_changelist")


def page(model: str, key: Any) -> str:
    return reverse(f"admin:nucleus_ledger_{model}_change", args=[key])


def get(client: Client, address: str, **query: Any) -> str:
    response = client.get(address, query)
    assert response.status_code == 200, response
    return response.content.decode()


def verify(client: Client, *names: str) -> HttpResponse:
    keys = Stream.objects.filter(name__in=names).values_list("pk", flat=True)
    data = {"action": "verify_selected", "_selected_action": [str(key) for key in keys]}
    return client.post(listing("stream"), data, follow=True)  # type: ignore[return-value]


def said(response: Any) -> list[tuple[str, str]]:
    return [(message.level_tag, str(message)) for message in response.context["messages"]]


def badge(html: str) -> str:
    """Return the first status of a page, or of its list; the totals above it have one of each."""
    shown = html.partition('id="result_list"')[2] or html
    found = re.search(r'class="ledger-status ledger-status--(\w+)"', shown)
    assert found
    return found[1]


def field_of(html: str, field: str) -> str:
    """Return what a field shows."""
    row = re.search(
        rf'<div class="form-row field-{field}">(.*?)(?=<div class="form-row|</fieldset>)',
        html,
        re.S,
    )
    assert row, field
    shown = re.search(r'<div class="readonly">(.*)</div>', row[1], re.S)
    assert shown, field
    return shown[1]


def text_of(html: str, field: str) -> str:
    """Return the words that a field shows, without their tags."""
    words = re.sub(r"<[^>]+>", " ", field_of(html, field))
    return " ".join(unescape(words).split()).replace(" :", ":")


# What it shows


def test_a_stream_never_verified_says_so(boss: Client) -> None:
    fill(3)
    html = get(boss, listing("stream"))
    assert badge(html) == "never"
    assert "Never verified" in html
    html = get(boss, page("stream", Stream.objects.get().pk))
    assert "No verification has read this stream yet." in html


def test_the_action_verifies_and_says_what_it_found(boss: Client, ledger: str) -> None:
    head = fill(3)[-1].hash
    response = verify(boss, "things")
    [(level, text)] = said(response)
    run = Verification.objects.using(ledger).get()
    assert (run.origin, run.user, run.mode, run.result) == ("admin", "carol", "full", "intact")
    assert level == "success"
    assert "Streams: 1, entries: 3." in text
    assert page("verification", run.pk) in text
    assert badge(response.content.decode()) == "intact"
    html = get(boss, listing("stream"))
    assert badge(html) == "intact"
    assert "0\xa0minutes ago" in html
    assert f'title="{head}"' in html
    fill(2)
    assert '<td class="field-since">2</td>' in get(boss, listing("stream"))
    html = get(boss, page("stream", Stream.objects.get().pk))
    for words in ("covers the first 3 entries", "admin, carol", "A chain alone does not"):
        assert words in html
    assert f"?stream__id__exact={Stream.objects.get().pk}" in html


def test_tampering_is_named_and_linked(boss: Client, ledger: str) -> None:
    entries = fill(3)
    fill(1, "others")
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET record_id = 'forged' WHERE sequence = 1")
    assert badge(get(boss, listing("stream"))) == "never"  # nobody looked yet
    messages = said(verify(boss, "things", "others"))
    assert [level for level, _text in messages] == ["error", "error", "warning"]
    assert messages[1][1] == "Stream things: field_mismatch (record_id) at #1"
    assert messages[2][1].startswith("guards in the database: ")
    run = Verification.objects.using(ledger).get()
    for address in (page("verification", run.pk), page("stream", entries[0].stream_id)):
        html = get(boss, address)
        assert "field_mismatch" in html
        assert "forged" in html
        assert "&quot;r1&quot;" in html
        assert page("entry", entries[1].hash) in html
    html = get(boss, page("entry", entries[1].hash))
    assert badge(html) == "tampered"


def test_findings_without_an_entry_and_unknown_results(boss: Client, ledger: str) -> None:
    fill(3)
    guards.remove(connections[ledger])
    sql(ledger, f"DELETE FROM {TABLE} WHERE sequence = 1")
    Stream.objects.create(name="empty")
    assert said(verify(boss, "things"))[1] == ("error", "Stream things: sequence_gap at #1")
    assert "sequence_gap" in get(boss, page("stream", Stream.objects.get(name="things").pk))
    [(level, text), *rest] = said(verify(boss, "empty"))
    assert level == "warning"
    assert "could not be told whether all is intact. There was no entry to read." in text
    assert "guards in the database" in rest[0][1]


def test_long_streams_are_verified_in_steps(
    boss: Client, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "ENTRIES", 4)
    fill(10)
    fill(3, "others")
    start = reverse("admin:nucleus_ledger_stream_verify")
    response = boss.post(start, {"mode": "full"})
    run = Verification.objects.using(ledger).get()
    assert (run.result, run.scope, run.user) == ("running", None, "carol")
    assert response["Location"] == page("verification", run.pk)
    html = get(boss, page("verification", run.pk))
    assert "4 of 13 entries read (30 %)" in html
    assert '<progress id="ledger-run-bar" max="13" value="4"' in html
    step = reverse("admin:nucleus_ledger_verification_step", args=[run.pk])
    assert f'data-step="{step}"' in html
    html = get(boss, listing("stream"))
    assert html.count("ledger-status--verifying") == 2
    assert re.search(r"integrity=running\">.*?Verifying</span> 2</a>", html)
    assert get(boss, listing("stream"), integrity="running").count("field-shown_name") == 2
    boss.post(start, {"mode": "full"})  # joined, and taken a step further
    answer = boss.post(step, headers={"Accept": "application/json"}).json()
    assert answer == {
        "done": 10,
        "total": 13,
        "finished": False,
        "moved": True,
        "text": "10 of 13 entries read (76 %)",
    }
    assert get(boss, listing("stream")).count("ledger-status--verifying") == 1
    assert get(boss, listing("stream"), integrity="running").count("field-shown_name") == 1
    for _ in range(2):  # as the button does without a script
        response = boss.post(step, headers={"Accept": "text/html"}, follow=True)
    assert badge(response.content.decode()) == "intact"
    assert "Streams: 2, entries: 13." in said(response)[0][1]
    assert "ledger-run" not in response.content.decode()
    after = boss.post(step, headers={"Accept": "application/json"}).json()
    assert (after["finished"], after["moved"]) == (True, False)
    assert "ledger-status--verifying" not in get(boss, listing("stream"))
    assert "integrity=running" not in get(boss, listing("stream"))
    assert "field-shown_name" not in get(boss, listing("stream"), integrity="running")


def test_a_verification_is_cancelled(
    boss: Client, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "ENTRIES", 4)
    fill(10)
    boss.post(reverse("admin:nucleus_ledger_stream_verify"))
    run = Verification.objects.using(ledger).get()
    cancel = reverse("admin:nucleus_ledger_verification_cancel", args=[run.pk])
    html = boss.post(cancel, follow=True).content.decode()
    assert badge(html) == "unknown"
    assert "cancelled by carol, after 4 of 10 entries" in html
    assert badge(get(boss, listing("stream"))) == "never"


def test_one_stream_is_verified_from_its_page(boss: Client, ledger: str) -> None:
    fill(3)
    stream = fill(2, "others")[0].stream_id
    html = get(boss, page("stream", stream))
    assert f'<input type="hidden" name="stream" value="{stream}">' in html
    start = reverse("admin:nucleus_ledger_stream_verify")
    boss.post(start, {"stream": str(stream), "mode": "full"})
    boss.post(start, {"stream": str(stream), "mode": "incremental"})
    runs = Verification.objects.using(ledger).order_by("pk")
    assert [(run.scope, run.mode, run.result, run.entries) for run in runs] == [
        (["others"], "full", "intact", 2),
        (["others"], "incremental", "intact_since", 1),
    ]
    assert "ledger-status--intact_since" in get(boss, page("verification", runs[1].pk))
    for wrong in ("987654", "x", ""):
        assert boss.post(start, {"stream": wrong}).status_code == 404
    assert said(boss.post(start, {"mode": "quick"}, follow=True)) == [
        ("error", "mode is neither 'full' nor 'incremental': 'quick'")
    ]


def test_steps_are_for_those_who_may_verify(
    viewer: Client, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "ENTRIES", 4)
    fill(10)
    run = stepping.begin(ledger)
    html = get(viewer, page("verification", run.pk))
    assert "Somebody who may verify takes it forward" in html
    assert "<script src" not in html.partition("ledger-run")[2]
    for name in ("step", "cancel"):
        address = reverse(f"admin:nucleus_ledger_verification_{name}", args=[run.pk])
        assert viewer.post(address).status_code == 403
        assert viewer.get(address).status_code == 405
    assert viewer.post(reverse("admin:nucleus_ledger_stream_verify")).status_code == 403
    assert viewer.get(reverse("admin:nucleus_ledger_stream_verify")).status_code == 405
    for address in (listing("stream"), page("stream", Stream.objects.get().pk)):
        assert "ledger-verify" not in get(viewer, address)
    assert stepping.progress(ledger, run.pk).done == 0


def test_a_step_holds_no_transaction_open(boss: Client, ledger: str) -> None:
    """Also where the site has `ATOMIC_REQUESTS`: others would wait for the whole step."""
    for name, args in (("stream_verify", []), ("verification_step", [1])):
        view = resolve(reverse(f"admin:nucleus_ledger_{name}", args=args)).func
        assert view._non_atomic_requests == {"default", "postgres"}  # type: ignore[attr-defined]


def test_a_run_that_was_left_does_not_seem_to_go_on(boss: Client, ledger: str) -> None:
    fill(1)
    run = stepping.begin(ledger)
    assert badge(get(boss, listing("verification"))) == "running"
    long_ago = datetime.now(UTC) - timedelta(days=2)
    Verification.objects.filter(pk=run.pk).update(lease_until=long_ago)
    assert badge(get(boss, listing("verification"))) == "unknown"
    assert badge(get(boss, page("verification", run.pk))) == "unknown"


def test_steps_of_no_run(boss: Client, ledger: str) -> None:
    for name in ("step", "cancel"):
        address = reverse(f"admin:nucleus_ledger_verification_{name}", args=[987654])
        assert boss.post(address).status_code == 404


def store(statuses: Any, **fields: Any) -> None:
    """Change stored statuses as the site itself would: signed."""
    for status in statuses.all():
        for name, value in fields.items():
            setattr(status, name, value)
        sign_statuses(str(status._state.db), [status])
        status.save()


def test_an_old_verification_is_stale_and_never_green(boss: Client) -> None:
    fill(1)
    verify(boss, "things")
    then = datetime.now(UTC) - timedelta(days=8)
    store(StreamStatus.objects, verified_at=then)
    html = get(boss, listing("stream"))
    assert badge(html) == "stale"
    assert "1\xa0week ago" in html
    store(StreamStatus.objects, result="tampered")
    assert badge(get(boss, listing("stream"))) == "tampered"
    store(StreamStatus.objects, result="acknowledged")
    assert badge(get(boss, listing("stream"))) == "acknowledged"
    full_at = then - timedelta(days=30)
    store(StreamStatus.objects, result="intact", verified_at=datetime.now(UTC), full_at=full_at)
    html = get(boss, listing("stream"))
    assert badge(html) == "stale"  # only incremental runs since
    assert "0\xa0minutes ago, in full 1\xa0month ago (full, admin, carol)" in html


def test_the_head_row_does_not_speak_for_itself(boss: Client, ledger: str) -> None:
    fill(5)
    verify(boss, "things")
    guards.remove(connections[ledger])
    sql(ledger, f"DELETE FROM {TABLE} WHERE sequence > 1")
    hash_of_1 = Entry.objects.get(sequence=1)
    sql(ledger, "UPDATE nucleus_ledger_stream SET length = 2, head_hash = %s, head_timestamp = %s",
        [bytes.fromhex(hash_of_1.hash), hash_of_1.timestamp])  # fmt: skip
    assert "3 fewer than were verified" in get(boss, listing("stream"))
    assert badge(verify(boss, "things").content.decode()) == "tampered"


def test_an_entry_shows_all_of_itself_and_its_neighbours(boss: Client) -> None:
    entries = fill(3, payload={"ünï": [1, {"a": None}]}, meta={"by": "api"})
    middle = entries[1]
    html = get(boss, page("entry", middle.hash))
    assert (
        text_of(html, "payload_text")
        == 'object, 1 member "ünï": array, 2 items 1 object, 1 member "a": null'
    )
    assert text_of(html, "meta_text") == 'object, 1 member "by": "api"'
    assert middle.serialized.replace('"', "&quot;") in html
    assert middle.hash in html
    assert middle.prev_hash in html
    assert f'<a href="{page("entry", entries[0].hash)}" rel="prev">' in html
    assert f'<a href="{page("entry", entries[2].hash)}" rel="next">' in html
    assert f"{datetime.fromtimestamp(middle.timestamp // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" in html
    assert 'rel="prev"' not in get(boss, page("entry", entries[0].hash))
    assert 'rel="next"' not in get(boss, page("entry", entries[2].hash))


def test_an_entry_is_judged_while_one_looks(boss: Client, ledger: str) -> None:
    entries = fill(4)
    for entry in entries:
        words = text_of(get(boss, page("entry", entry.hash)), "checked_now")
        assert words.count(entry.hash) == 2
        assert words.count(entry.prev_hash or "–") == (2 if entry.prev_hash else 0)
        assert "yes" in words
        assert "no" not in words.split()
        assert "Read just now: its hash is that of its text" in words
    assert "where a stream begins" in text_of(
        get(boss, page("entry", entries[0].hash)), "checked_now"
    )
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET record_id = 'other' WHERE sequence = 1")
    sql(ledger, f"UPDATE {TABLE} SET serialized = 'x' WHERE sequence = 2")
    words = [text_of(get(boss, page("entry", entry.hash)), "checked_now") for entry in entries]
    assert "Read just now" in words[0]
    assert "field_mismatch" in words[1]
    assert "r1" in words[1]
    assert "hash_mismatch" in words[2]
    assert hashlib.sha256(b"x").hexdigest() in words[2]
    assert "no" in words[2].split()
    # What the entry before it says now has another hash, and what it said then has its own.
    assert "Read just now" in words[3]
    sql(ledger, f"DELETE FROM {TABLE} WHERE sequence = 2")
    words = [text_of(get(boss, page("entry", entries[3].hash)), "checked_now")]
    assert "sequence_gap" in words[0]
    assert not StreamStatus.objects.exists()  # looking stores nothing


def test_streams_are_counted_and_filtered_by_status(boss: Client, ledger: str) -> None:
    for name in ("good", "bad", "old", "new"):
        fill(2, name)
    verify(boss, "good", "bad", "old")
    old = StreamStatus.objects.filter(stream__name="old")
    store(old, verified_at=datetime(2020, 1, 1, tzinfo=UTC))
    guards.remove(connections[ledger])
    sql(
        ledger,
        f"UPDATE {TABLE} SET record_id = 'x' WHERE sequence = 1 AND stream_id = %s",
        [Stream.objects.get(name="bad").pk],
    )
    verify(boss, "bad")
    html = get(boss, listing("stream"))
    counted = re.findall(r'href="\?integrity=(\w+)">.*?</span>\s*(\d+)</a>', html, re.S)
    assert counted == [
        ("tampered", "1"),
        ("acknowledged", "0"),
        ("unknown", "0"),
        ("stale", "1"),
        ("never", "1"),
        ("intact", "1"),
    ]
    for name, stream in {
        "tampered": "bad",
        "stale": "old",
        "never": "new",
        "intact": "good",
    }.items():
        html = get(boss, listing("stream"), integrity=name)
        assert re.findall(r'change/[^"]*">([^<]+)</a></th>', html) == [stream]
        assert badge(html) == name
    assert "(full, admin, carol)" in get(boss, listing("stream"))


def test_the_index_shows_the_ledger_at_a_glance(boss: Client, ledger: str) -> None:
    def glance() -> str:
        found = re.search(
            r'<div class="module ledger-glance">(.*?)</dl>(.*?)</div>', get(boss, INDEX), re.S
        )
        assert found
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split())

    fill(3, "good")
    fill(2, "bad")
    words = glance()
    assert "Never verified 2" in words
    assert "5; 5 that no verification has read" in words
    assert "of all streams none yet" in words
    assert "Guards in the database in place" in words
    assert "What to do now" not in words
    verification.verify(ledger)
    fill(1, "good")
    words = glance()
    assert "Intact 2" in words
    assert "6; 1 that no verification has read" in words
    assert re.search(r"of all streams .*: intact", words)
    guards.remove(connections[ledger])
    sql(
        ledger,
        f"UPDATE {TABLE} SET record_id = 'x' WHERE stream_id = %s AND sequence = 1",
        [Stream.objects.get(name="bad").pk],
    )
    verify(boss, "bad")
    words = glance()
    assert "Tampered 1" in words
    assert "Guards in the database missing" in words
    assert "Read the findings: bad" in words
    assert "What to do now" in words


def test_what_each_finding_means(boss: Client, viewer_of_nothing: Client) -> None:
    address = reverse("admin:nucleus_ledger_stream_findings")
    fill(2)
    edit_payload(Stream.objects.db, "r1")
    verify(boss, "things")
    assert address in get(boss, INDEX)
    html = get(boss, address)
    assert [kind for kind in KINDS if f"<code>{kind}</code>" not in html] == []
    assert page("stream", Stream.objects.get().pk) in html
    assert viewer_of_nothing.get(address).status_code == 403


def test_the_index_says_nothing_to_who_may_not_look(ledger: str) -> None:
    fill(1)
    assert "ledger-glance" not in get(client_of("view_entry"), INDEX)


def test_searches(boss: Client) -> None:
    entries = fill(4)
    other = fill(1, "others")[0]
    digits = Entry.objects.append("others", {}, record_id="ab" * 32)
    numbered = Entry.objects.append("others", {}, record_id="#2")

    def found(**query: Any) -> list[str]:
        html = get(boss, listing("entry"), **query)
        return re.findall(r'<th class="field-place"><a href="[^"]*/([0-9a-f]{64})/change/', html)

    assert found(q="r0") == [other.hash, entries[0].hash]
    assert found(q=" r1 ") == [entries[1].hash]
    assert found(q="r") == found(q="%") == found(q="R0") == []
    assert found(q=entries[2].hash.upper()) == [entries[2].hash]
    assert found(q=entries[2].hash[:8]) == [entries[2].hash]
    assert found(q=entries[2].hash[:7]) == []
    assert found(q="ab" * 32) == [digits.hash]
    assert found(q="#2") == [numbered.hash]
    assert found(q="#3") == [entries[3].hash]
    in_stream = {"stream__id__exact": entries[0].stream_id}
    assert found(**in_stream) == [entry.hash for entry in reversed(entries)]
    assert found(q="#1", **in_stream) == [entries[1].hash, entries[0].hash]
    assert found(q=other.hash, **in_stream) == []
    assert "Entries of things" in get(boss, listing("entry"), **in_stream)


def test_a_time_is_searched_within_a_stream(boss: Client) -> None:
    begin = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
    day = 86_400_000
    for number in range(5):
        fill(1, timestamp=begin + number * day)
    entries = list(Entry.objects.order_by("sequence"))
    in_stream = {"stream__id__exact": entries[0].stream_id}

    def found(term: str) -> list[int]:
        html = get(boss, listing("entry"), q=term, **in_stream)
        return [int(number) for number in re.findall(r"/change/[^\"]*\">#(\d+)</a>", html)]

    assert found("2023-11-15") == [1]
    assert found("2023-11-15 22:13") == [1]
    assert found("2023-11-15 22:14") == []
    assert found("2023-11-15..2023-11-17") == [3, 2, 1]
    assert found("2023-11-17..") == [4, 3]
    assert found("..2023-11-15") == [1, 0]
    response = boss.get(listing("entry"), {"q": "2023-11-15"})
    assert [level for level, _text in said(response)] == ["warning"]
    assert "/change/?" not in response.content.decode()


# What is drawn


def test_a_chart_and_the_chain_are_drawn(boss: Client, ledger: str) -> None:
    for number in range(8):
        fill(1, timestamp=1_700_000_000_000 + number * 1000)
    stream = Stream.objects.get().pk
    verify(boss, "things")
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET record_id = 'forged' WHERE sequence = 3")
    sql(ledger, f"DELETE FROM {TABLE} WHERE sequence = 5")
    verify(boss, "things")
    html = get(boss, page("stream", stream))
    chart = field_of(html, "growth")
    assert 'aria-label="8 entries from 11/14/2023' in chart
    points = re.search(r'<polyline class="ledger-line" points="([^"]*)"', chart)
    assert points
    assert len(points[1].split()) == 7
    assert "field_mismatch #3" in chart
    assert "sequence_gap #5" in chart
    assert chart.count('class="ledger-run-mark"') == 2
    chain = field_of(html, "chain")
    assert re.findall(r"<strong>#(\d+)</strong>", chain) == ["5", "6", "7"]
    assert chain.count("ledger-link--broken") == 2
    assert chain.index("the link is broken") < chain.index("missing")
    assert chain.index("missing") < chain.index("nothing to link to")
    assert '?around=0">first #0</a>' in chain
    chain = field_of(get(boss, page("stream", stream), around="2"), "chain")
    assert re.findall(r"<strong>#(\d+)</strong>", chain) == ["0", "1", "2", "3", "4"]
    assert "ledger-link--broken" not in chain
    assert chain.count("ledger-block--broken") == 1
    assert "field_mismatch" in chain
    runs = field_of(html, "history")
    assert runs.index("findings: 2") < runs.index("ledger-status--intact")
    for odd in ("x", "-1", "9" * 30, "1e3", ""):
        assert "<strong>#7</strong>" in get(boss, page("stream", stream), around=odd)
    entry = Entry.objects.get(sequence=3)
    assert "ledger-block--chosen ledger-block--broken" in get(boss, page("entry", entry.pk))


def test_nothing_is_drawn_of_nothing(boss: Client, ledger: str) -> None:
    empty = Stream.objects.create(name="empty")
    html = get(boss, page("stream", empty.pk))
    assert "Two entries or more make a chart." in html
    assert text_of(html, "history").endswith("–")


def test_a_run_says_nothing_good_of_a_stream_that_it_did_not_read(boss: Client) -> None:
    fill(1)
    stream = fill(1, "others")[0].stream_id
    verify(boss, "things")
    assert text_of(get(boss, page("stream", stream)), "history").endswith("–")


def test_what_differs_in_a_document_is_named(boss: Client, ledger: str) -> None:
    fill(2, payload={"cents": 100, "lines": [{"n": 1}, {"n": 2}]})
    guards.remove(connections[ledger])
    cast = "::jsonb" if ledger == "postgres" else ""
    changed = '{"cents":100,"lines":[{"n":1},{"n":7}],"<b>":1}'
    sql(ledger, f"UPDATE {TABLE} SET payload = %s{cast} WHERE sequence = 1", [changed])
    html = verify(boss, "things").content.decode()
    assert "<code>payload.lines[1].n</code>: <del>2</del>" in html
    assert "<ins>7</ins>" in html
    assert "<code>payload[&#x27;&lt;b&gt;&#x27;]</code>: <del>nothing</del>" in html


# Hostile content


@pytest.fixture
def hostile(ledger: str) -> Entry:
    name = f"{HOSTILE}{BIDI}"
    return Entry.objects.append(
        name,
        {HOSTILE: HOSTILE, "bidi": BIDI, "esc": ESCAPE, "c1": "\x9b", "tag": "\U000e0041"},
        record_id=name,
        meta={"x": "</pre></div>" + HOSTILE},
    )


def harmless(html: str) -> None:
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "</pre></div><script" not in html
    for char in (BIDI, ESCAPE, "\x9b", "\U000e0041"):
        assert char not in html


def test_hostile_content_neither_runs_nor_misleads(boss: Client, hostile: Entry) -> None:
    verify(boss, hostile.stream.name)
    run = Verification.objects.get()
    for address in (
        listing("entry"),
        f"{listing('entry')}?stream__id__exact={hostile.stream_id}",
        page("entry", hostile.hash),
        listing("stream"),
        page("stream", hostile.stream_id),
        page("verification", run.pk),
        INDEX,
    ):
        harmless(get(boss, address))
    html = get(boss, page("entry", hostile.hash))
    assert "\\u202e" in html  # in the payload, as JSON writes it
    assert "\\udb40\\udc41" in html
    assert "‹U+202E›" in html  # in the canonical text, which says that it is not shown as it is
    assert "hash the column, not this text" in html


def test_hostile_findings(boss: Client, ledger: str, hostile: Entry) -> None:
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET record_id = %s", [f"{HOSTILE}{BIDI}{ESCAPE}"])
    response = verify(boss, hostile.stream.name)
    harmless(response.content.decode())
    harmless(get(boss, page("stream", hostile.stream_id)))
    harmless(get(boss, page("verification", Verification.objects.get().pk)))


def test_a_long_and_a_deep_document(boss: Client, ledger: str) -> None:
    deep: Any = []
    for _level in range(60):
        deep = [deep]
    entry = Entry.objects.append("things", {"long": "x" * 1_000_000, "deep": deep})
    html = get(boss, page("entry", entry.hash))
    assert "more characters)" in html
    assert len(html) < 500_000


@pytest.mark.parametrize(
    ("column", "value"),
    [("sequence", "x"), ("timestamp", "x"), ("payload", "{"), ("hash", "x"), ("prev_hash", "y")],
)
def test_columns_of_another_type_break_no_page(
    boss: Client, ledger: str, column: str, value: str
) -> None:
    if ledger == "postgres":
        value = {"payload": '"text"', "hash": "x", "prev_hash": "y"}.get(column, "-7")
    entries = fill(3)
    lay_bare(ledger)
    sql(ledger, f"UPDATE {TABLE} SET {column} = %s WHERE sequence = 1", [value])
    get(boss, listing("entry"))
    for entry in entries:
        assert boss.get(page("entry", entry.hash), follow=True).status_code == 200
    assert badge(verify(boss, "things").content.decode()) == "tampered"
    get(boss, page("stream", entries[0].stream_id))


class Tags(HTMLParser):
    """Collects what a strict Content-Security-Policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _value in attrs}
        inline = tag == "style" or (tag == "script" and "src" not in names)
        if inline or "style" in names or any(name.startswith("on") for name in names):
            self.forbidden.append(self.get_starttag_text() or tag)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("stream", "length", "'x'"),
        ("stream", "length", "NULL"),
        ("stream", "length", "9e18"),
        ("stream", "head_timestamp", "'x'"),
        ("stream", "head_hash", "'ab'"),
        ("stream", "name", "NULL"),
        ("stream", "name", "x'ff'"),
        ("stream", "ledger", "NULL"),
        ("streamstatus", "result", "'weird'"),
        ("streamstatus", "length", "'x'"),
        ("streamstatus", "length", "NULL"),
        ("streamstatus", "verification_id", "NULL"),
        ("verification", "result", "'weird'"),
        ("verification", "scope", "'5'"),
        ("verification", "warnings", "'5'"),
        ("verification", "mode", "'odd'"),
        ("finding", "sequence", "'x'"),
        ("finding", "fields", "'5'"),
        ("finding", "kind", "'odd'"),
        ("finding", "expected", "'[1]'"),
        ("entry", "sequence", "NULL"),
        ("entry", "timestamp", "9e30"),
        ("entry", "serialized", "x'ff'"),
        ("entry", "stream_id", "77"),
    ],
)
def test_no_row_breaks_a_page_or_makes_it_green(
    db: None, table: str, column: str, value: str
) -> None:
    """On SQLite, where a column holds anything once its constraints are gone."""
    boss = client_of(superuser=True)
    entries = fill(8)
    edit_payload("default", "r3")
    verify(boss, "things")
    run = Verification.objects.get().pk
    addresses = [
        INDEX,
        listing("stream"),
        f"{listing('stream')}?integrity=stale",
        f"{listing('stream')}?integrity=running",
        listing("entry"),
        f"{listing('entry')}?stream__id__exact={entries[0].stream_id}&q=2020-01-01..",
        listing("verification"),
        page("stream", entries[0].stream_id),
        f"{page('stream', entries[0].stream_id)}?around=4",
        page("verification", run),
        *(page("entry", entry.pk) for entry in entries[2:6]),
    ]
    lay_bare("default")
    if table in ("verification", "finding"):
        sql("default", "PRAGMA ignore_check_constraints = ON")
    where = " WHERE sequence = 4" if table == "entry" else ""
    sql("default", f"UPDATE nucleus_ledger_{table} SET {column} = {value}{where}")
    sql("default", "PRAGMA ignore_check_constraints = OFF")
    for address in addresses:
        assert boss.get(address).status_code in (200, 302), address
    for mode in ("full", "incremental"):
        start = reverse("admin:nucleus_ledger_stream_verify")
        assert boss.post(start, {"mode": mode}, follow=True).status_code == 200
        assert not Verification.objects.latest("pk").result.startswith("intact")


def test_pages_need_no_inline_script_or_style(boss: Client, hostile: Entry) -> None:
    verify(boss, hostile.stream.name)
    for address in (
        listing("entry"),
        page("entry", hostile.hash),
        listing("stream"),
        page("stream", hostile.stream_id),
        listing("verification"),
        page("verification", Verification.objects.get().pk),
        INDEX,
    ):
        tags = Tags()
        tags.feed(get(boss, address))
        assert tags.forbidden == []


# Permissions


def test_nobody_writes_history(boss: Client, ledger: str) -> None:
    entry = fill(2)[0]
    verify(boss, "things")
    run = Verification.objects.get()
    keys = {"stream": entry.stream_id, "entry": entry.hash, "verification": run.pk}
    for model, key in keys.items():
        for action, args in (("add", []), ("change", [key]), ("delete", [key])):
            address = reverse(f"admin:nucleus_ledger_{model}_{action}", args=args)
            assert boss.post(address, {"name": "x", "post": "yes"}).status_code == 403, address
        assert boss.get(reverse(f"admin:nucleus_ledger_{model}_add")).status_code == 403
        html = get(boss, listing(model))
        assert "delete_selected" not in html
        assert reverse(f"admin:nucleus_ledger_{model}_add") not in html
        form = get(boss, page(model, key))
        assert 'name="_save"' not in form
        assert "deletelink" not in form
        data = {"action": "delete_selected", "_selected_action": [str(key)], "post": "yes"}
        boss.post(listing(model), data)
    assert Entry.objects.using(ledger).count() == 2
    assert Verification.objects.using(ledger).count() == 1


def test_viewers_look_and_do_not_verify(viewer: Client, ledger: str) -> None:
    entry = fill(2)[0]
    html = get(viewer, listing("stream"))
    assert "things" in html
    assert "verify_selected" not in html
    verify(viewer, "things")
    assert not Verification.objects.using(ledger).exists()
    get(viewer, page("entry", entry.hash))
    get(viewer, page("stream", entry.stream_id))


def test_payloads_are_for_those_who_may_see_them(viewer: Client, ledger: str) -> None:
    entry = fill(2, payload={"key": "topsecret"}, meta={"why": "topsecret"})[0]
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET payload = %s WHERE sequence = 0", ['{"key": "secretive"}'])
    run = verification.verify(ledger).verification
    addresses = (
        page("entry", entry.hash),
        page("stream", entry.stream_id),
        page("verification", run),
    )
    for address in addresses:
        html = get(viewer, address)
        assert "secret" not in html
        assert "you lack the permission to view payloads" in html
        assert "field_mismatch" in html
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_payload"))
    for address in addresses:
        html = get(viewer, address)
        assert "topsecret" in html
        assert "secretive" in html
        assert "you lack" not in html


def test_a_verifier_may_verify(ledger: str) -> None:
    fill(2)
    client = client_of("view_stream", "verify_stream")
    assert "verify_selected" in get(client, listing("stream"))
    verify(client, "things")
    assert Verification.objects.using(ledger).get().user == "carol"


def test_verifying_takes_a_post_with_its_token(boss: Client, ledger: str) -> None:
    fill(1)
    key = Stream.objects.get().pk
    data = {"action": "verify_selected", "_selected_action": [str(key)]}
    boss.get(listing("stream"), data)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post(listing("stream"), data).status_code == 403
    assert not Verification.objects.using(ledger).exists()


def test_strangers_see_nothing(ledger: str) -> None:
    entry = fill(1)[0]
    outsider = client_of()
    for address in (listing("entry"), page("entry", entry.hash), listing("stream")):
        assert outsider.get(address).status_code == 403
        assert Client().get(address).status_code == 302


# Cost


def statements(client: Client, alias: str, address: str, **query: Any) -> list[str]:
    """The ledger's queries of one request."""
    with CaptureQueriesContext(connections[alias]) as captured:
        get(client, address, **query)
    return [q["sql"] for q in captured.captured_queries if "nucleus_ledger_" in q["sql"]]


def plans(alias: str, queries: list[str]) -> Iterator[str]:
    """How the database answers the queries over entries, when a full scan would cost it dear."""
    connection = connections[alias]
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"ANALYZE {TABLE}")
            cursor.execute("SET LOCAL enable_seqscan = off")  # 300 rows are not worth an index
            cursor.execute("SET LOCAL enable_sort = off")
        for query in queries:
            cursor.execute(explain + query)
            yield "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_lists_cost_the_same_whatever_their_size(boss: Client, ledger: str) -> None:
    def costs() -> list[int]:
        stream = Stream.objects.get(name="s000")
        return [
            len(statements(boss, ledger, listing("stream"))),
            len(statements(boss, ledger, listing("entry"))),
            len(statements(boss, ledger, listing("entry"), stream__id__exact=stream.pk)),
            len(statements(boss, ledger, listing("entry"), q="r1")),
            len(statements(boss, ledger, listing("verification"))),
            len(statements(boss, ledger, page("stream", stream.pk))),
            len(statements(boss, ledger, page("entry", Entry.objects.get_by_id("s000", "r1").pk))),
            len(statements(boss, ledger, INDEX)),
        ]

    for number in range(3):
        fill(1, f"s{number:03}")
    fill(20, "s000")
    verify(boss, "s000", "s001", "s002")
    few = costs()
    for number in range(3, 100):
        fill(1, f"s{number:03}")
    fill(200, "s000")
    verify(boss, *(f"s{number:03}" for number in range(100)))
    assert costs() == few
    assert max(few[:-3]) <= 6
    assert max(few) <= 16


def test_findings_are_listed_in_bounded_queries(boss: Client, ledger: str) -> None:
    def cost() -> int:
        verify(boss, "things")
        return len(statements(boss, ledger, page("stream", Stream.objects.get().pk)))

    fill(250)
    guards.remove(connections[ledger])
    sql(ledger, f"UPDATE {TABLE} SET record_id = record_id || 'x' WHERE sequence < 2")
    few = cost()
    sql(ledger, f"UPDATE {TABLE} SET record_id = record_id || 'x' WHERE sequence > 2")
    assert cost() == few
    html = get(boss, page("stream", Stream.objects.get().pk))
    assert html.count("<strong>field_mismatch") == 200
    assert "The first 200 are shown." in html


def test_entries_are_never_counted_and_an_index_orders_them(boss: Client, ledger: str) -> None:
    entries = fill(300)
    fill(5, "others")
    key = entries[0].stream_id
    for query in (
        {},
        {"p": 3},
        {"all": ""},
        {"o": "2"},  # a made-up order is not followed
        {"stream__id__exact": key},
        {"stream__id__exact": key, "p": 5},
        {"stream__id__exact": key, "q": "#250"},
    ):
        found = statements(boss, ledger, listing("entry"), **query)
        over_entries = [sql for sql in found if f'FROM "{TABLE}"' in sql]
        assert over_entries
        for text in over_entries:
            assert "COUNT(" not in text
            assert "LIMIT" in text
            assert '"payload"' not in text
            assert '"serialized"' not in text
        for plan in plans(ledger, over_entries):
            assert "Seq Scan on nucleus_ledger_entry" not in plan
            assert not re.search(rf"SCAN {TABLE}(?! USING)", plan)
            assert not re.search(r"Sort Key|TEMP B-TREE", plan)


def test_what_is_drawn_is_read_by_an_index(boss: Client, ledger: str) -> None:
    entries = fill(300)
    verify(boss, "things")
    for address, query in (
        (page("stream", entries[0].stream_id), {"around": 150}),
        (page("entry", entries[150].pk), {}),
        (INDEX, {}),
    ):
        over_entries = [
            sql.replace(" %% ", " % ")
            for sql in statements(boss, ledger, address, **query)
            if TABLE in sql and "nucleus_ledger_entry_" not in sql
        ]
        assert over_entries or address == INDEX
        for text, plan in zip(over_entries, plans(ledger, over_entries), strict=True):
            assert "COUNT(" not in text
            assert "OFFSET" not in text
            assert "Seq Scan on nucleus_ledger_entry" not in plan
            assert not re.search(rf"SCAN {TABLE}(?! USING)", plan)
            assert not re.search(r"Sort Key|TEMP B-TREE", plan)


@pytest.mark.parametrize("term", ["r17", "ab" * 32, "#17", "nothing"])
def test_an_index_answers_each_search(boss: Client, ledger: str, term: str) -> None:
    entries = fill(300)
    for scope in ({}, {"stream__id__exact": entries[0].stream_id}):
        found = statements(boss, ledger, listing("entry"), q=term, **scope)
        over_entries = [sql for sql in found if f'FROM "{TABLE}"' in sql]
        assert over_entries
        for text, plan in zip(over_entries, plans(ledger, over_entries), strict=True):
            assert "LIKE" not in text
            assert "COUNT(" not in text
            assert "Seq Scan on nucleus_ledger_entry" not in plan
            assert not re.search(rf"SCAN {TABLE}\b", plan)


def test_only_the_streams_filter_is_taken_from_the_address(boss: Client, ledger: str) -> None:
    fill(1)
    for lookup in ("payload__icontains", "serialized__contains", "stream__name__regex"):
        response = boss.get(listing("entry"), {lookup: "n"})
        assert response.status_code in (302, 400)
    assert boss.get(listing("entry"), {"stream__id__exact": "x"}).status_code == 302


def test_no_more_than_the_newest_thousand_are_offered(boss: Client, ledger: str) -> None:
    fill(1100)
    html = get(boss, listing("entry"))
    assert "1000 entries" in html
    assert boss.get(listing("entry"), {"p": 21}).status_code == 302
    html = get(boss, listing("entry"), q="#50", stream__id__exact=Stream.objects.get().pk)
    assert "51 entries" in html


def test_an_entry_names_its_stream_without_a_query(ledger: str) -> None:
    fill(3)
    assert str(Entry.objects.select_related("stream").get(sequence=1)) == "things #1"
    bare = list(Entry.objects.all())
    with CaptureQueriesContext(connections[ledger]) as captured:
        assert all(str(entry).endswith(f"#{entry.sequence}") for entry in bare)
    assert len(captured) == 0


def test_the_times_of_a_run_are_those_of_utc_on_every_page(
    ledger: str, boss: Client, settings: Any
) -> None:
    settings.TIME_ZONE = "America/New_York"
    fill(1)
    verification.verify(using=ledger)
    run = Verification.objects.using(ledger).get()
    shown = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
    stream = Stream.objects.using(ledger).get()
    for page in (
        INDEX,
        f"{INDEX}verification/",
        f"{INDEX}verification/{run.pk}/change/",
        f"{INDEX}stream/{stream.pk}/change/",
    ):
        assert shown in boss.get(page).content.decode(), page
