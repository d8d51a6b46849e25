"""Every walker finds every fault of a row, wherever it stands and whatever else is planted.

The fast path passes windows of rows that are wholly right, so a rule that it does not know is
found only where a window holds another fault or is the first. Here the only faults are of one
kind, all else is made to fit, and they stand in the second window that is read and in later ones:
first, last and in the middle. A new kind needs a fault here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from nucleus_ledger.core import canonical
from nucleus_ledger.core.chain import KINDS
from nucleus_ledger.core.rebuilding import Row
from nucleus_ledger.models import Entry
from tests import walkers
from tests.chains import make_head, row_of
from tests.tamper import lay_bare, sql

LENGTH = 130  # windows begin at 0, 16, 48 and 112
# No two are neighbours, which some kinds tell as one.
PLACES = [(16, 18, 47, 80, 111, 128), (17, 48, 50, 112, 126)]
OF_NO_ROW = {"head_mismatch", "missing_stream", "checkpoint_mismatch"}

Fault = Callable[[dict[str, Any]], list[Row]]


def saying(**changes: Any) -> Fault:
    """The text says something else, and the columns with it."""
    return lambda said: [row_of(canonical.dumps(said | changes))]


def columns(**changes: Any) -> Fault:
    return lambda said: [row_of(canonical.dumps(said))._replace(**changes)]


def with_a_space(said: dict[str, Any]) -> list[Row]:
    return [row_of(canonical.dumps(said).replace(":", ": ", 1))]


def twice(said: dict[str, Any]) -> list[Row]:
    return 2 * [row_of(canonical.dumps(said))]


FAULTS: dict[str, dict[str, Fault]] = {
    "hash_mismatch": {"the column": columns(hash="12" * 32)},
    "link_broken": {"another": saying(prev_hash="12" * 32), "none": saying(prev_hash=None)},
    "field_mismatch": {
        "payload": columns(payload='{"n":-1}'),
        "payload, by form": columns(payload='{"n":7.00000000000000000001}'),
        "meta": columns(meta='{"n":-1}'),
        "no meta": columns(meta=None),
        "record_id": columns(record_id="another"),
        "timestamp": columns(timestamp=5),
        "prev_hash": columns(prev_hash="12" * 32),
        "another stream": saying(stream="other"),
    },
    "sequence_gap": {"left out": lambda said: []},
    "sequence_repeated": {"twice": twice},
    "wrong_ledger": {
        "another": saying(ledger="staging"),
        "one that is accepted elsewhere": saying(ledger="former"),
    },
    "unknown_schema": {"another": saying(schema="nucleus-ledger/v9")},
    "not_canonical": {"a space": with_a_space},
    "undecodable": {
        "time below 1": saying(timestamp=0),
        "time too large": saying(timestamp=2.0**53),
        "empty id": saying(id=""),
        "long id": saying(id="x" * 201),
        "id with a control character": saying(id="a\x85"),
        "link of another form": saying(prev_hash="AB" * 32),
        "member more": saying(extra=1),
        "payload": saying(payload="x"),
    },
    "timestamp_out_of_order": {"back": saying(timestamp=1)},
}
NAMES = [(kind, name) for kind, faults in FAULTS.items() for name in faults]


def test_every_kind_that_a_row_can_have_has_a_fault() -> None:
    assert set(FAULTS) | OF_NO_ROW == set(KINDS)
    assert not set(FAULTS) & OF_NO_ROW


def faulty(fault: Fault, places: tuple[int, ...]) -> list[Row]:
    """A chain in which all is made to fit but the fault."""
    rows: list[Row] = []
    for sequence in range(LENGTH):
        said = {
            "id": f"record-{sequence}",
            "ledger": "persistent-ledger",
            "meta": {"n": sequence % 3},
            "payload": {"n": 7},
            "prev_hash": rows[-1].hash if rows else None,
            "schema": "nucleus-ledger/v1",
            "sequence": sequence,
            "stream": "proofs",
            "timestamp": 1000 + sequence,
        }
        rows.extend(fault(said) if sequence in places else [row_of(canonical.dumps(said))])
    return rows


def store(alias: str, rows: list[Row]) -> None:
    """Put rows in place of all that a stream holds, with a head that fits them."""
    Entry.objects.using(alias).append("proofs", {})
    lay_bare(alias)
    cast = "::jsonb" if alias == "postgres" else ""
    sql(alias, "CREATE TABLE one AS SELECT * FROM nucleus_ledger_entry")
    sql(alias, "DELETE FROM nucleus_ledger_entry")
    if cast:
        sql(alias, "ALTER TABLE nucleus_ledger_entry ALTER COLUMN record_id TYPE text")
    head = make_head(rows)
    length = rows[-1].sequence + 1
    with connections[alias].cursor() as cursor:
        cursor.executemany(
            "INSERT INTO nucleus_ledger_entry (stream_id, hash, sequence, record_id, timestamp, "
            f"payload, meta, prev_hash, serialized) SELECT stream_id, %s, %s, %s, %s, %s{cast}, "
            f"%s{cast}, %s, %s FROM one",
            [
                (bytes.fromhex(row.hash), row.sequence, row.record_id, int(row.timestamp),
                 row.payload, row.meta, row.prev_hash and bytes.fromhex(row.prev_hash),
                 row.serialized)
                for row in rows
            ],
        )  # fmt: skip
        cursor.execute(
            "UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s",
            [length, bytes.fromhex(head.head_hash or ""), head.head_timestamp],
        )


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_walker_finds_each_fault_wherever_it_stands(
    ledger_db: str, kind: str, name: str, places: tuple[int, ...], settings: Any
) -> None:
    settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, "FORMER_LEDGER_IDS": ("former",)}
    store(ledger_db, faulty(FAULTS[kind][name], places))
    found = walkers.check_all_alike(ledger_db, sizes=(16, 33))
    assert [(f.kind, f.sequence) for f in found] == [(kind, place) for place in places]
    # What is judged by itself does not show how a stream began, nor what is missing.
    if kind not in ("sequence_gap", "hash_mismatch") and name != "one that is accepted elsewhere":
        assert walkers.of_each_entry(ledger_db) == found


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_right_after_a_step_or_a_range_begins(ledger_db: str, kind: str) -> None:
    fault = next(iter(FAULTS[kind].values()))
    store(ledger_db, faulty(fault, (20, 40)))
    found = walkers.check_all_alike(ledger_db, sizes=(19, 20, 21))
    assert [(f.kind, f.sequence) for f in found] == [(kind, 20), (kind, 40)]


def test_a_chain_without_a_fault_is_silent(ledger_db: str) -> None:
    store(ledger_db, faulty(twice, ()))
    assert walkers.check_all_alike(ledger_db, sizes=(16, 33)) == []
    assert Entry.objects.using(ledger_db).verify_integrity(store=False).intact
