"""The oracle itself: held to vectors made elsewhere, and to hand-made rows with one fault each."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import jcs
from tests.oracle.oracle import EntryRow, Ledger, StreamRow, Verdict, judge
from tests.oracle.signed import Recorded, differing, leaf, root

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
GOLDEN = json.loads((DATA / "golden.json").read_text("utf-8"))
TAMPERING = json.loads((DATA / "tampering.json").read_text("utf-8"))
LEDGER = "persistent-ledger"
INDEPENDENT = ("jcs", "oracle", "reading", "signed")


@pytest.mark.parametrize("module", INDEPENDENT)
def test_it_imports_nothing_of_what_it_judges(module: str) -> None:
    names = set()
    for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    allowed = {f"tests.oracle.{each}" for each in INDEPENDENT} | {"tests.oracle"}
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    drivers = {name for name in foreign if name.split(".")[0] in ("psycopg", "cryptography")}
    assert foreign - drivers <= allowed


# RFC 8785 appendix B, by the bits of the number.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_those_of_the_standard(bits: str, text: str) -> None:
    import struct

    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert jcs.number(value) == text
    assert jcs.write(jcs.read(text)) == text


def test_strings_and_order_are_those_of_the_standard() -> None:
    """RFC 8785 sections 3.2.2.2 and 3.2.3, with the examples that stand there."""
    value = json.loads('{"s":"\\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\\u007f"}')
    assert jcs.write(value) == '{"s":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"}'
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    wanted = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(jcs.write(dict.fromkeys(names, 0)))) == wanted


@pytest.mark.parametrize("text", ["NaN", "[1e400]", '["\\ud800"]', '{"\\udfff":1}', "[", "01", ""])
def test_what_is_no_json_of_the_format(text: str) -> None:
    with pytest.raises(jcs.NotJSON):
        jcs.read(text)


def test_numbers_of_a_database_are_compared_exactly() -> None:
    one, other = jcs.read_exactly("100"), jcs.read_exactly("100.00000000000000001")
    assert one != other
    assert one == jcs.read_exactly("100.0")
    assert jcs.read_exactly("1000000000000000000000") == jcs.read_exactly("1e+21")


def test_nesting_is_no_limit() -> None:
    deep = "[" * 1500 + "]" * 1500
    assert jcs.write(jcs.read(deep)) == deep


def stored(
    stream: str, head: dict[str, Any], rows: list[dict[str, Any]], exact: bool = True
) -> Ledger:
    """Rows as the database would hold them, from the facts of a vector."""

    def raw(digits: str | None) -> bytes | None:
        return None if digits is None else bytes.fromhex(digits)

    entries = [
        EntryRow(
            raw(row["hash"]),
            1,
            row.get("sequence", place),
            row["record_id"],
            row["timestamp"],
            jcs.write(row["payload"]),
            None if row["meta"] is None else jcs.write(row["meta"]),
            raw(row["prev_hash"]),
            row["serialized"],
        )
        for place, row in enumerate(rows)
    ]
    first = StreamRow(
        1, stream, head["ledger"], head["length"], raw(head["head_hash"]), head["head_timestamp"]
    )
    return Ledger([first], entries, exact)


@pytest.mark.parametrize("chain", GOLDEN["chains"], ids=lambda chain: chain["stream"])
def test_golden_chains_are_whole(chain: dict[str, Any]) -> None:
    rows = chain["entries"]
    for row, before in zip(rows, [{"hash": None}, *rows], strict=False):
        row["prev_hash"] = before["hash"]
    last = rows[-1]
    head = {
        "ledger": GOLDEN["ledger"],
        "length": len(rows),
        "head_hash": last["hash"],
        "head_timestamp": last["timestamp"],
    }
    for exact in (True, False):
        (verdict,) = judge(stored(chain["stream"], head, rows, exact), {LEDGER})
        assert verdict.faults == []


@pytest.mark.parametrize("case", TAMPERING["cases"], ids=lambda case: case["name"])
def test_vectors_of_tampering(case: dict[str, Any]) -> None:
    head = case["head"]
    (verdict,) = judge(stored(head["stream"], head, case["rows"]), {LEDGER})
    assert verdict.whole == (not case["findings"]), verdict.faults


def text_of(place: int, link: bytes | None, **changes: Any) -> str:
    document = {
        "id": f"record-{place}",
        "ledger": LEDGER,
        "payload": {"n": place},
        "prev_hash": link.hex() if link else None,
        "schema": "nucleus-ledger/v1",
        "sequence": place,
        "stream": "proofs",
        "timestamp": 1000 + place,
    }
    return jcs.write({**document, **changes})


def row_of(text: str, sequence: int, link: bytes | None, **columns: Any) -> EntryRow:
    document = jcs.read(text)
    meta = document.get("meta")
    row = EntryRow(
        hashlib.sha256(text.encode()).digest(),
        1,
        sequence,
        document.get("id", "record"),
        document.get("timestamp", 1000),
        jcs.write(document.get("payload")),
        None if meta is None else jcs.write(meta),
        link,
        text,
    )
    return row._replace(**columns)


def ledger_of(*changes: dict[str, Any], head: dict[str, Any] | None = None, **texts: Any) -> Ledger:
    """Three entries, linked by their real hashes; each of `changes` is made to one's columns."""
    rows: list[EntryRow] = []
    link = None
    for sequence in range(3):
        text = text_of(sequence, link, **(texts if sequence == 1 else {}))
        columns = changes[sequence] if sequence < len(changes) else {}
        rows.append(row_of(text, sequence, link)._replace(**columns))
        link = hashlib.sha256(text.encode()).digest()
    last = rows[-1]
    stream = StreamRow(1, "proofs", LEDGER, 3, last.hash, last.timestamp)
    return Ledger([stream._replace(**(head or {}))], rows, exact=True)


def only(ledger: Ledger, accepted: set[str] | None = None) -> Verdict:
    (verdict,) = judge(ledger, accepted or {LEDGER})
    return verdict


def test_a_good_chain_is_whole_and_so_is_an_empty_stream() -> None:
    assert only(ledger_of()).whole
    empty = Ledger([StreamRow(1, "proofs", LEDGER, 0, None, None)], [], exact=True)
    assert only(empty).whole


@pytest.mark.parametrize(
    "texts",
    [
        {"meta": {}},
        {"meta": {"a": 1}},
        {"payload": []},
        {"payload": {"n": 9007199254740992}},
        {"payload": {"n": 1e21, "t": True}},
        {"id": "ü" * 200},
        {"timestamp": 1002},
        {"timestamp": 1000},
    ],
)
def test_what_an_honest_writer_may_write(texts: dict[str, Any]) -> None:
    ledger = ledger_of({}, {"timestamp": texts.get("timestamp", 1001)}, **texts)
    assert only(ledger).whole, only(ledger).faults


@pytest.mark.parametrize(
    "texts",
    [
        {"id": ""},
        {"id": "x" * 201},
        {"id": "a\x00b"},
        {"id": "a\x85b"},
        {"id": 1},
        {"timestamp": 0},
        {"timestamp": -5},
        {"timestamp": 1000.5},
        {"timestamp": 999},
        {"timestamp": 2**53},
        {"timestamp": True},
        {"payload": "text"},
        {"payload": None},
        {"meta": None},
        {"meta": []},
        {"prev_hash": None},
        {"prev_hash": "AB" * 32},
        {"sequence": 1.5},
        {"sequence": 2},
        {"schema": "nucleus-ledger/v2"},
        {"ledger": "another"},
        {"ledger": "former"},
        {"stream": "others"},
        {"extra": 1},
    ],
)
def test_what_no_text_may_say(texts: dict[str, Any]) -> None:
    """Hash, links and columns are all right: the text itself is what breaks the rule."""
    assert not only(ledger_of(**texts), {LEDGER, "former"}).whole


@pytest.mark.parametrize(
    "columns",
    [
        {"hash": b"\0" * 32},
        {"hash": "ab" * 32},
        {"hash": None},
        {"sequence": None},
        {"sequence": 1.0},
        {"sequence": "1"},
        {"sequence": 2},
        {"record_id": b"record-1"},
        {"record_id": "record-2"},
        {"timestamp": 1001.0},
        {"timestamp": None},
        {"payload": None},
        {"payload": '{"n": 1}'},
        {"payload": '{"n":1.0}'},
        {"payload": '{"n":2,"n":1}'},
        {"payload": b'{"n":1}'},
        {"payload": '{"n":true}'},
        {"meta": "null"},
        {"meta": " null"},
        {"meta": b"null"},
        {"meta": "{}"},
        {"prev_hash": None},
        {"prev_hash": "x"},
        {"serialized": None},
        {"serialized": b"{}"},
        {"serialized": "{}"},
        {"serialized": "\udcff"},
        {"stream_id": 2},
        {"stream_id": None},
        {"stream_id": "1"},
    ],
)
def test_what_no_column_may_hold(columns: dict[str, Any]) -> None:
    verdicts = judge(ledger_of({}, columns), {LEDGER})
    assert not verdicts[0].whole


@pytest.mark.parametrize(
    "head",
    [
        {"length": 2},
        {"length": 4},
        {"length": 3.0},
        {"length": None},
        {"head_hash": None},
        {"head_hash": b"\0" * 32},
        {"head_timestamp": 1001},
        {"head_timestamp": 1002.0},
        {"ledger": "another"},
        {"ledger": b"persistent-ledger"},
        {"ledger": "former"},
        {"name": "others"},
        {"name": b"proofs"},
        {"name": ""},
    ],
)
def test_what_the_row_of_a_stream_may_not_say(head: dict[str, Any]) -> None:
    assert not only(ledger_of(head=head), {LEDGER, "former"}).whole


def test_numbers_of_a_printed_document_are_not_told_apart_by_their_form() -> None:
    for text, whole in (('{"n": 1.00}', True), ('{"n": 1.0000000000000000001}', False)):
        ledger = ledger_of({}, {"payload": text})
        ledger.exact = False
        assert only(ledger).whole == whole


def test_rows_missing_repeated_or_out_of_place() -> None:
    good = ledger_of().entries
    head = ledger_of().streams
    for rows in (
        good[:2],
        good[1:],
        [good[0], good[2]],
        [*good, good[1]],
        [good[0], good[1]._replace(sequence=2), good[2]._replace(sequence=1)],
        [*good, good[2]._replace(sequence=-1)],
        [],
    ):
        assert not only(Ledger(head, rows, exact=True)).whole
    assert only(Ledger(head, good[::-1], exact=True)).whole, "no order among rows is a rule"


def test_entries_without_a_row_and_rows_of_one_name() -> None:
    ledger = ledger_of()
    stream, entries = ledger.streams[0], ledger.entries
    assert [each.row for each in judge(Ledger([], entries, True), {LEDGER})] == [None]
    assert not only(Ledger([], entries, True)).whole
    twice = Ledger([stream, StreamRow(2, "proofs", LEDGER, 0, None, None)], entries, True)
    assert [each.whole for each in judge(twice, {LEDGER})] == [False, False]


def test_a_root_over_a_stream_is_held_against_its_entries() -> None:
    """RFC 6962 section 2.1, drawn by hand for three leaves."""

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    a, b, c = (leaf(each.hash) for each in ledger_of().entries)
    assert root([a, b, c]) == node(node(a, b), c)
    assert root([]) == hashlib.sha256().digest()
    verdicts = judge(ledger_of(), {LEDGER})
    two = Recorded("proofs", 2, None, node(a, b).hex())
    assert differing([two], verdicts) == set()
    assert differing([two._replace(length=3)], verdicts) == {"proofs"}
    assert differing([two._replace(stream="gone")], verdicts) == {"gone"}
    edited = judge(ledger_of(payload={"n": 5}), {LEDGER})
    assert edited[0].whole
    assert differing([two], edited) == {"proofs"}
