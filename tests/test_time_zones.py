"""Hosts with `USE_TZ = False`, and hosts that switch it: a stored moment stays what it was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from nucleus_ledger.models import Verification
from tests.processes import Site, lines_of

NAIVE = {"DJANGO_SETTINGS_MODULE": "tests.site_without_time_zones"}
FINISHED = (
    "from nucleus_ledger.models import Verification, StreamStatus\n"
    "run = Verification.objects.latest('pk')\n"
    "status = StreamStatus.objects.get()\n"
    "print(json.dumps([str(at) for at in (run.started_at, run.finished_at, status.verified_at)]))\n"
)


@pytest.fixture
def naive(site: Site) -> Site:
    appended = site.manage("append_entries", text=lines_of({"stream": "s", "payload": {"n": 1}}))
    assert appended.returncode == 0, appended.stderr
    return replace(site, environment=NAIVE)


def test_every_command(naive: Site, tmp_path: Any) -> None:
    appended = naive.manage("append_entries", text=lines_of({"stream": "s", "payload": {"n": 2}}))
    assert appended.returncode == 0, appended.stderr
    for arguments in ([], ["--incremental"], ["--deep"]):
        assert naive.report(*arguments)["exit_code"] == 0
    for command in (
        ("ledger_status",),
        ("ledger_status", "--format", "json"),
        ("export_ledger", str(tmp_path / "ledger.jsonl")),
    ):
        done = naive.manage(*command)
        assert done.returncode == 0, done.stderr
    naive.sql("UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE sequence = 0")
    assert naive.report()["result"] == "tampered"
    done = naive.manage("acknowledge_findings", "s", "--reason", "seen")
    assert done.returncode == 0, done.stderr
    assert naive.report("--accept-acknowledged")["result"] == "acknowledged"


def test_startup_and_admin(naive: Site) -> None:
    """A server starts and relies on the start of another; its pages verify in steps."""
    program = """
from django.contrib.auth.models import User
from django.test import Client
from nucleus_ledger import stepping
from nucleus_ledger.models import Verification
from nucleus_ledger.startup import check
client = Client()
assert client.get("/admin/", headers={"host": "localhost"}).status_code == 302
check("default")  # relies on the run that the middleware just made
runs = Verification.objects.filter(origin="startup").values_list("result", flat=True)
assert list(runs) == ["intact_since"], list(runs)
client.force_login(User.objects.create_superuser("owner"))
run = stepping.begin("default")
while not stepping.step("default", run.pk).finished:
    pass
stream = Stream.objects.get(name="s")
for page in ("", "nucleus_ledger/stream/", f"nucleus_ledger/stream/{stream.pk}/change/",
             "nucleus_ledger/stream/?integrity=intact", "nucleus_ledger/verification/",
             f"nucleus_ledger/verification/{run.pk}/change/", "nucleus_ledger/entry/"):
    answer = client.get("/admin/" + page, headers={"host": "localhost"})
    assert answer.status_code == 200, page
    print(answer.content.decode())
"""
    assert "UTC" in naive.python(program).stdout


@pytest.mark.parametrize("zone", ["America/St_Johns", "Pacific/Kiritimati", "UTC"])
def test_moments_stay_what_they_were_when_the_host_changes_its_mind(naive: Site, zone: str) -> None:
    assert naive.report()["exit_code"] == 0
    wrote = json.loads(naive.python(FINISHED).stdout)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(wrote[0])) < timedelta(minutes=5)
    for use_tz in ("0", "1"):
        environment = {**NAIVE, "SITE_USE_TZ": use_tz, "SITE_TIME_ZONE": zone}
        other = replace(naive, environment=environment)
        assert json.loads(other.python(FINISHED).stdout) == wrote
    assert other.report("--incremental")["result"] == "intact_since"


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "UTC"])
def test_both_hours_of_a_clock_that_is_set_back(ledger_db: str, zone: str) -> None:
    """02:30 is twice on that night in Amsterdam; and a filter finds what was stored."""
    first = datetime(2026, 10, 25, 0, 30, 0, 5, UTC)
    times = [first, first + timedelta(hours=1)]
    with override_settings(USE_TZ=False, TIME_ZONE=zone):
        rows = Verification.objects.using(ledger_db)
        keys = [rows.create(started_at=time, mode="full", origin="api").pk for time in times]
        assert [rows.get(pk=key).started_at for key in keys] == times
        assert {rows.get(pk=key).started_at.tzinfo for key in keys} == {UTC}
        assert [rows.get(started_at=time).pk for time in times] == keys
        assert list(rows.filter(started_at__gt=times[0]).values_list("pk", flat=True)) == keys[1:]
        assert rows.filter(started_at__range=times).count() == 2
        naive = datetime(2026, 7, 1, 12, 0)  # as django.utils.timezone.now() gives it there
        rows.create(started_at=naive, mode="full", origin="api")
        hour = 10 if zone == "Europe/Amsterdam" else 12
        assert rows.latest("pk").started_at == datetime(2026, 7, 1, hour, tzinfo=UTC)
    with override_settings(USE_TZ=True, TIME_ZONE=zone):
        assert [rows.get(pk=key).started_at for key in keys] == times
