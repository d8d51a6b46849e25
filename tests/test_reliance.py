"""What is relied on of what verifications stored: only what this site wrote, and nothing ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client

from nucleus_ledger import guards, reliance, row_signatures, startup, statuses, stored_breaks
from nucleus_ledger.core.report import Report
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry, Stream, StreamStatus, Verification
from tests.tamper import edit_payload, sql

STATUS, RUN = "nucleus_ledger_streamstatus", "nucleus_ledger_verification"
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Two streams of five entries, verified in full."""
    for stream in ("assets", "payments"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"n": n}} for n in range(5)
        )
    assert verify(ledger_db).result == "intact"
    return ledger_db


def verify(alias: str, **options: Any) -> Report:
    return Entry.objects.using(alias).verify_integrity(**options)


def status(alias: str, stream: str = "payments") -> StreamStatus:
    return StreamStatus.objects.using(alias).select_related("stream").get(stream__name=stream)


def names(alias: str) -> list[str]:
    """What is shown of each stream, by one function and by the condition for lists alike."""
    now = datetime.now(UTC)
    rows = Stream.objects.using(alias).select_related("status").order_by("name")
    shown = [reliance.status_name(getattr(row, "status", None), row, now) for row in rows]
    by_condition = {
        row.name: name
        for name, condition in reliance.conditions(alias, now).items()
        for row in rows.filter(condition)
    }
    assert [by_condition[row.name] for row in rows] == shown
    return list(shown)


def startup_run(alias: str) -> Verification:
    startup.check(alias)
    return Verification.objects.using(alias).filter(origin="startup").latest("pk")


def relied(alias: str) -> bool:
    """Whether the next start relies on an earlier one."""
    before = Verification.objects.using(alias).count()
    startup.check(alias)
    return Verification.objects.using(alias).count() == before


def test_a_start_relies_on_another_that_this_site_stored(ledger: str) -> None:
    startup_run(ledger)
    assert relied(ledger)


def test_a_row_made_by_hand_does_not_switch_startup_verification_off(ledger: str) -> None:
    Verification.objects.using(ledger).create(
        started_at=datetime.now(UTC), finished_at=datetime.now(UTC), origin="startup",
        mode="full", result="intact", streams=2, entries=10,
    )  # fmt: skip
    assert not relied(ledger)


@pytest.mark.parametrize(
    "change",
    [
        "origin = 'startup'",
        "mode = 'full', origin = 'startup'",
        "result = 'intact'",
        "entries = 1000",
        "signature = ''",
        "signature = 'é'",
    ],
)
def test_no_run_can_be_edited_into_one_to_rely_on(ledger: str, change: str) -> None:
    run = startup_run(ledger)
    if "origin" in change:  # a command's run is not a startup's
        Verification.objects.using(ledger).filter(pk=run.pk).delete()
    else:
        sql(ledger, f"UPDATE {RUN} SET entries = entries + 1")
    sql(ledger, f"UPDATE {RUN} SET {change}, finished_at = %s", [datetime.now(UTC)])
    assert not relied(ledger)


def test_a_run_that_ended_in_the_future_is_not_relied_on(ledger: str) -> None:
    run = startup_run(ledger)
    run.finished_at = FUTURE
    row_signatures.sign_run(ledger, run)  # by a process whose clock is ahead
    run.save(using=ledger)
    assert not relied(ledger)


def test_a_run_of_another_ledger_or_key_is_not_relied_on(ledger: str, settings: Any) -> None:
    run = startup_run(ledger)
    assert row_signatures.genuine_runs(ledger, [run]) == [run]
    here = settings.NUCLEUS_LEDGER
    settings.NUCLEUS_LEDGER = {**here, "LEDGER_ID": "another"}
    assert row_signatures.genuine_runs(ledger, [run]) == []
    settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, "FORMER_LEDGER_IDS": [here["LEDGER_ID"]]}
    assert row_signatures.genuine_runs(ledger, [run]) == [run]
    settings.NUCLEUS_LEDGER = here
    settings.SECRET_KEY, old = "a new key", settings.SECRET_KEY
    assert row_signatures.genuine_runs(ledger, [run]) == []
    assert names(ledger) == ["unknown", "unknown"]
    settings.SECRET_KEY_FALLBACKS = [old]
    assert row_signatures.genuine_runs(ledger, [run]) == [run]
    assert names(ledger) == ["intact", "intact"]


def test_a_run_carried_over_from_another_database_is_not_relied_on(
    ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = startup_run(ledger)
    guards.remove(connections[ledger])
    if ledger == "postgres":
        sql(ledger, "SET CONSTRAINTS ALL IMMEDIATE")
    sql(ledger, "DELETE FROM nucleus_ledger_entry WHERE stream_id = "
        "(SELECT id FROM nucleus_ledger_stream WHERE name = 'assets')")  # fmt: skip
    assert row_signatures.genuine_runs(ledger, [run]) == []


def test_statuses_that_somebody_wrote_are_not_known_and_are_read_in_full(ledger: str) -> None:
    edit_payload(ledger, "payments-2")
    assert verify(ledger).result == "tampered"
    assert names(ledger) == ["intact", "tampered"]
    sql(ledger, f"UPDATE {STATUS} SET result = 'intact' WHERE result = 'tampered'")
    assert names(ledger) == ["intact", "unknown"]
    report = verify(ledger, mode="incremental", store=False)
    assert report.result == "tampered"  # read from its first entry, because nothing is known
    assert "the stored status of 'payments' was changed" in report.warnings[0]
    with pytest.raises(IntegrityFailed):  # the findings are newer than what the status says
        startup.check(ledger)


@pytest.mark.parametrize("how", ["put back", "deleted", "edited", "edited to be later"])
def test_a_break_is_known_by_its_findings_too(ledger: str, how: str) -> None:
    """An older status put back is genuine; the findings of a later run contradict it."""
    (before,) = StreamStatus.objects.using(ledger).filter(stream__name="payments").values()
    edit_payload(ledger, "payments-2")
    verify(ledger)
    edit_payload(ledger, "payments-2", '{"n":2}')
    rows = StreamStatus.objects.using(ledger).filter(stream__name="payments")
    if how == "put back":
        rows.update(**before)
    elif how == "deleted":
        rows.delete()
    elif how == "edited":
        rows.update(result="intact")
    else:
        rows.update(result="intact", run=1_000_000)
    assert [each.stream for each in stored_breaks.known_breaks(ledger)] == ["payments"]
    with pytest.raises(IntegrityFailed, match="payments"):
        startup.check(ledger)
    incremental = verify(ledger, mode="incremental")
    assert [f.kind for f in incremental.findings] == ["field_mismatch"]
    with pytest.raises(IntegrityFailed):  # that run put the status right
        Entry.objects.using(ledger).append("payments", {})
    assert verify(ledger).result == "intact"
    assert stored_breaks.known_breaks(ledger) == []
    Entry.objects.using(ledger).append("payments", {})


def test_a_red_status_cannot_be_edited_into_one_that_is_easily_lifted(ledger: str) -> None:
    edit_payload(ledger, "payments-2")
    verify(ledger)
    edit_payload(ledger, "payments-2", '{"n":2}')
    sql(ledger, f"UPDATE {STATUS} SET evidence_size = NULL, length = 0 WHERE result = 'tampered'")
    sql(ledger, f"UPDATE {STATUS} SET run = 0 WHERE result = 'tampered'")
    report = verify(ledger)
    assert report.result == "tampered"
    assert any("what found it is not known any more" in each for each in report.warnings)
    with pytest.raises(IntegrityFailed):
        Entry.objects.using(ledger).append("payments", {})
    call_command("acknowledge_findings", "payments", reason="the key was lost", database=ledger)
    Entry.objects.using(ledger).append("payments", {})
    assert verify(ledger).result == "intact"


@pytest.mark.parametrize("run", [1_000_000, 9_000_000_000_000_000_000, -5])
def test_a_red_status_of_a_run_that_never_was_has_a_way_out(ledger: str, run: int) -> None:
    """Later than every run to come, it could be lifted by none, and not be put on record either."""
    sql(ledger, f"UPDATE {STATUS} SET result = 'tampered', run = %s", [run])
    report = verify(ledger)
    assert report.result == "tampered"
    assert all("it began later" not in each for each in report.warnings)
    for stream in ("payments", "assets"):
        call_command("acknowledge_findings", stream, reason="nobody found it", database=ledger)
    assert verify(ledger).result == "intact"
    Entry.objects.using(ledger).append("payments", {})


@pytest.mark.parametrize("kind", ["link_broken", "checkpoint_mismatch"])
def test_findings_of_a_run_that_never_was_say_nothing_against_a_status(
    ledger: str, kind: str
) -> None:
    key = 9_000_000 if ledger == "default" else 9_000_000_000_000_000_000
    now = datetime.now(UTC)
    run = Verification.objects.using(ledger).create(
        pk=key, started_at=now, finished_at=now, mode="full", result="tampered"
    )
    run.findings.create(kind=kind, stream="payments", sequence=1, message="made up")
    assert stored_breaks.known_breaks(ledger) == []
    assert verify(ledger, store=False).result == "intact"
    # Without a status nothing tells that they are made up.
    StreamStatus.objects.using(ledger).filter(stream__name="payments").delete()
    assert [each.stream for each in stored_breaks.known_breaks(ledger)] == ["payments"]
    report = verify(ledger)
    assert all("it began later" not in each for each in report.warnings)
    if kind == "checkpoint_mismatch":
        assert report.result == "tampered"
        call_command("acknowledge_findings", "payments", reason="made up", database=ledger)
    assert verify(ledger).result == "intact"


def test_keys_of_runs_that_begin_anew_leave_a_break_that_can_be_lifted(ledger: str) -> None:
    """After a dump without its verifications each run has a smaller key than the stored break."""
    edit_payload(ledger, "payments-2")
    verify(ledger)
    edit_payload(ledger, "payments-2", '{"n":2}')
    red = status(ledger)
    red.run = 1_000_000
    row_signatures.sign_statuses(ledger, [red])
    red.save(using=ledger)
    Verification.objects.using(ledger).all().delete()
    assert verify(ledger).result == "intact"
    Entry.objects.using(ledger).append("payments", {})


@pytest.mark.parametrize("column", ["verified_at", "full_at"])
def test_a_status_of_the_future_is_stale_and_replaced(ledger: str, column: str) -> None:
    ahead = status(ledger)
    setattr(ahead, column, FUTURE)
    row_signatures.sign_statuses(ledger, [ahead])  # by a process whose clock is ahead
    ahead.save(using=ledger)
    assert names(ledger) == ["intact", "stale"]
    report = verify(ledger, mode="incremental", store=False)
    if column == "full_at":
        assert "last read in full in the future" in report.warnings[0]
        assert {stream.checked_from for stream in report.streams} == {0, 4}
    assert verify(ledger).result == "intact"
    assert names(ledger) == ["intact", "intact"]


def test_a_red_status_of_the_future_is_lifted_by_a_later_run(ledger: str) -> None:
    edit_payload(ledger, "payments-2")
    verify(ledger)
    edit_payload(ledger, "payments-2", '{"n":2}')
    red = status(ledger)
    red.verified_at = red.full_at = FUTURE
    row_signatures.sign_statuses(ledger, [red])
    red.save(using=ledger)
    assert verify(ledger).result == "intact"
    Entry.objects.using(ledger).append("payments", {})


def test_an_older_run_that_ends_later_lifts_nothing_and_hides_nothing(ledger: str) -> None:
    """Two runs at once: the one begun later counts, unless the earlier one found something."""
    earlier = statuses.begin(ledger, started_at=FUTURE, origin="api", user="", mode="full")
    assert earlier is not None
    edit_payload(ledger, "payments-2")
    later = verify(ledger)
    edit_payload(ledger, "payments-2", '{"n":2}')
    report = verify(ledger, run=earlier)
    assert report.result == "tampered"  # what is known now stands in its report
    assert status(ledger).run == later.verification
    assert verify(ledger).result == "intact"
    earlier = statuses.begin(ledger, started_at=FUTURE, origin="api", user="", mode="full")
    verify(ledger)
    edit_payload(ledger, "assets-2")
    verify(ledger, run=earlier)
    assert names(ledger)[0] == "tampered"


def test_one_word_for_stale_everywhere(ledger: str, capsys: Any, settings: Any) -> None:
    """After 40 days the command said intact and the admin stale."""
    for days, expected in [(6, "intact"), (8, "stale"), (40, "stale")]:
        for row in StreamStatus.objects.using(ledger).all():
            row.verified_at = datetime.now(UTC) - timedelta(days=days)
            row.full_at = datetime.now(UTC) - timedelta(days=days)
            row_signatures.sign_statuses(ledger, [row])
            row.save(using=ledger)
        assert names(ledger) == [expected, expected]
        call_command("ledger_status", database=ledger)
        assert f"  {expected}, {days} d ago" in capsys.readouterr().out


def test_ledger_status_says_what_is_wrong_with_a_status(ledger: str, capsys: Any) -> None:
    sql(ledger, f"UPDATE {STATUS} SET length = length - 1")
    call_command("ledger_status", database=ledger)
    said = capsys.readouterr().out
    assert "warning: stream 'payments': its status was changed in the database" in said
    assert " unknown" in said
    assert " intact" not in said


def test_a_status_of_entries_that_are_gone_is_not_green(ledger: str) -> None:
    guards.remove(connections[ledger])
    sql(ledger, "UPDATE nucleus_ledger_stream SET length = 4 WHERE name = 'payments'")
    assert names(ledger) == ["intact", "unknown"]
    sql(ledger, "UPDATE nucleus_ledger_stream SET length = 5, head_hash = %s "
        "WHERE name = 'payments'", [b"\7" * 32])  # fmt: skip
    assert names(ledger) == ["intact", "unknown"]


def test_the_pages_show_unsigned_runs_and_statuses_as_unknown(
    ledger: str, client: Client, settings: Any
) -> None:
    if ledger != "default":
        settings.DATABASE_ROUTERS = ["tests.test_admin.LedgerOnPostgres"]
    client.force_login(User.objects.create_superuser("boss"))
    runs, streams = "/admin/nucleus_ledger/verification/", "/admin/nucleus_ledger/stream/"
    assert b"ledger-status--intact" in client.get(runs).content
    assert b"ledger-status--intact" in client.get(streams).content
    sql(ledger, f"UPDATE {RUN} SET entries = 1000000")
    sql(ledger, f"UPDATE {STATUS} SET length = length - 1")
    run = Verification.objects.using(ledger).get()
    key = status(ledger).stream_id
    for page in (runs, f"{runs}{run.pk}/change/", streams, f"{streams}{key}/change/"):
        content = client.get(page).content
        assert b"ledger-status--unknown" in content, page
        row = content.split(b'id="result_list"')[-1].split(b"</form>")[0]
        assert b"ledger-status--intact" not in row, page
    assert b"was changed in the database" in client.get(f"{streams}{key}/change/").content
    index = client.get("/admin/nucleus_ledger/").content
    assert b"ledger-status--unknown" in index


@pytest.mark.parametrize("alias", ["default"])  # SQLite lets any column hold anything
@pytest.mark.parametrize("table", [StreamStatus, Verification])
def test_what_cannot_be_read_of_a_status_or_a_run_is_none(
    ledger: str, table: type[Any], client: Client, request: pytest.FixtureRequest
) -> None:
    client.force_login(User.objects.create_superuser("boss"))
    sql(ledger, "PRAGMA ignore_check_constraints = 1")
    request.addfinalizer(lambda: sql(ledger, "PRAGMA ignore_check_constraints = 0"))
    key = table._meta.pk.column
    for column in [field.column for field in table._meta.concrete_fields]:
        # SQLite's driver reads what is no number in a boolean's column as false, which they are.
        if column in (key, "verification_id", "deep", "validated"):
            continue
        for value in ("'x'", "'2100-13-45 00:00:00'", "x'00ff'", "-1", "1e300", "''"):
            with transaction.atomic(using=ledger):
                where = f"WHERE {column} IS NOT {value}"
                if not sql(ledger, f"UPDATE {table._meta.db_table} SET {column} = {value} {where}"):
                    continue
                case = (column, value)
                if table is StreamStatus:
                    assert "intact" not in names(ledger), case
                    report = verify(ledger, mode="incremental")
                    assert report.errors == [], case
                    assert {stream.checked_from for stream in report.streams} == {0}, case
                    assert any("stored status" in each for each in report.warnings), case
                else:
                    run = Verification.objects.using(ledger).get()
                    if not column.startswith("lease"):  # what a run under way holds
                        assert row_signatures.genuine_runs(ledger, [run]) == [], case
                    startup.check(ledger)
                for path in ("stream", "verification"):
                    page = client.get(f"/admin/nucleus_ledger/{path}/")
                    assert page.status_code == 200, case
                call_command("ledger_status", database=ledger)
                transaction.set_rollback(True, using=ledger)


def test_runs_stay_what_they_are_when_an_older_stream_gets_its_first_entry(ledger_db: str) -> None:
    for name in ("early", "late"):
        Stream(name=name).save(using=ledger_db)
    Entry.objects.using(ledger_db).append("late", {})
    run = startup_run(ledger_db)
    Entry.objects.using(ledger_db).append("early", {})
    assert row_signatures.genuine_runs(ledger_db, [run]) == [run]


def test_runs_over_an_empty_ledger_stay_what_they_are_and_are_not_relied_on(ledger_db: str) -> None:
    run = startup_run(ledger_db)
    Entry.objects.using(ledger_db).append("first", {})
    assert row_signatures.genuine_runs(ledger_db, [run]) == [run]
    assert not relied(ledger_db)
