from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from nucleus_ledger import modules
from nucleus_ledger.core.record import Record
from nucleus_ledger.core.report import Problem
from nucleus_ledger.errors import ConfigurationError, InvalidData
from nucleus_ledger.models import Entry

BOTH = ["nucleus_ledger.modules.ProofModule", modules.AssetModule]
ALICE, BOB = "oid:onoal:user:alice", "oid:onoal:user:bob"


@pytest.fixture
def both(ledger_db: str, settings: Any) -> Any:
    settings.NUCLEUS_LEDGER = {"LEDGER_ID": "persistent-ledger", "MODULES": BOTH}
    return Entry.objects.using(ledger_db)


def test_several_modules_work_at_once(both: Any) -> None:
    both.append("proofs", {"subject_oid": ALICE})
    both.append("proofs", {"subject_oid": BOB, "issuer_oid": ALICE})
    both.append("assets", {"owner_oid": ALICE})
    both.append("elsewhere", {"anything": 1})
    assert both.matching(subject_oid=ALICE).count() == 1
    assert both.matching(owner_oid=ALICE).get().stream.name == "assets"
    assert both.matching(subject_oid=BOB, issuer_oid=ALICE).count() == 1
    assert both.matching(subject_oid=BOB, issuer_oid=BOB).count() == 0
    assert both.matching(subject_oid=BOB, owner_oid=ALICE).count() == 0  # AND, over all modules
    assert both.in_chain_order("proofs").matching(subject_oid=BOB).get().sequence == 1
    assert both.matching().count() == 4
    with pytest.raises(InvalidData, match="nothing_declares_this"):
        both.matching(nothing_declares_this=1)


@pytest.mark.parametrize(
    ("stream", "payload", "field"),
    [
        ("proofs", {}, "subject_oid"),
        ("proofs", {"subject_oid": ""}, "subject_oid"),
        ("proofs", {"subject_oid": 5}, "subject_oid"),
        ("proofs", [ALICE], "subject_oid"),
        ("assets", {"subject_oid": ALICE}, "owner_oid"),
    ],
)
def test_a_module_refuses_before_anything_is_written(
    both: Any, stream: str, payload: Any, field: str
) -> None:
    with pytest.raises(InvalidData, match=rf"payload\.{field}: module"):
        both.append(stream, payload)
    assert both.count() == 0


class Base(modules.Module):
    id = "base"
    streams = ("s",)


class Moving(Base):
    def before_append(self, record: Record) -> Record:
        return Record("elsewhere", record.payload)


class Spoiling(Base):
    def before_append(self, record: Record) -> Record:
        return Record(record.stream, "text")


class Forgetting(Base):
    def before_append(self, record: Record) -> Record:
        return None  # type: ignore[return-value]


class Doubting(Base):
    streams = ("deep/*", "*")

    def validate(self, entry: Entry) -> Iterable[Problem]:
        if entry.payload.get("odd"):
            yield Problem("odd")


@pytest.mark.parametrize(
    ("module", "words"),
    [(Moving, "another stream"), (Spoiling, "payload"), (Forgetting, "no Record")],
)
def test_what_before_append_returns_is_checked_again(
    ledger_db: str, settings: Any, module: type, words: str
) -> None:
    settings.NUCLEUS_LEDGER = {"LEDGER_ID": "persistent-ledger", "MODULES": [module]}
    with pytest.raises(InvalidData, match=words):
        Entry.objects.using(ledger_db).append("s", {})
    assert Entry.objects.using(ledger_db).count() == 0


def test_problems_stand_apart_from_findings(ledger_db: str, settings: Any) -> None:
    settings.NUCLEUS_LEDGER = {"LEDGER_ID": "persistent-ledger", "MODULES": [Doubting]}
    manager = Entry.objects.using(ledger_db)
    manager.append_batch([{"stream": "s", "payload": {"odd": n == 1}} for n in range(3)])
    report = manager.verify_integrity(validate=True)
    assert report.intact is True
    (problem,) = report.problems
    assert problem.as_dict() == {
        "module": "base", "stream": "s", "sequence": 1, "message": "odd",
        "record_id": manager.get(sequence=1).record_id,
    }  # fmt: skip
    assert (report.exit_code(), report.exit_code(strict_validate=True)) == (0, 3)
    assert list(manager.verify_integrity().problems) == []


def test_patterns() -> None:
    class Some(Base):
        streams = ("exact", "below/*")

    handles = Some().handles
    assert all(map(handles, ("exact", "below/a", "below/a/b")))
    assert not any(map(handles, ("exact2", "below", "below/"[:-1], "other/below/a")))


@pytest.mark.parametrize(
    ("configured", "words"),
    [("no.such.Module", "cannot be imported"), (object, "not a subclass"), (5, "not a subclass"),
     (modules.Module, "has no id")],
)  # fmt: skip
def test_bad_modules(ledger_db: str, settings: Any, configured: Any, words: str) -> None:
    settings.NUCLEUS_LEDGER = {"MODULES": [configured]}
    with pytest.raises(ConfigurationError, match=words):
        Entry.objects.using(ledger_db).append("s", {})
