"""Raw SQL behind Django's back, on both databases, with every guard and constraint gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections, transaction

from nucleus_ledger import guards, rowsource, stepping, stored_breaks
from nucleus_ledger.checking import Options, Plan, check_range, check_stream
from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry, Stream, StreamStatus, VerificationStep
from nucleus_ledger.workers import entries_of, ranges
from tests.tamper import lay_bare, rehashed, sql

Expected = list[tuple[Any, ...]]
ENTRY = "UPDATE nucleus_ledger_entry SET"
STREAM = "UPDATE nucleus_ledger_stream SET"
TEXT = "SELECT serialized FROM nucleus_ledger_entry WHERE sequence = %s"


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Six entries in `proofs`, with nothing left to protect them."""
    Entry.objects.using(ledger_db).append_batch(
        [
            {
                "stream": "proofs",
                "record_id": f"record-{n}",
                "timestamp": 1000 + 10 * n,
                "payload": {"n": 1 if n == 4 else n, "who": "oid:onoal:user:alice"},
                "meta": {"source": "api"} if n == 1 else None,
            }
            for n in range(6)
        ]
    )
    lay_bare(ledger_db)
    return ledger_db


def findings(alias: str, **options: Any) -> Expected:
    report = Entry.objects.using(alias).verify_integrity(**options)
    assert report.findings_total == len(report.findings)
    return [
        (finding.kind, finding.sequence, *([finding.fields] if finding.fields else []))
        for finding in report.findings
    ]


def forge(alias: str, sequence: int, **changes: Any) -> None:
    """Change the text of an entry and give it the hash that fits."""
    old = Entry.objects.using(alias).get(sequence=sequence).serialized
    text, digest = rehashed(old, **changes)
    columns = {
        {"id": "record_id"}.get(name, name): value
        for name, value in changes.items()
        if name not in ("ledger", "schema", "stream", "prev_hash")
    }
    for name, value in columns.items():
        stored = canonical.dumps(value) if name in ("payload", "meta") else value
        cast = "::jsonb" if alias == "postgres" and name in ("payload", "meta") else ""
        sql(alias, f"{ENTRY} {name} = %s{cast} WHERE sequence = %s", [stored, sequence])
    if "prev_hash" in changes:
        link = bytes.fromhex(changes["prev_hash"])
        sql(alias, f"{ENTRY} prev_hash = %s WHERE sequence = %s", [link, sequence])
    sql(alias, f"{ENTRY} serialized = %s, hash = %s WHERE sequence = %s", [text, digest, sequence])


def forge_all(alias: str, start: int = 0, **changes: Any) -> None:
    """Rewrite a suffix so that every link fits again, and the head row with it."""
    last = Entry.objects.using(alias).count() - 1
    for sequence in range(start, last + 1):
        links = {}
        if sequence:
            before = Entry.objects.using(alias).get(sequence=sequence - 1)
            links = {"prev_hash": before.hash}
        forge(alias, sequence, **changes, **links)
    head = bytes.fromhex(Entry.objects.using(alias).get(sequence=last).hash)
    sql(alias, f"{STREAM} head_hash = %s", [head])


def swap(alias: str, one: int, other: int) -> None:
    for old, new in ((one, -1), (other, one), (-1, other)):
        sql(alias, f"{ENTRY} sequence = %s WHERE sequence = %s", [new, old])


def delete(alias: str, *sequences: int) -> None:
    for sequence in sequences:
        sql(alias, "DELETE FROM nucleus_ledger_entry WHERE sequence = %s", [sequence])


def append_behind(alias: str) -> None:
    sql(
        alias,
        "INSERT INTO nucleus_ledger_entry SELECT * FROM nucleus_ledger_entry WHERE sequence = 5",
    )
    last = Entry.objects.using(alias).filter(sequence=5).first()
    assert last is not None
    text, digest = rehashed(last.serialized, sequence=6, prev_hash=last.hash)
    other = "ctid" if alias == "postgres" else "rowid"
    sql(
        alias,
        f"{ENTRY} serialized = %s, hash = %s, prev_hash = %s, sequence = 6 WHERE {other} = "
        f"(SELECT MAX({other}) FROM nucleus_ledger_entry)",
        [text, digest, bytes.fromhex(last.hash)],
    )


def text_of(alias: str, sequence: int) -> str:
    return str(Entry.objects.using(alias).get(sequence=sequence).serialized)


def edit_text(alias: str, sequence: int, change: Callable[[str], str], rehash: bool) -> None:
    text = change(text_of(alias, sequence))
    sql(alias, f"{ENTRY} serialized = %s WHERE sequence = %s", [text, sequence])
    if rehash:
        digest = bytes.fromhex(hashing.hash_text(text))
        sql(alias, f"{ENTRY} hash = %s WHERE sequence = %s", [digest, sequence])


def json_column(alias: str, name: str, text: str, sequence: int) -> None:
    cast = "::jsonb" if alias == "postgres" else ""
    sql(alias, f"{ENTRY} {name} = %s{cast} WHERE sequence = %s", [text, sequence])


SITUATIONS: dict[str, tuple[Callable[[str], Any], Expected]] = {
    "nothing done": (lambda a: None, []),
    "text edited, hash left": (
        lambda a: edit_text(a, 2, lambda t: t.replace("alice", "mallory"), rehash=False),
        [("hash_mismatch", 2)],
    ),
    "text and hash edited": (
        lambda a: forge(a, 2, payload={"forged": True}),
        [("link_broken", 3)],
    ),
    "last entry's text and hash edited": (
        lambda a: forge(a, 5, payload={"forged": True}),
        [("head_mismatch", 5)],
    ),
    "hash column only": (
        lambda a: sql(a, f"{ENTRY} hash = %s WHERE sequence = 2", [b"\1" * 32]),
        [("hash_mismatch", 2)],
    ),
    "hash column of the last entry only": (
        lambda a: sql(a, f"{ENTRY} hash = %s WHERE sequence = 5", [b"\1" * 32]),
        [("hash_mismatch", 5)],
    ),
    "payload column": (
        lambda a: json_column(a, "payload", '{"n":2,"who":"mallory"}', 2),
        [("field_mismatch", 2, ("payload",))],
    ),
    "payload column, by type only": (
        lambda a: json_column(a, "payload", '{"n":true,"who":"oid:onoal:user:alice"}', 4),
        [("field_mismatch", 4, ("payload",))],
    ),
    "meta column emptied": (
        lambda a: sql(a, f"{ENTRY} meta = NULL WHERE sequence = 1"),
        [("field_mismatch", 1, ("meta",))],
    ),
    "meta column, null to empty object": (
        lambda a: json_column(a, "meta", "{}", 2),
        [("field_mismatch", 2, ("meta",))],
    ),
    "meta column, SQL null to JSON null": (
        lambda a: json_column(a, "meta", "null", 2),
        [("field_mismatch", 2, ("meta",))],
    ),
    "two columns": (
        lambda a: sql(a, f"{ENTRY} record_id = 'x', timestamp = 5 WHERE sequence = 2"),
        [("field_mismatch", 2, ("record_id", "timestamp"))],
    ),
    "prev_hash column only": (
        lambda a: sql(a, f"{ENTRY} prev_hash = %s WHERE sequence = 3", [b"\1" * 32]),
        [("field_mismatch", 3, ("prev_hash",))],
    ),
    "one deleted": (lambda a: delete(a, 2), [("sequence_gap", 2)]),
    "two neighbours deleted": (lambda a: delete(a, 2, 3), [("sequence_gap", 2)]),
    "first deleted": (lambda a: delete(a, 0), [("sequence_gap", 0)]),
    "two swapped": (
        lambda a: swap(a, 2, 3),
        [("field_mismatch", 2, ("sequence",)), ("field_mismatch", 3, ("sequence",))],
    ),
    "the last two swapped": (
        lambda a: swap(a, 4, 5),
        [("field_mismatch", 4, ("sequence",)), ("field_mismatch", 5, ("sequence",))],
    ),
    "tail cut": (lambda a: delete(a, 4, 5), [("head_mismatch", 5)]),
    "all entries gone": (lambda a: delete(a, *range(6)), [("head_mismatch", 5)]),
    "an entry behind the head": (append_behind, [("head_mismatch", 5)]),
    "a row repeated": (
        lambda a: sql(a, "INSERT INTO nucleus_ledger_entry SELECT * FROM nucleus_ledger_entry "
                         "WHERE sequence = 1"),
        [("sequence_repeated", 1)],
    ),
    "a row numbered below zero": (
        lambda a: sql(a, f"{ENTRY} sequence = -7 WHERE sequence = 2"),
        [("sequence_repeated", -7), ("sequence_gap", 2)],
    ),
    "a row without a number": (
        lambda a: sql(a, f"{ENTRY} sequence = NULL WHERE sequence = 5"),
        [("head_mismatch", 5)],
    ),
    "entries of no stream": (
        lambda a: sql(a, f"{ENTRY} stream_id = NULL WHERE sequence = 5"),
        [("head_mismatch", 5), ("missing_stream", 5)],
    ),
    "stream row gone": (
        lambda a: sql(a, "DELETE FROM nucleus_ledger_stream"),
        [("missing_stream", 0)],
    ),
    "stream key edited": (
        lambda a: sql(a, f"{STREAM} id = 77 + id"),
        [("head_mismatch", 5), ("missing_stream", 0)],
    ),
    "stream renamed": (
        lambda a: sql(a, f"{STREAM} name = 'renamed'"),
        [("field_mismatch", 0, ("stream",))],
    ),
    "ledger of the stream row": (
        lambda a: sql(a, f"{STREAM} ledger = 'staging'"),
        [("head_mismatch", 5)],
    ),
    "length of the stream row, down": (
        lambda a: sql(a, f"{STREAM} length = 5"),
        [("head_mismatch", 4)],
    ),
    "length of the stream row, up": (
        lambda a: sql(a, f"{STREAM} length = 9000000000"),
        [("head_mismatch", 8999999999)],
    ),
    "head hash": (
        lambda a: sql(a, f"{STREAM} head_hash = %s", [b"\0" * 32]),
        [("head_mismatch", 5)],
    ),
    "head time": (
        lambda a: sql(a, f"{STREAM} head_timestamp = 1"),
        [("head_mismatch", 5)],
    ),
    "another ledger, all rehashed": (
        lambda a: (forge_all(a, ledger="staging"), sql(a, f"{STREAM} ledger = 'staging'")),
        [("wrong_ledger", 0)],
    ),
    "unknown tag, all rehashed": (
        lambda a: forge_all(a, schema="nucleus-ledger/v9"),
        [("unknown_schema", 0)],
    ),
    "time goes back, rehashed from there": (
        lambda a: (forge(a, 2, timestamp=1500), forge_all(a, 3)),
        [("link_broken", 3), ("timestamp_out_of_order", 3)],
    ),
    "not canonical: a space": (
        lambda a: edit_text(a, 5, lambda t: t.replace(":", ": ", 1), rehash=True),
        [("not_canonical", 5), ("head_mismatch", 5)],
    ),
    "no JSON, rehashed": (
        lambda a: edit_text(a, 2, lambda t: "x" + t, rehash=True),
        [("undecodable", 2), ("link_broken", 3)],
    ),
    # What a chain cannot tell by itself: a whole suffix rewritten, with the head row.
    "suffix and head row rewritten": (
        lambda a: (forge(a, 2, payload={"forged": True}), forge_all(a, 3)),
        [],
    ),
    "tail cut, and the head row with it": (
        lambda a: (
            delete(a, 5),
            sql(a, f"{STREAM} length = 5, head_timestamp = 1040, head_hash = "
                   "(SELECT hash FROM nucleus_ledger_entry WHERE sequence = 4)"),
        ),
        [],
    ),
}  # fmt: skip
SITUATIONS["time goes back, rehashed from there"][1].remove(("link_broken", 3))


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_tampering_gives_exactly_its_findings(ledger: str, name: str) -> None:
    tamper, expected = SITUATIONS[name]
    tamper(ledger)
    assert findings(ledger) == expected
    found = Entry.objects.using(ledger).verify_integrity(store=False)
    deep = Entry.objects.using(ledger).verify_integrity(store=False, deep=True)
    assert deep.findings == found.findings


@pytest.mark.parametrize("name", SITUATIONS)
def test_ranges_read_apart_give_the_findings_of_one_walk(ledger: str, name: str) -> None:
    tamper, _ = SITUATIONS[name]
    tamper(ledger)
    options = Options(frozenset({"persistent-ledger"}), limit=100)
    for stored in rowsource.read_heads(connections[ledger]):
        plan = Plan(stored.id, stored.head)
        whole = check_stream(ledger, plan, options)
        length = entries_of(plan)
        for size in {max(length // parts, 1) for parts in range(2, 7)}:
            pieces = [check_range(ledger, plan, options, *part) for part in ranges(plan, size)]
            assert check_stream(ledger, plan, options, pieces=pieces) == whole
            # Findings were left out of these, or a run was to stop at the first.
            few = replace(options, limit=0)
            pieces = [check_range(ledger, plan, few, *part) for part in ranges(plan, size)]
            assert check_stream(ledger, plan, options, pieces=pieces) == whole


@pytest.mark.parametrize("entries", [1, 2, 60, 1000])
@pytest.mark.parametrize("name", SITUATIONS)
def test_steps_give_the_findings_of_one_walk(ledger: str, name: str, entries: int) -> None:
    tamper, _ = SITUATIONS[name]
    tamper(ledger)
    whole = Entry.objects.using(ledger).verify_integrity(store=False)
    run = stepping.begin(ledger)
    for _ in range(100):
        if stepping.step(ledger, run.pk, entries).finished:
            break
    run.refresh_from_db(using=ledger)
    assert (run.result, run.findings_total) == (whole.result, whole.findings_total)
    assert (run.entries, run.streams) == (whole.entries, len(whole.streams))
    assert stored_breaks.stored_findings(ledger, run.pk) == whole.findings
    assert not VerificationStep.objects.using(ledger).exists()


def other_value(value: Any) -> list[Any]:
    """Values to put in place of one: of its own kind, and of others."""
    if isinstance(value, bool) or value is None:
        return [1]
    if isinstance(value, int):
        return [value + 1, max(value - 1, 0), -value - 1]
    return ["x", ""]


@pytest.mark.parametrize("model", [Entry, Stream])
def test_every_column_edited_in_turn_is_found(ledger: str, model: type[Any]) -> None:
    edits = 0
    table = model._meta.db_table
    for row in list(model._base_manager.using(ledger).values()):
        key = "serialized" if model is Entry else "id"
        for field in model._meta.concrete_fields:
            value = row[field.attname]
            values = other_value(value)
            cast = ""
            if field.get_internal_type() == "BinaryField":
                values = [b"\7" * 32, b""]
            elif field.get_internal_type() == "JSONField":
                values, cast = ["[]", '{"n":"x"}', "null"], "::jsonb"
            cast = cast if connections[ledger].vendor == "postgresql" else ""
            for new in values:
                if new == value:
                    continue
                with transaction.atomic(using=ledger):
                    touched = sql(
                        ledger,
                        f"UPDATE {table} SET {field.column} = %s{cast} WHERE {key} = %s",
                        [new, row[key]],
                    )
                    assert touched == 1
                    assert findings(ledger), f"{field.column} of {row} to {new!r}"
                    transaction.set_rollback(True, using=ledger)
                edits += 1
    assert edits > (100 if model is Entry else 8)
    assert findings(ledger) == []


def test_a_rewritten_history_is_found_where_an_earlier_verification_saw_the_old(
    ledger: str,
) -> None:
    """Not proof against an attacker, who can write the stored result too; it costs one query."""
    assert findings(ledger) == []
    forge(ledger, 2, payload={"forged": True})
    forge_all(ledger, 3)
    assert findings(ledger) == [("head_mismatch", 5)]
    sql(ledger, "DELETE FROM nucleus_ledger_streamstatus")
    assert findings(ledger) == []


def test_a_finding_stops_appends_until_an_intact_full_verification(ledger_db: str) -> None:
    ledger = ledger_db
    Entry.objects.using(ledger).append_batch(
        {"stream": "proofs", "payload": {"n": n, "who": "oid:onoal:user:alice"}} for n in range(4)
    )
    guards.remove(connections[ledger])
    json_column(ledger, "payload", '{"n":2,"who":"mallory"}', 2)
    assert findings(ledger) == [("field_mismatch", 2, ("payload",))]
    assert StreamStatus.objects.using(ledger).get().result == "tampered"
    with pytest.raises(IntegrityFailed, match="proofs"):
        Entry.objects.using(ledger).append("proofs", {})
    Entry.objects.using(ledger).append("others", {})
    json_column(ledger, "payload", '{"n":2,"who":"oid:onoal:user:alice"}', 2)
    incremental = Entry.objects.using(ledger).verify_integrity(mode="incremental")
    assert incremental.result == "tampered"  # never lifts a stored finding
    assert [f.kind for f in incremental.findings] == ["field_mismatch"]
    assert findings(ledger) == []
    assert StreamStatus.objects.using(ledger).get(stream__name="proofs").result == "intact"


def test_hostile_text_is_a_finding_and_no_crash(ledger: str) -> None:
    deep = "[" * 100_000
    edit_text(ledger, 2, lambda t: deep, rehash=True)
    assert findings(ledger) == [("undecodable", 2), ("link_broken", 3)]
    if ledger == "default":
        sql(ledger, f"{ENTRY} serialized = CAST(x'ff' AS TEXT) WHERE sequence = 3")
        sql(ledger, f"{ENTRY} record_id = CAST(x'ff' AS TEXT), payload = x'00' WHERE sequence = 4")
        sql(ledger, f"{ENTRY} timestamp = 'later' WHERE sequence = 5")
        assert findings(ledger) == [
            ("undecodable", 2),
            ("hash_mismatch", 3),
            ("field_mismatch", 4, ("payload", "record_id")),
            ("field_mismatch", 5, ("timestamp",)),
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\u0000"', [("field_mismatch", 2, ("payload",)), ("link_broken", 3)]),
        ("1e1000000", [("undecodable", 2), ("link_broken", 3)]),
        ('"\\ud800"', [("undecodable", 2), ("link_broken", 3)]),
    ],
)
def test_json_that_a_database_cannot_read_is_still_judged(
    ledger: str, text: str, expected: Expected
) -> None:
    edit_text(ledger, 2, lambda t: t.replace('"oid:onoal:user:alice"', text), rehash=True)
    assert findings(ledger) == expected
    assert findings(ledger, deep=True) == expected


def test_the_report_carries_both_values(ledger: str) -> None:
    json_column(ledger, "payload", '{"n":2,"who":"mallory"}', 2)
    report = Entry.objects.using(ledger).verify_integrity()
    (finding,) = report.findings
    assert finding.expected == {"payload": {"n": 2, "who": "oid:onoal:user:alice"}}
    assert finding.actual == {"payload": {"n": 2, "who": "mallory"}}
    assert canonical.same(json.loads(json.dumps(finding.as_dict())), finding.as_dict())


@pytest.mark.parametrize("alias", ["default"])
def test_a_hash_stored_as_its_digits_is_no_hash(ledger: str) -> None:
    """No search by hash would find that entry, although it reads the same."""
    sql(ledger, f"{ENTRY} hash = lower(hex(hash)) WHERE sequence = 2")
    assert findings(ledger) == [("hash_mismatch", 2)]
    assert findings(ledger, deep=True) == [("hash_mismatch", 2)]


ODD = ["NULL", "'abc'", "x'00ff'", "-1", "1e300", "''", "0.5", "9223372036854775807",
       "CAST(x'e280ae' AS TEXT)", "CAST(x'ff' AS TEXT)"]  # fmt: skip


@pytest.mark.parametrize("alias", ["default"])  # SQLite lets any column hold anything
@pytest.mark.parametrize("table", ["entry", "stream"])
def test_columns_of_any_type_are_findings_and_no_crash(ledger: str, table: str) -> None:
    model = Entry if table == "entry" else Stream
    where = "WHERE sequence = 2" if table == "entry" else ""
    for column in [field.column for field in model._meta.concrete_fields]:
        for value in ODD:
            if (column, value) == ("meta", "NULL"):  # it is null there
                continue
            for mode in ("full", "incremental"):
                with transaction.atomic(using=ledger):
                    sql(ledger, f"UPDATE nucleus_ledger_{table} SET {column} = {value} {where}")
                    report = Entry.objects.using(ledger).verify_integrity(mode=mode)
                    assert (report.result, report.errors) == ("tampered", []), (column, value)
                    transaction.set_rollback(True, using=ledger)
