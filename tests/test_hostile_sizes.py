"""However large or deep what a tamperer writes, a finding and a report of it stay small."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nucleus_ledger import stepping
from nucleus_ledger.core import hashing
from nucleus_ledger.management.outcomes import json_text
from nucleus_ledger.management.rendering import report_lines
from nucleus_ledger.models import Entry, Verification
from nucleus_ledger.models import Finding as StoredFinding
from tests.tamper import lay_bare, rehashed, sql

MOST = 64 * 1024  # bytes of one finding in a report
LONG, SHORTER = 1_000_000, 100_000
HOSTILE: dict[str, Any] = {
    "text": "x" * LONG,
    "wide text": "𝄞" * LONG,
    "controls": "\x1b" * SHORTER,
    "bytes": b"\xff" * SHORTER,
    "brackets": "[" * 960 + "]" * 960,
    "objects": '{"a":' * 500 + "1" + "}" * 500,
    "comb": "[" + ",".join("[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]" for _ in range(50)) + "]",
    "numbers": "[" + ",".join("1" for _ in range(990)) + "]",
    "digits": "1" * SHORTER,
    "key": '{"' + "k" * SHORTER + '":1}',
}
ENTRY = ("record_id", "timestamp", "payload", "meta", "prev_hash", "hash", "serialized", "sequence",
         "stream_id")  # fmt: skip
STREAM = ("name", "ledger", "length", "head_hash", "head_timestamp", "id")


def verified(alias: str) -> dict[str, Any]:
    """A report as JSON, which a terminal shows too: neither is longer than it needs to be."""
    found = Entry.objects.using(alias).verify_integrity()
    assert found.result == "tampered"
    report: dict[str, Any] = json.loads(json_text(found.as_dict(1), None))
    findings = [each for stream in report["streams"] for each in stream["findings"]]
    assert findings
    for finding in findings:
        size = len(json.dumps(finding, indent=2, ensure_ascii=False).encode())
        assert size < MOST, finding["kind"]
    rest = {**report, "streams": [{**each, "findings": []} for each in report["streams"]]}
    assert len(json.dumps(rest, indent=2)) < MOST
    assert max(map(len, report_lines(found))) < 5000
    return report


@pytest.fixture
def ledger(ledger_db: str) -> str:
    for stream in ("s", "t"):
        Entry.objects.using(ledger_db).append_batch(
            {"stream": stream, "payload": {"n": n}, "meta": {}, "record_id": f"{stream}{n}"}
            for n in range(4)
        )
    lay_bare(ledger_db)
    return ledger_db


@pytest.mark.parametrize("ledger_db", ["default"])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize(
    ("table", "column"),
    [*(("entry", each) for each in ENTRY), *(("stream", each) for each in STREAM)],
)
def test_columns_on_sqlite_which_holds_anything(
    ledger: str, db: None, table: str, column: str, value: Any
) -> None:
    where = "record_id = 's2'" if table == "entry" else "name = 's'"
    sql(ledger, f"UPDATE nucleus_ledger_{table} SET {column} = %s WHERE {where}", [value])
    verified(ledger)


@pytest.mark.parametrize("value", ["brackets", "objects", "comb", "numbers", "key", "wide text"])
@pytest.mark.parametrize("member", ["payload", "meta", "id", "schema", "ledger", "stream", "odd"])
def test_texts_whose_hash_is_right(ledger: str, member: str, value: str) -> None:
    text, _hash = rehashed(
        Entry.objects.using(ledger).get(record_id="s2").serialized, **{member: "@"}
    )
    hostile = HOSTILE[value]
    text = text.replace('"@"', json.dumps(hostile) if value == "wide text" else hostile)
    hash_ = bytes.fromhex(hashing.hash_text(text))
    sql(
        ledger,
        "UPDATE nucleus_ledger_entry SET serialized = %s, hash = %s WHERE record_id = 's2'",
        [text, hash_],
    )
    report = verified(ledger)
    kinds = {each["kind"] for stream in report["streams"] for each in stream["findings"]}
    assert kinds & {"field_mismatch", "undecodable", "unknown_schema"}


@pytest.mark.parametrize("ledger_db", ["default"])
def test_a_stored_finding_and_one_found_in_steps_are_small_too(ledger: str, db: None) -> None:
    sql(ledger, "UPDATE nucleus_ledger_stream SET name = %s WHERE name = 's'", ["𝄞" * LONG])
    sql(ledger, "UPDATE nucleus_ledger_entry SET payload = %s WHERE record_id = 's2'",
        [HOSTILE["brackets"]])  # fmt: skip
    run = stepping.begin(ledger)
    while not stepping.step(ledger, run.pk).finished:
        pass
    Entry.objects.using(ledger).verify_integrity()
    assert Verification.objects.using(ledger).filter(result="tampered").count() == 2
    for found in StoredFinding.objects.using(ledger).all():
        assert len(found.stream) <= 250
        assert len(json.dumps([found.expected, found.actual, found.message])) < MOST
