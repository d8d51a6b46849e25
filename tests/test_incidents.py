"""Known breaks: what goes on after findings, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from nucleus_ledger import guards, incidents
from nucleus_ledger.conf import INCIDENTS
from nucleus_ledger.core.report import Report
from nucleus_ledger.errors import IntegrityFailed, InvalidData
from nucleus_ledger.models import Entry, Stream, StreamStatus
from tests.processes import Site, lines_of
from tests.tamper import sql

ENTRY, STREAM = "nucleus_ledger_entry", "nucleus_ledger_stream"


@pytest.fixture
def broken(ledger_db: str) -> str:
    Entry.objects.using(ledger_db).append_batch(
        [{"stream": "s", "record_id": f"r{n}", "payload": {"n": n}} for n in range(6)]
    )
    guards.remove(connections[ledger_db])
    return ledger_db


def verify(alias: str, **options: Any) -> Report:
    return Entry.objects.using(alias).verify_integrity(**options)


def append(alias: str, stream: str = "s") -> Entry:
    return Entry.objects.using(alias).append(stream, {"more": True})


BREAKS = {
    "column in the middle": f"UPDATE {ENTRY} SET record_id = 'x' WHERE sequence = 2",
    "text in the middle": f"UPDATE {ENTRY} SET serialized = '{{}}' WHERE sequence = 2",
    "entry deleted": f"DELETE FROM {ENTRY} WHERE sequence = 2",
    "last entry's column": f"UPDATE {ENTRY} SET record_id = 'x' WHERE sequence = 5",
    "tail cut": f"DELETE FROM {ENTRY} WHERE sequence > 3",
    "head time": f"UPDATE {STREAM} SET head_timestamp = 1 WHERE name = 's'",
}


@pytest.mark.parametrize("name", BREAKS)
def test_acknowledged_and_on_with_it(broken: str, name: str) -> None:
    sql(broken, BREAKS[name])
    assert verify(broken).result == "tampered"
    with pytest.raises(IntegrityFailed):
        append(broken)
    entry, report = incidents.acknowledge(broken, "s", reason="restored by hand", by="owner")
    assert entry.stream.name == INCIDENTS
    assert entry.payload["reason"] == "restored by hand"
    assert entry.payload["findings_total"] == report.findings_total == 1
    assert StreamStatus.objects.using(broken).get(stream__name="s").result == "acknowledged"
    assert append(broken).sequence == 6
    for mode in ("incremental", "full", "incremental"):
        again = verify(broken, mode=mode)
        assert again.result == "acknowledged", again.findings
        assert again.intact is False
        assert (again.exit_code(), again.exit_code(accept_acknowledged=True)) == (1, 0)
        append(broken)
    with pytest.raises(IntegrityFailed, match="acknowledged already"):
        incidents.acknowledge(broken, "s", reason="again")


def test_a_new_finding_stops_it_again_and_can_be_acknowledged_too(broken: str) -> None:
    sql(broken, BREAKS["column in the middle"])
    incidents.acknowledge(broken, "s", reason="first")
    append(broken)
    sql(broken, f"UPDATE {ENTRY} SET record_id = 'y' WHERE sequence = 4")
    report = verify(broken)
    assert report.result == "tampered"
    assert [finding.sequence for finding in report.findings] == [2, 4]
    with pytest.raises(IntegrityFailed):
        append(broken)
    incidents.acknowledge(broken, "s", reason="second")
    append(broken)
    sql(broken, f"UPDATE {ENTRY} SET record_id = 'z' WHERE sequence = 7")
    assert verify(broken, mode="incremental").result == "tampered"
    assert verify(broken).result == "tampered"
    incidents.acknowledge(broken, "s", reason="third")
    assert verify(broken).result == "acknowledged"


def test_other_findings_than_the_acknowledged_are_tampering(broken: str) -> None:
    sql(broken, BREAKS["column in the middle"])
    incidents.acknowledge(broken, "s", reason="seen")
    sql(broken, f"UPDATE {ENTRY} SET record_id = 'other' WHERE sequence = 2")
    assert verify(broken).result == "tampered"


def test_an_intact_full_verification_lifts_it(broken: str) -> None:
    sql(broken, BREAKS["column in the middle"])
    incidents.acknowledge(broken, "s", reason="seen")
    sql(broken, f"UPDATE {ENTRY} SET record_id = 'r2' WHERE sequence = 2")
    assert verify(broken).result == "intact"
    assert verify(broken).result == "intact"


def test_nothing_to_acknowledge(ledger_db: str) -> None:
    append(ledger_db)
    with pytest.raises(IntegrityFailed, match="no finding"):
        incidents.acknowledge(ledger_db, "s", reason="x")
    with pytest.raises(InvalidData, match="reason"):
        incidents.acknowledge(ledger_db, "s", reason=" ")
    assert not Stream.objects.using(ledger_db).filter(name=INCIDENTS).exists()


def test_a_broken_record_of_incidents_can_itself_be_acknowledged(broken: str) -> None:
    sql(broken, BREAKS["column in the middle"])
    first, _ = incidents.acknowledge(broken, "s", reason="first")
    sql(broken, f"UPDATE {ENTRY} SET timestamp = 1 WHERE serialized = %s", [first.serialized])
    assert verify(broken).result == "tampered"
    entry, _ = incidents.acknowledge(broken, INCIDENTS, reason="the record was edited")
    assert entry.sequence == 1
    report = verify(broken)
    assert report.result == "acknowledged", report.findings
    with pytest.raises(InvalidData, match="reserved"):
        append(broken, INCIDENTS)


def test_a_forged_acknowledgement_is_none(broken: str) -> None:
    """Its text edited in place: the hash no longer fits, so it settles nothing."""
    sql(broken, BREAKS["column in the middle"])
    entry, _ = incidents.acknowledge(broken, "s", reason="first")
    sql(broken, f"UPDATE {ENTRY} SET record_id = 'y' WHERE sequence = 4")
    found = verify(broken)
    digest = next(part.findings_digest for part in found.streams if part.name == "s")
    forged = entry.serialized.replace(entry.payload["digest"], str(digest))
    sql(broken, f"UPDATE {ENTRY} SET serialized = %s WHERE record_id = %s",
        [forged, entry.record_id])  # fmt: skip
    assert {part.result for part in verify(broken).streams} == {"tampered"}


def test_the_command(site: Site) -> None:
    site.manage("append_entries", text=lines_of(*({"stream": "s", "payload": {}} for _ in "123")))
    done = site.manage("acknowledge_findings", "s", "--reason", "x")
    assert (done.returncode, "no finding" in done.stderr) == (2, True)
    site.sql("UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE sequence = 1")
    assert site.manage("acknowledge_findings", "s").returncode == 2
    assert site.manage("acknowledge_findings", "none", "--reason", "x").returncode == 2
    done = site.manage("acknowledge_findings", "s", "--reason", "disk fault on 1 May")
    assert done.returncode == 0, done.stderr
    assert "1 finding(s) in stream 's' acknowledged" in done.stdout
    assert (
        site.manage("append_entries", text=lines_of({"stream": "s", "payload": {}})).returncode == 0
    )
    assert site.manage("verify_ledger").returncode == 1
    assert site.manage("verify_ledger", "--accept-acknowledged").returncode == 0
    assert site.report()["result"] == "acknowledged"
