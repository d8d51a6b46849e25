"""What random tampering found, each case on its own."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from nucleus_ledger import guards, stepping, verification
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.evidence import receipts, stored
from nucleus_ledger.models import Entry, Verification
from tests.evidence.signing_site import SigningSite
from tests.tamper import edit_payload, sql
from tests.test_admin import INDEX, client_of

sqlite_only = pytest.mark.parametrize("alias", ["default"], ids=["sqlite"])


def append(alias: str, count: int) -> None:
    Entry.objects.using(alias).append_batch(
        {"stream": "payments", "record_id": f"payments-{n}", "payload": {"n": n}}
        for n in range(count)
    )


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(ledger_db, 5)
    site.make(init=True)
    return site


@pytest.mark.parametrize("alias", ["postgres"], ids=["postgresql"])
def test_a_row_under_the_next_key_keeps_no_entry_from_being_read(ledger_db: str) -> None:
    """After a restore of data alone, or by somebody who does not want to be found."""
    append(ledger_db, 5)
    verification.verify(ledger_db)
    (newest,) = Verification.objects.using(ledger_db).values_list("pk", flat=True)
    columns = [field.column for field in Verification._meta.fields if field.column != "id"]
    listed = ", ".join(f'"{column}"' for column in columns)

    def take_the_next_key(key: int) -> None:
        sql(
            ledger_db,
            f"INSERT INTO nucleus_ledger_verification (id, {listed}) "
            f"SELECT {key}, {listed} FROM nucleus_ledger_verification WHERE id = {newest}",
        )

    take_the_next_key(newest + 1)
    report = verification.verify(ledger_db)
    assert (report.result, report.exit_code(), report.entries) == ("unknown", 2, 5)
    assert "sqlsequencereset" in report.errors[0]
    edit_payload(ledger_db, "payments-3")
    take_the_next_key(newest + 2)
    report = verification.verify(ledger_db)
    assert (report.result, report.exit_code(), report.verification) == ("tampered", 1, None)
    assert verification.verify(ledger_db).errors == [], "the sequence has come past it"


@sqlite_only
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nucleus_ledger_entry SET hash = 'no hash' WHERE record_id = 'payments-1'",
        "UPDATE nucleus_ledger_recordedhead SET frontier = 'text'",
        "UPDATE nucleus_ledger_recordedhead SET text = x'ff'",
        "UPDATE nucleus_ledger_checkpoint SET note = x'ff'",
        "UPDATE nucleus_ledger_checkpoint SET manifest = x'ff'",
        "UPDATE nucleus_ledger_checkpoint SET frontier = 'text'",
    ],
)
def test_a_receipt_is_refused_whatever_a_copy_holds(site: SigningSite, statement: str) -> None:
    guards.remove(connections[site.alias])
    sql(site.alias, "PRAGMA ignore_check_constraints = ON")
    entry = Entry.objects.using(site.alias).get(record_id="payments-2")
    receipts.make(entry)
    sql(site.alias, statement)
    with pytest.raises(IntegrityFailed):
        receipts.make(entry)
    sql(site.alias, "PRAGMA ignore_check_constraints = OFF")


@sqlite_only
@pytest.mark.parametrize("number", ["'text'", "x'ff'", "''"])
def test_a_checkpoint_numbered_by_text_counts_for_nothing(site: SigningSite, number: str) -> None:
    sql(
        site.alias,
        "INSERT INTO nucleus_ledger_checkpoint (number, manifest, note, frontier, undelivered) "
        f"SELECT {number}, manifest, note, frontier, undelivered FROM nucleus_ledger_checkpoint",
    )
    assert stored.size(site.alias) == 1
    assert stored.checkpoints(site.alias).count() == 1
    append_more = Entry.objects.using(site.alias).append
    append_more("payments", {"n": 5})
    assert site.make().number == 1


@sqlite_only
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nucleus_ledger_verificationstep SET standing = CAST(standing AS BLOB)",
        "UPDATE nucleus_ledger_verification SET mode = x'ff'",
    ],
)
def test_bytes_where_a_run_in_steps_has_text_end_it(ledger_db: str, statement: str) -> None:
    append(ledger_db, 5)
    run = stepping.begin(ledger_db)
    sql(ledger_db, statement)
    stepping.step(ledger_db, run.pk)
    run.refresh_from_db(using=ledger_db)
    assert run.result == "unknown"


@sqlite_only
@pytest.mark.parametrize("value", ["x'ff'", "'text'"])
def test_the_index_page_shows_a_run_whose_numbers_are_none(ledger_db: str, value: str) -> None:
    append(ledger_db, 5)
    verification.verify(ledger_db)
    sql(ledger_db, f"UPDATE nucleus_ledger_verification SET entries = {value}")
    response = client_of(superuser=True).get(INDEX)
    assert response.status_code == 200


@sqlite_only
@pytest.mark.parametrize("run", ["'text'", "9000000000"])
def test_a_finding_of_no_run_says_nothing(ledger_db: str, run: str) -> None:
    append(ledger_db, 5)
    verification.verify(ledger_db)
    sql(
        ledger_db,
        "INSERT INTO nucleus_ledger_finding (verification_id, kind, stream, sequence, fields, "
        f"message) VALUES ({run}, 'link_broken', 'payments', 1, '[]', '')",
    )
    assert verification.verify(ledger_db).result == "intact"
    sql(ledger_db, "DELETE FROM nucleus_ledger_finding")


@sqlite_only
def test_text_in_the_key_of_a_status_or_in_a_length_stops_neither_list(ledger_db: str) -> None:
    append(ledger_db, 5)
    verification.verify(ledger_db)
    guards.remove(connections[ledger_db])
    sql(ledger_db, "UPDATE nucleus_ledger_stream SET length = 'text'")
    call_command("ledger_status", database=ledger_db, stdout=StringIO())
    sql(ledger_db, "UPDATE nucleus_ledger_streamstatus SET stream_id = 'text'")
    assert client_of(superuser=True).get(f"{INDEX}stream/").status_code == 200
    sql(ledger_db, "DELETE FROM nucleus_ledger_streamstatus")


def test_a_list_of_sinks_that_is_no_list_does_not_stop_the_signer(site: SigningSite) -> None:
    cast = "::jsonb" if site.alias == "postgres" else ""
    sql(site.alias, f"UPDATE nucleus_ledger_checkpoint SET undelivered = '5'{cast}")
    Entry.objects.using(site.alias).append("payments", {"n": 5})
    assert site.make().failures == []
    left = stored.checkpoints(site.alias).values_list("undelivered", flat=True)
    assert list(left) == [[], []]


@sqlite_only
def test_a_page_that_cannot_be_shown_says_so(ledger_db: str) -> None:
    append(ledger_db, 5)
    guards.remove(connections[ledger_db])
    sql(
        ledger_db,
        "UPDATE nucleus_ledger_entry SET sequence = CAST(x'ff80' AS TEXT), "
        "prev_hash = zeroblob(32) WHERE sequence = 4",
    )
    boss = client_of(superuser=True)
    for page in ("entry/", "stream/"):
        response = boss.get(f"{INDEX}{page}")
        assert response.status_code == 200
    assert "This page cannot be shown" in boss.get(f"{INDEX}entry/").content.decode()
    assert boss.get(f"{INDEX}entry/{'0' * 64}/change/").status_code == 302


@sqlite_only
def test_a_verification_that_the_database_refuses_is_said_on_the_page(ledger_db: str) -> None:
    append(ledger_db, 5)
    sql(ledger_db, "DROP TABLE nucleus_ledger_verificationstep")
    boss = client_of(superuser=True)
    response = boss.post(f"{INDEX}stream/verify/", follow=True)
    assert response.status_code == 200
    said = [str(message) for message in response.context["messages"]]
    assert said == ["no such table: nucleus_ledger_verificationstep"]
