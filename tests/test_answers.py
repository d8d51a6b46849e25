"""What a query answers is what the hash covers: no column may hold what only a decoder hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from nucleus_ledger import incidents
from nucleus_ledger.core.bundlecheck import Trust
from nucleus_ledger.core.shown import EVIDENCE_LIMIT
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry
from nucleus_ledger.transfer.exporting import export
from nucleus_ledger.transfer.importing import import_bundle
from tests import walkers
from tests.tamper import lay_bare, sql

ENTRY = "UPDATE nucleus_ledger_entry SET"
AT = 20  # in the second window that is read, where the fast path judges
PAYLOAD = {"amount": 100, "rate": 0.1, "text": "é", "of": [1e21, 1e-7, 12345678.125]}
CANONICAL = (
    '{"amount":100,"of":[1e+21,1e-7,12345678.125],"rate":0.1,"text":"é"}'  # sorted, ES numbers
)


@pytest.fixture
def ledger(ledger_db: str) -> str:
    """Forty entries in one stream, with nothing left to protect them."""
    Entry.objects.using(ledger_db).append_batch(
        {
            "stream": "payments",
            "record_id": f"record-{n}",
            "timestamp": 1000 + 10 * n,
            "payload": PAYLOAD,
            "meta": {"n": n} if n % 2 == 0 else None,
        }
        for n in range(40)
    )
    lay_bare(ledger_db)
    return ledger_db


def found(alias: str, *, sizes: tuple[int, ...] = (7, 18)) -> list[Any]:
    findings = walkers.check_all_alike(alias, sizes=sizes)
    judged = walkers.of_each_entry(alias)
    assert [f for f in judged if f.kind == "field_mismatch"] == [
        f for f in findings if f.kind == "field_mismatch"
    ]
    return findings


def test_as_appended_it_holds_what_it_should(ledger: str) -> None:
    assert found(ledger) == []
    manager = Entry.objects.using(ledger)
    assert manager.filter(payload__amount=100, payload__rate=0.1).count() == 40
    assert manager.filter(payload=PAYLOAD).count() == 40


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize("batch", [False, True])
def test_an_append_writes_the_canonical_text_itself(ledger_db: str, batch: bool) -> None:
    manager = Entry.objects.using(ledger_db)
    record = {"stream": "s", "payload": PAYLOAD, "meta": {"b": 1.0, "a": "é"}}
    if batch:
        manager.append_batch([record, {"stream": "s", "payload": []}, record])
    else:
        manager.append(**record)
        manager.append("s", [], meta=None)
        Entry(stream=manager.first().stream, payload=PAYLOAD, meta=record["meta"]).save(
            using=ledger_db
        )
    check_columns(ledger_db)


def check_columns(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT payload, meta FROM nucleus_ledger_entry ORDER BY sequence")
        written = (CANONICAL, '{"a":"é","b":1}')
        assert cursor.fetchall() == [written, ("[]", None), written]
        names = "stream_id sequence record_id timestamp payload meta hash prev_hash serialized"
        types = ", ".join(f"typeof({name})" for name in names.split())
        cursor.execute(f"SELECT {types} FROM nucleus_ledger_entry WHERE sequence = 2")
        assert cursor.fetchone() == (
            "integer", "integer", "text", "integer", "text", "text", "blob", "blob", "text",
        )  # fmt: skip


@pytest.mark.django_db(databases=["default", "postgres"])
def test_an_import_writes_the_canonical_text_itself(tmp_path: Path) -> None:
    record = {"stream": "s", "payload": PAYLOAD, "meta": {"b": 1.0, "a": "é"}}
    manager = Entry.objects.using("postgres")
    manager.append_batch([record, {"stream": "s", "payload": []}, record])
    file = tmp_path / "bundle.jsonl"
    with file.open("wb") as out:
        export("postgres", out.write, checkpoint=False)
    import_bundle("default", file, Trust(), chain_only=True)
    check_columns("default")


SQLITE: dict[str, tuple[str, tuple[str, ...]]] = {
    "a key twice, of which SQLite takes the first": (
        f"payload = '{CANONICAL[:-1]},\"amount\":1}}'", ("payload",)
    ),
    "the same, with the value of the text last": (
        "payload = '{\"amount\":1," + CANONICAL[1:] + "'", ("payload",)
    ),
    "a space": (f"payload = ' {CANONICAL}'", ("payload",)),
    "keys in another order": (
        "payload = '{\"text\":\"é\",\"amount\":100,\"of\":[1e+21,1e-7,12345678.125],\"rate\":0.1}'",
        ("payload",),
    ),
    "100.0 for 100": (f"payload = replace('{CANONICAL}', '100', '100.0')", ("payload",)),
    "more digits than a float has": (
        f"payload = replace('{CANONICAL}', '100', '100.00000000000000001')", ("payload",)
    ),
    "an escape": (f"payload = replace('{CANONICAL}', 'é', '\\u00e9')", ("payload",)),
    "a BLOB": (f"payload = CAST('{CANONICAL}' AS BLOB)", ("payload",)),
    "SQLite's own binary JSON": ("payload = x'2c17616263'", ("payload",)),
    "the payload gone": ("payload = NULL", ("payload",)),
    "meta: null": ("meta = 'null'", ("meta",)),
    "meta: null behind a space": ("meta = ' null'", ("meta",)),
    "meta: null as a BLOB": ("meta = CAST('null' AS BLOB)", ("meta",)),
    "meta: a space": ("meta = '{\"n\": 20}'", ("meta",)),
    "meta: a BLOB": ("meta = CAST('{\"n\":20}' AS BLOB)", ("meta",)),
    "meta: a number": ("meta = 5", ("meta",)),
    "both": ("payload = payload || ' ', meta = meta || ' '", ("meta", "payload")),
    "a time that is REAL": ("timestamp = 1200.0", ("timestamp",)),
    "a time that is TEXT": ("timestamp = '1200'", ("timestamp",)),
    "an id that is a BLOB": ("record_id = CAST(record_id AS BLOB)", ("record_id",)),
    "a link that is TEXT": ("prev_hash = lower(hex(prev_hash))", ("prev_hash",)),
}  # fmt: skip


def untyped(alias: str) -> None:
    """Rows as they were, in a table whose columns keep whatever is put into them."""
    names = "hash, stream_id, sequence, record_id, timestamp, payload, meta, prev_hash, serialized"
    sql(alias, f"CREATE TABLE untyped ({names})")
    sql(alias, f"INSERT INTO untyped SELECT {names} FROM nucleus_ledger_entry")
    sql(alias, "DROP TABLE nucleus_ledger_entry")
    sql(alias, "ALTER TABLE untyped RENAME TO nucleus_ledger_entry")


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize("name", SQLITE)
def test_sqlite_holds_the_canonical_text_byte_for_byte(ledger: str, name: str) -> None:
    change, fields = SQLITE[name]
    untyped(ledger)
    sql(ledger, f"{ENTRY} {change} WHERE sequence = {AT}")
    (finding,) = found(ledger)
    assert (finding.kind, finding.sequence, finding.fields) == ("field_mismatch", AT, fields)
    assert finding.expected.keys() == finding.actual.keys() == set(fields)
    for field in fields:  # what differs can be seen
        assert finding.expected[field] != finding.actual[field]


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize("value", ["'null'", "' null'", "CAST('null' AS BLOB)", "''", "0"])
def test_no_meta_is_null_on_sqlite(ledger: str, value: str) -> None:
    untyped(ledger)
    sql(ledger, f"{ENTRY} meta = {value} WHERE sequence = {AT + 1}")
    (finding,) = found(ledger)
    assert (finding.sequence, finding.fields) == (AT + 1, ("meta",))
    assert finding.expected == {"meta": None}


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("sequence = 20.0", "sequence_repeated"),
        ("sequence = '20'", "sequence_gap"),
        ("hash = lower(hex(hash))", "hash_mismatch"),
        ("serialized = CAST(serialized AS BLOB)", "hash_mismatch"),
    ],
)
def test_other_columns_have_their_type_on_sqlite(ledger: str, change: str, kind: str) -> None:
    untyped(ledger)
    sql(ledger, f"{ENTRY} {change} WHERE sequence = {AT}")
    findings = found(ledger)
    assert findings[0].kind == kind


@pytest.mark.parametrize("alias", ["default"])
@pytest.mark.parametrize(
    "change",
    [
        "length = 40.0",
        "head_timestamp = 1390.0",
        "head_hash = lower(hex(head_hash))",
        "ledger = CAST(ledger AS BLOB)",
    ],
)
def test_the_streams_row_has_its_types_on_sqlite(ledger: str, change: str) -> None:
    names = "id, name, ledger, length, head_hash, head_timestamp"
    sql(ledger, f"CREATE TABLE untyped ({names})")
    sql(ledger, f"INSERT INTO untyped SELECT {names} FROM nucleus_ledger_stream")
    sql(ledger, "DROP TABLE nucleus_ledger_stream")
    sql(ledger, "ALTER TABLE untyped RENAME TO nucleus_ledger_stream")
    assert found(ledger) == []
    sql(ledger, f"UPDATE nucleus_ledger_stream SET {change}")
    findings = walkers.check_all_alike(ledger, sizes=())
    assert [finding.kind for finding in findings] == ["head_mismatch"]
    assert findings[0].expected != findings[0].actual


POSTGRESQL: dict[str, tuple[str, bool]] = {
    "as it is": (CANONICAL, True),
    "another order, spaces, zeros at the end": (
        '{ "text":"\\u00e9","rate":0.10,"of":[1000000000000000000000,0.0000001,12345678.125],'
        '"amount":100.0}',
        True,
    ),
    "100.00000000000000001 for 100": (
        CANONICAL.replace("100,", "100.00000000000000001,"), False
    ),
    "one more in a number of 22 digits": (
        CANONICAL.replace("1e+21", "1000000000000000000001"), False
    ),
    "a fraction beyond a float": (
        CANONICAL.replace("0.1,", "0.1000000000000000055511151231257827,"), False
    ),
    "a fraction smaller than a float tells": (
        CANONICAL.replace("1e-7", "1.00000000000000000001e-7"), False
    ),
    "a number beyond every float": (CANONICAL.replace("100,", "1e400,"), False),
    "an integer that only a float would round": (
        CANONICAL.replace("1e+21", "1000000000000000000001").replace("100,", "9007199254740993,"),
        False,
    ),
    "a member more": (CANONICAL.replace("{", '{"z":null,'), False),
    "null": ("null", False),
}  # fmt: skip


@pytest.mark.parametrize("alias", ["postgres"])
@pytest.mark.parametrize("name", POSTGRESQL)
def test_postgresql_holds_the_value_exactly(ledger: str, name: str) -> None:
    text, right = POSTGRESQL[name]
    sql(ledger, f"{ENTRY} payload = %s::jsonb WHERE sequence = {AT}", [text])
    same = Entry.objects.using(ledger).filter(payload=PAYLOAD).count()
    assert same == (40 if right else 39)  # what the database itself says
    findings = found(ledger)
    assert [(f.kind, f.sequence, f.fields) for f in findings] == (
        [] if right else [("field_mismatch", AT, ("payload",))]
    )
    for finding in findings:
        assert finding.expected["payload"] != finding.actual["payload"]


@pytest.mark.parametrize("alias", ["postgres"])
@pytest.mark.parametrize(
    ("meta", "sequence"),
    [("null", AT), ("null", AT + 1), ("{}", AT + 1), ('{"n":20.00000000000000000001}', AT)],
)
def test_meta_too_on_postgresql(ledger: str, meta: str, sequence: int) -> None:
    sql(ledger, f"{ENTRY} meta = %s::jsonb WHERE sequence = {sequence}", [meta])
    (finding,) = found(ledger)
    assert (finding.sequence, finding.fields) == (sequence, ("meta",))


@pytest.mark.parametrize(
    "number",
    [0.30000000000000004, 52.370216123456789, 1e300, 5e-324, -1.7976931348623157e308, 2**53 - 1,
     123456789012345.6, -0.0, 1e15, 1e16, 0.1 + 0.7, 4.35, 1e22, 2.5e-10],
)  # fmt: skip
def test_numbers_that_were_appended_raise_no_alarm(ledger_db: str, number: float) -> None:
    manager = Entry.objects.using(ledger_db)
    payload = {"n": number, "list": [number, -number], "text": f" {number}, [{number}]"}
    manager.append_batch([{"stream": "s", "payload": payload}] * 40)
    assert found(ledger_db) == []
    assert manager.filter(payload__n=number).count() == 40


def test_a_long_column_shows_where_it_differs(ledger_db: str) -> None:
    many = [f"item {n}" for n in range(2000)]
    Entry.objects.using(ledger_db).append("s", {"amount": 100, "many": many, "z": 1})
    lay_bare(ledger_db)
    if ledger_db == "postgres":
        change = (
            "payload = replace(payload::text, '\"z\": 1', '\"z\": 1.00000000000000000001')::jsonb"
        )
    else:
        change = "payload = replace(payload, '\"z\":1', '\"z\":1.00000000000000000001')"
    sql(ledger_db, f"{ENTRY} {change}")
    (finding,) = walkers.check_all_alike(ledger_db, sizes=())
    assert "1.00000000000000000001" in finding.actual["payload"]
    assert len(finding.actual["payload"]) < EVIDENCE_LIMIT


REPEATED = (
    "prev_hash = hash",
    "timestamp = timestamp + 1",
    "record_id = 'another'",
    """payload = '{"x":[1,{"y":2.5}]}'""",
    "meta = NULL",
    """meta = '{"n":20,"m":"é"}'""",
    "serialized = serialized || ' '",
    "hash = prev_hash",
)


@pytest.mark.django_db(databases=["default", "postgres"])
@pytest.mark.parametrize("backwards", [False, True])
def test_rows_repeated_under_one_number_come_in_one_order(backwards: bool) -> None:
    """They give the same findings on both databases, in whatever order they are stored."""
    told = []
    for alias in ("default", "postgres"):
        Entry.objects.using(alias).append_batch(
            {"stream": "s", "record_id": f"r{n}", "timestamp": 1000 + n, "payload": PAYLOAD,
             "meta": {"n": n}}
            for n in range(24)
        )  # fmt: skip
        lay_bare(alias)
        here = "ctid" if alias == "postgres" else "rowid"
        order = REPEATED[::-1] if (alias == "postgres") == backwards else REPEATED
        sql(alias, "CREATE TABLE one AS SELECT * FROM nucleus_ledger_entry WHERE sequence = 20")
        for change in order:
            sql(alias, "INSERT INTO nucleus_ledger_entry SELECT * FROM one")
            cast = "::jsonb" if alias == "postgres" and "'{" in change else ""
            sql(
                alias,
                f"{ENTRY} {change}{cast} WHERE {here} = "
                f"(SELECT MAX({here}) FROM nucleus_ledger_entry)",
            )
        told.append(walkers.check_all_alike(alias, sizes=(5,)))
    assert told[0] == told[1]
    assert [finding.kind for finding in told[0]].count("sequence_repeated") == len(REPEATED)


def test_two_rows_of_one_name_are_a_finding_of_both(ledger: str) -> None:
    """A query by name answers with the entries of both, however whole each is by itself."""
    sql(
        ledger,
        "INSERT INTO nucleus_ledger_stream (id, name, ledger, length) "
        "SELECT id + 1000, name, ledger, 0 FROM nucleus_ledger_stream",
    )
    findings = walkers.check_all_alike(ledger, sizes=(7,))
    assert [(f.kind, f.stream, f.expected, f.actual) for f in findings] == 2 * [
        ("head_mismatch", "payments", {"rows": 1}, {"rows": 2})
    ]
    with pytest.raises(IntegrityFailed, match="2 rows bear the name 'payments'"):
        incidents.acknowledge(ledger, "payments", reason="x")
    report = Entry.objects.using(ledger).verify_integrity("payments")
    assert (report.result, report.findings_total) == ("tampered", 2)
