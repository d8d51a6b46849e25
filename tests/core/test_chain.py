from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import canonical, hashing
from nucleus_ledger.core.chain import (
    KINDS,
    Cursor,
    Finding,
    FindingsDigest,
    Head,
    Rules,
    judge_head,
    walk,
)
from nucleus_ledger.core.rebuilding import Row
from nucleus_ledger.core.shown import Unreadable, evidence
from tests.chains import (
    LEDGER,
    Breaking,
    at,
    brief,
    findings,
    make_chain,
    make_head,
    relink,
    row_of,
    text_at,
    windows,
)
from tests.core import reference

Expected = list[tuple[Any, ...]]


def forged(index: int) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        document = canonical.loads(rows[index].serialized) | {"payload": {"forged": True}}
        rows[index] = row_of(canonical.dumps(document))
        return rows, head

    return breaking


def without(*indexes: int) -> Breaking:
    return lambda rows, head: (
        [row for index, row in enumerate(rows) if index not in indexes],
        head,
    )


def swapped(one: int, other: int) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        rows[one], rows[other] = (
            rows[other]._replace(sequence=one),
            rows[one]._replace(sequence=other),
        )
        return rows, head

    return breaking


def head_with(**changes: Any) -> Breaking:
    return lambda rows, head: (rows, replace(head, **changes))


def of_chain(**changes: Any) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        changed = make_chain(len(rows), **changes)
        ledger = changes.get("ledger", LEDGER)
        return changed, make_head(changed, ledger=ledger)

    return breaking


def all_of(*breakings: Breaking) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        for each in breakings:
            rows, head = each(rows, head)
        return rows, head

    return breaking


def rewritten(start: int, *, with_head: bool) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        rows = relink(rows, start)
        return rows, make_head(rows) if with_head else head

    return breaking


def time_back(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
    document = canonical.loads(rows[3].serialized) | {"timestamp": 1005}
    rows[3] = row_of(canonical.dumps(document))
    rows = relink(rows, 3)
    return rows, make_head(rows)


def noncanonical(change: Any) -> Breaking:
    def breaking(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
        rows, head = text_at(2, change, rehash=True)(rows, head)
        rows = rows[:3] + relink(rows[:], 3)[3:]
        return rows, make_head(rows)

    return breaking


def repeated(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
    return [*rows[:2], rows[1], *rows[2:]], head


def behind(rows: list[Row], head: Head) -> tuple[list[Row], Head]:
    return make_chain(len(rows) + 1), head


SITUATIONS: dict[str, tuple[Breaking, Expected]] = {
    "good": (head_with(), []),
    "text edited, hash left": (
        text_at(2, lambda t: t.replace('"n":2', '"n":7'), rehash=False),
        [("hash_mismatch", 2)],
    ),
    "edited and rehashed": (forged(2), [("link_broken", 3)]),
    "last edited and rehashed": (forged(5), [("head_mismatch", 5)]),
    "hash column": (at(2, hash="0" * 64), [("hash_mismatch", 2)]),
    "hash column of the last": (at(5, hash="0" * 64), [("hash_mismatch", 5)]),
    "payload column": (at(2, payload='{"n": 3}'), [("field_mismatch", 2, ("payload",))]),
    "payload column by type": (at(1, payload='{"n": true}'), [("field_mismatch", 1, ("payload",))]),
    "payload column as a float": (
        at(1, payload='{"n":1.0}'),
        [("field_mismatch", 1, ("payload",))],
    ),
    "payload column with a space": (
        at(1, payload='{"n": 1}'),
        [("field_mismatch", 1, ("payload",))],
    ),
    "time column as a float": (at(1, timestamp=1010.0), [("field_mismatch", 1, ("timestamp",))]),
    "head length as a float": (head_with(length=6.0), [("head_mismatch", 6)]),
    "head time as a float": (head_with(head_timestamp=1050.0), [("head_mismatch", 5)]),
    "payload column unreadable": (
        at(2, payload='{'),
        [("field_mismatch", 2, ("payload",))],
    ),
    "meta column emptied": (at(1, meta=None), [("field_mismatch", 1, ("meta",))]),
    "meta column, null to object": (at(2, meta='{}'), [("field_mismatch", 2, ("meta",))]),
    "two columns": (
        at(2, record_id="x", timestamp=1),
        [("field_mismatch", 2, ("record_id", "timestamp"))],
    ),
    "prev_hash column": (at(3, prev_hash="0" * 64), [("field_mismatch", 3, ("prev_hash",))]),
    "one deleted": (without(2), [("sequence_gap", 2)]),
    "neighbours deleted": (without(2, 3), [("sequence_gap", 2)]),
    "two places deleted": (without(1, 3), [("sequence_gap", 1), ("sequence_gap", 3)]),
    "first deleted": (without(0), [("sequence_gap", 0)]),
    "deleted, next column relinked": (
        all_of(at(3, prev_hash=make_chain()[1].hash), without(2)),
        [("sequence_gap", 2), ("field_mismatch", 3, ("prev_hash",))],
    ),
    "deleted and renumbered": (
        all_of(without(2), rewritten(2, with_head=False)),
        [("head_mismatch", 5)],
    ),
    "deleted and renumbered with the head": (  # a chain alone cannot tell
        all_of(without(2), rewritten(2, with_head=True)),
        [],
    ),
    "swapped": (
        swapped(2, 3),
        [("field_mismatch", 2, ("sequence",)), ("field_mismatch", 3, ("sequence",))],
    ),
    "swapped far apart": (
        swapped(1, 4),
        [("field_mismatch", 1, ("sequence",)), ("field_mismatch", 4, ("sequence",))],
    ),
    "the last two swapped": (
        swapped(4, 5),
        [("field_mismatch", 4, ("sequence",)), ("field_mismatch", 5, ("sequence",))],
    ),
    "tail cut": (without(4, 5), [("head_mismatch", 5)]),
    "all gone": (without(*range(6)), [("head_mismatch", 5)]),
    "head hash": (head_with(head_hash="0" * 64), [("head_mismatch", 5)]),
    "head time": (head_with(head_timestamp=1), [("head_mismatch", 5)]),
    "head ledger": (head_with(ledger="staging"), [("head_mismatch", 5)]),
    "head length": (head_with(length=5), [("head_mismatch", 4)]),
    "head of nothing": (head_with(length=0), [("head_mismatch", 0)]),
    "something beyond": (head_with(beyond=True), [("head_mismatch", 5)]),
    "stream renamed": (head_with(stream="renamed"), [("field_mismatch", 0, ("stream",))]),
    "row repeated": (repeated, [("sequence_repeated", 1)]),
    "number that is none": (at(2, sequence="2"), [("sequence_repeated", None),
                                                  ("sequence_gap", 2)]),
    "appended behind the head": (behind, [("head_mismatch", 5)]),
    "another ledger": (of_chain(ledger="staging"), [("wrong_ledger", 0)]),
    "unknown tag": (of_chain(schema="nucleus-ledger/v9"), [("unknown_schema", 0)]),
    "time back": (time_back, [("timestamp_out_of_order", 3)]),
    "a space": (noncanonical(lambda t: t.replace(":", ": ", 1)), [("not_canonical", 2)]),
    "a key twice": (
        noncanonical(lambda t: t.replace("{", '{"id":"x",', 1)),
        [("not_canonical", 2)],
    ),
    "2.0 for 2": (noncanonical(lambda t: t.replace('"n":2', '"n":2.0')), [("not_canonical", 2)]),
    "needless escape": (
        noncanonical(lambda t: t.replace("proofs", "\\u0070roofs")),
        [("not_canonical", 2)],
    ),
    "meta null written": (
        noncanonical(lambda t: t.replace('"payload"', '"meta":null,"payload"', 1)),
        [("not_canonical", 2)],
    ),
    "no JSON": (
        text_at(2, lambda t: t[:-1], rehash=True),
        [("undecodable", 2), ("link_broken", 3)],
    ),
    "no object": (
        text_at(2, lambda t: "[]", rehash=True),
        [("undecodable", 2), ("link_broken", 3)],
    ),
    "a member more": (
        text_at(2, lambda t: t.replace('"schema"', '"extra":1,"schema"'), rehash=True),
        [("undecodable", 2), ("link_broken", 3)],
    ),
    "no tag": (
        text_at(2, lambda t: t.replace('"schema":"nucleus-ledger/v1",', ""), rehash=True),
        [("unknown_schema", 2), ("link_broken", 3)],
    ),
    "a tag of null": (
        text_at(2, lambda t: t.replace('"nucleus-ledger/v1"', "null"), rehash=True),
        [("unknown_schema", 2), ("link_broken", 3)],
    ),
    "a member of the wrong type": (
        text_at(2, lambda t: t.replace('"timestamp":1020', '"timestamp":"1020"'), rehash=True),
        [("undecodable", 2), ("link_broken", 3)],
    ),
    "edited here, deleted there": (
        all_of(at(1, payload='{}'), without(4)),
        [("field_mismatch", 1, ("payload",)), ("sequence_gap", 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_gives_exactly_its_findings(name: str) -> None:
    breaking, expected = SITUATIONS[name]
    chain = make_chain()
    rows, head = breaking(chain, make_head(chain))
    found = findings(rows, head)
    assert brief(found) == expected
    assert findings(rows, head, deep=True) == found
    assert all(findings(rows, head, size=size) == found for size in range(2, 8))
    for finding in found:
        assert finding.kind in KINDS
        assert finding.message
        assert canonical.same(canonical.loads(canonical.dumps(finding.as_dict())),
                              finding.as_dict())  # fmt: skip
        assert ("fields" in finding.as_dict()) == (finding.kind == "field_mismatch")


@given(st.sampled_from(sorted(SITUATIONS)), st.lists(st.integers(0, 7), max_size=7))
def test_a_walk_can_be_taken_up_anywhere(name: str, cuts: list[int]) -> None:
    breaking, _ = SITUATIONS[name]
    chain = make_chain()
    rows, head = breaking(chain, make_head(chain))
    assert findings(rows, head, cuts=cuts) == findings(rows, head)


def test_a_walk_may_begin_behind_a_known_entry() -> None:
    rows = make_chain()
    rules = Rules("proofs", frozenset({LEDGER}))
    cursor = Cursor(3, (rows[2].hash,), rows[2].timestamp)
    assert list(walk(windows(rows[3:]), cursor, rules)) == []
    assert judge_head(make_head(rows), cursor, rules) is None
    wrong = Cursor(3, ("0" * 64,))
    assert brief(list(walk(windows(rows[3:]), wrong, rules))) == [("link_broken", 3)]
    unknown = Cursor.at(3)
    assert list(walk(windows(rows[3:]), unknown, rules)) == []


def test_empty_streams() -> None:
    assert findings([], make_head([])) == []
    assert brief(findings([], make_head([], ledger="staging"))) == [("head_mismatch", 0)]
    assert brief(findings([], make_head([], head_hash="0" * 64))) == [("head_mismatch", 0)]


FORGED = make_chain(6, payload={"forged": True})


def retold(row: Row, dice: random.Random) -> Row:
    """A row whose text says something else, with the hash that fits it or the old one."""
    document = canonical.loads(row.serialized)
    name = dice.choice(["payload", "timestamp", "prev_hash", "sequence", "id", "meta"])
    document[name] = {
        "payload": [1],
        "timestamp": 1000 + dice.randrange(80),
        "prev_hash": dice.choice([None, "0" * 64, FORGED[0].hash]),
        "sequence": dice.randrange(6),
        "id": "another",
        "meta": {"n": 1},
    }[name]
    told = row_of(canonical.dumps(document))
    if dice.random() < 0.5:  # the columns go with the text, all but the place in the chain
        return told._replace(sequence=row.sequence)
    return row._replace(
        serialized=told.serialized, hash=dice.choice([row.hash, told.hash, told.hash])
    )


def tampered(dice: random.Random) -> tuple[list[Row], Head]:
    """A chain of up to seven entries after up to four edits of any kind."""
    rows = make_chain(dice.randrange(1, 8))
    head = make_head(rows)
    for _ in range(dice.randrange(5)):
        if not rows:
            break
        index = dice.randrange(len(rows))
        match dice.randrange(8):
            case 0 | 1:
                name = dice.choice(Row._fields)
                other = dice.choice([*make_chain(), *FORGED])
                rows[index] = rows[index]._replace(**{name: getattr(other, name)})
            case 2 | 3:
                rows[index] = retold(rows[index], dice)
            case 4:
                del rows[index]
            case 5:
                rows.insert(index, rows[index])
            case 6:
                rows = relink(rows, index) if dice.random() < 0.7 else rows[: index + 1]
            case 7:
                name = dice.choice(["length", "head_hash", "head_timestamp"])
                other = make_head(dice.choice([FORGED, make_chain(4), rows]))
                head = replace(head, **{name: getattr(other, name)})
    return sorted(rows, key=lambda row: row.sequence), head


@given(st.integers(0, 2**64), st.lists(st.integers(0, 9), max_size=4), st.integers(2, 8))
def test_random_tampering_is_judged_as_a_slow_reference_judges(
    seed: int, cuts: list[int], size: int
) -> None:
    rows, head = tampered(random.Random(seed))
    found = findings(rows, head)
    assert sorted(brief(found), key=repr) == sorted(reference.judge(rows, head), key=repr)
    assert findings(rows, head, deep=True) == found
    assert findings(rows, head, cuts=cuts, size=size) == found


def test_the_dice_reach_every_kind_that_an_edit_can_cause() -> None:
    """What the test above stands on: its random edits are not all harmless, nor all alike."""
    kinds = {""}
    for seed in range(600):
        rows, head = tampered(random.Random(seed))
        kinds |= {finding.kind for finding in findings(rows, head)}
        if findings(rows, head) == []:
            kinds.add("silent")
    assert kinds - {"", "silent"} == {
        "field_mismatch", "hash_mismatch", "head_mismatch", "link_broken", "sequence_gap",
        "sequence_repeated", "timestamp_out_of_order",
    }  # fmt: skip
    assert "silent" in kinds


def test_evidence_is_bounded_and_storable() -> None:
    assert evidence({"a": 1}) == {"a": 1}
    assert evidence("\0") == "'\\x00'"
    assert evidence("\ud800") == "'\\ud800'"
    long = evidence("x" * 10_000)
    assert len(long) < 2200
    assert hashing.hash_text(canonical.dumps("x" * 10_000)) in long
    assert evidence(Unreadable("\ud800")).startswith("unreadable: ")
    assert evidence(b"raw") == "b'raw'"


def test_the_digest_covers_findings_but_not_their_wording() -> None:
    def digest(*found: Finding) -> str:
        result = FindingsDigest()
        for finding in found:
            result.add(finding)
        return result.hexdigest()

    one = Finding("hash_mismatch", "s", 1, "r", (), "a", "b", "words")
    assert digest(one) == digest(replace(one, message="other words"))
    others = [replace(one, kind="link_broken"), replace(one, sequence=2), replace(one, actual="c"),
              replace(one, stream="t"), replace(one, record_id="q")]  # fmt: skip
    assert len({digest(one), digest(one, one), digest(), *map(digest, others)}) == 8
