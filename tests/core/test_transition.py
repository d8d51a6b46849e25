"""The rule by which a run changes the stored status of a stream: every transition there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from nucleus_ledger.core.against import Evidence
from nucleus_ledger.core.manifestlog import ManifestLog
from nucleus_ledger.core.transition import (
    SOME,
    CheckpointRef,
    Known,
    Outcome,
    Transition,
    decide,
)

NONE = None
C5, C8, FORK = CheckpointRef(5, "a" * 64), CheckpointRef(8, "b" * 64), CheckpointRef(5, "f" * 64)


def intact(run: int = 4) -> Known:
    return Known("intact", run, 10)


def tampered(evidence: CheckpointRef | None = None, run: int = 4) -> Known:
    return Known("tampered", run, 10, evidence)


def acknowledged(evidence: CheckpointRef | None = None, run: int = 4) -> Known:
    return Known("acknowledged", run, 10, evidence)


def run(result: Any, **options: Any) -> Outcome:
    return replace(Outcome(7, "full", result, 10), **options)


def says(result: Any, why: Any = "", evidence: CheckpointRef | None = None) -> Transition:
    return Transition(result, True, why, evidence)


def stands(result: Any, why: Any, evidence: CheckpointRef | None = None) -> Transition:
    return Transition(result, False, why, evidence)


PART = {"mode": "incremental", "whole": False}
TABLE: list[tuple[str, Known | None, Outcome, Transition]] = [
    # Nothing is stored.
    ("first intact", NONE, run("intact"), says("intact")),
    ("first finding", NONE, run("tampered"), says("tampered")),
    ("first, acknowledged", NONE, run("acknowledged"), says("acknowledged")),
    ("first, nothing read", NONE, run("unknown"), stands("unknown", "")),
    ("first, by a checkpoint", NONE, run("tampered", held=C5, evident=True),
     says("tampered", "", C5)),
    ("first, by the chain beside a checkpoint", NONE, run("tampered", held=C5), says("tampered")),
    ("first, a range", NONE, run("intact", mode="range"), stands("intact", "")),
    ("base gone meanwhile", NONE, run("intact_since", **PART), stands("intact_since", "")),
    ("incremental that read all", NONE, run("intact", mode="incremental"), says("intact")),
    # What is stored is intact.
    ("again", intact(), run("intact"), says("intact")),
    ("again, incremental", intact(), run("intact_since", **PART), says("intact_since")),
    ("broken", intact(), run("tampered"), says("tampered")),
    ("broken, incremental", intact(), run("tampered", **PART), says("tampered")),
    ("acknowledged at once", intact(), run("acknowledged"), says("acknowledged")),
    ("nothing read of it", intact(), run("unknown"), stands("unknown", "")),
    ("an older run", intact(9), run("intact"), stands("intact", "")),
    ("an older run with a finding", intact(9), run("tampered"), says("tampered")),
    ("an older run, acknowledged", intact(9), run("acknowledged"), stands("acknowledged", "")),
    # A break that the chain alone shows.
    ("mended", tampered(), run("intact"), says("intact")),
    ("mended, held against more", tampered(), run("intact", held=C5), says("intact")),
    ("on record", tampered(), run("acknowledged"), says("acknowledged")),
    ("incremental", tampered(), run("intact_since", **PART), stands("tampered", "mode")),
    ("incremental that read all of it", tampered(), run("intact", mode="incremental"),
     stands("tampered", "mode")),
    ("full, but not from the first", tampered(), run("intact", whole=False),
     stands("tampered", "mode")),
    ("a range of it", tampered(), run("intact", mode="range"), stands("tampered", "unread")),
    ("shorter", tampered(), run("intact", length=9), stands("tampered", "length")),
    ("longer", tampered(), run("intact", length=11), says("intact")),
    ("emptied", tampered(), run("unknown", length=0), stands("tampered", "unread")),
    ("an older run mends nothing", tampered(run=9), run("intact"), stands("tampered", "order")),
    ("an older run finds it too", tampered(run=9), run("tampered"), stands("tampered", "")),
    ("found again", tampered(), run("tampered"), says("tampered")),
    ("found by a checkpoint too", tampered(), run("tampered", held=C5, evident=True),
     says("tampered", "", C5)),
    # A break that a checkpoint shows.
    ("by the chain alone", tampered(C5), run("intact"), stands("tampered", "evidence", C5)),
    ("by the same", tampered(C5), run("intact", held=C5), says("intact")),
    ("by a fork of it", tampered(C5), run("intact", held=FORK),
     stands("tampered", "evidence", C5)),
    ("by a newer of the same log", tampered(C5), run("intact", held=C8, covers=C5),
     says("intact")),
    ("by a newer of another log", tampered(C5), run("intact", held=C8),
     stands("tampered", "evidence", C5)),
    ("by a newer that covers another", tampered(C5), run("intact", held=C8, covers=FORK),
     stands("tampered", "evidence", C5)),
    ("by an older", tampered(C8), run("intact", held=C5, covers=C5),
     stands("tampered", "evidence", C8)),
    ("acknowledged by the chain alone", tampered(C5), run("acknowledged"),
     stands("tampered", "evidence", C5)),
    ("acknowledged by the same", tampered(C5), run("acknowledged", held=C5, evident=True),
     says("acknowledged", "", C5)),
    ("on record, not found now", tampered(C5), run("intact", on_record=True),
     says("acknowledged", "evidence", C5)),
    ("on record, incremental", tampered(C5), run("intact_since", on_record=True, **PART),
     stands("tampered", "mode", C5)),
    ("on record, and broken anew", tampered(C5), run("tampered", on_record=True),
     stands("tampered", "", C5)),
    ("on record, and shorter", tampered(C5), run("intact", on_record=True, held=C5, length=3),
     says("acknowledged", "length", C5)),
    ("another finding, of the chain alone", tampered(C5), run("tampered"),
     stands("tampered", "", C5)),
    ("found again by the same", tampered(C5), run("tampered", held=C5, evident=True),
     says("tampered", "", C5)),
    ("what the checkpoint found is gone", tampered(C5), run("tampered", held=C5),
     says("tampered")),
    ("found by a newer", tampered(C5), run("tampered", held=C8, covers=C5, evident=True),
     says("tampered", "", C8)),
    # A break of which the evidence was lost: somebody changed the row.
    ("lost, by the chain alone", tampered(SOME), run("intact"),
     stands("tampered", "evidence", SOME)),
    ("lost, by any checkpoint", tampered(SOME), run("intact", held=FORK), says("intact")),
    ("lost, on record", tampered(SOME), run("intact", on_record=True),
     says("acknowledged", "evidence")),
    # A break on record.
    ("amber, mended", acknowledged(), run("intact"), says("intact")),
    ("amber, again", acknowledged(), run("acknowledged"), says("acknowledged")),
    ("amber, incremental", acknowledged(), run("acknowledged", **PART),
     says("acknowledged", "mode")),
    ("amber, an incremental that read all", acknowledged(), run("intact", mode="incremental"),
     says("acknowledged", "mode")),
    ("amber, shorter", acknowledged(), run("intact", length=3), says("acknowledged", "length")),
    ("amber, by the chain alone", acknowledged(C5), run("intact"),
     says("acknowledged", "evidence", C5)),
    ("amber, by the same", acknowledged(C5), run("intact", held=C5), says("intact")),
    ("amber, broken anew by the chain", acknowledged(C5), run("tampered"),
     says("tampered", "", C5)),
    ("amber, broken anew", acknowledged(C5), run("tampered", held=C8, covers=C5, evident=True),
     says("tampered", "", C8)),
    ("amber, nothing read", acknowledged(), run("unknown"), stands("acknowledged", "unread")),
    ("amber, an older run", acknowledged(run=9), run("intact"), stands("acknowledged", "order")),
    ("amber, an older finding", acknowledged(run=9), run("tampered"), says("tampered")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "outcome", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_each_transition(known: Known | None, outcome: Outcome, expected: Transition) -> None:
    assert decide(known, outcome) == expected


ORDER = ["intact", "intact_since", "unknown", "acknowledged", "tampered"]


def test_over_all_there_are_a_break_is_lifted_only_by_as_much() -> None:
    """The rule again, said in another way, over every combination of what matters."""
    knowns = [
        Known(result, key, length, evidence)  # type: ignore[arg-type]
        for result, key, length, evidence in product(
            ("tampered", "acknowledged"), (4, 9), (0, 10, 12), (None, C5, C8, FORK, SOME)
        )
    ]
    outcomes = [
        Outcome(7, mode, result, length, whole, held, covers, evident, on_record)  # type: ignore[arg-type]
        for mode, result, length, whole, held, covers, evident, on_record in product(
            ("full", "incremental", "range"), ORDER, (0, 10), (True, False),
            (None, C5, C8, FORK), (None, C5, FORK), (True, False), (True, False),
        )
    ]  # fmt: skip
    lifted = 0
    for known, outcome in product(knowns, outcomes):
        transition = decide(known, outcome)
        case = (known, outcome, transition)
        assert ORDER.index(transition.result) >= ORDER.index(outcome.result) or (
            outcome.result == "unknown"
        ), case
        if ORDER.index(transition.result) >= ORDER.index(known.result):
            continue
        lifted += 1
        assert outcome.run > known.run, case
        assert (outcome.mode, outcome.whole) == ("full", True), case
        if transition.result == "acknowledged" and outcome.on_record:
            continue
        assert outcome.length >= known.length, case
        needed, held = known.evidence, outcome.held
        if needed is not None:
            assert held is not None, case
            assert held.size >= needed.size, case
            assert needed in (SOME, held, outcome.covers), case
    assert lifted > 100


def test_what_evidence_covers() -> None:
    """The same size needs the same root; a larger log is asked for its root at that size."""
    roots = {5: C5.root}
    evidence = Evidence(log=ManifestLog(), checkpoint=C8, root_at=roots.get)
    assert evidence.covers(C5)
    assert evidence.covers(C8)
    assert not evidence.covers(FORK)
    assert not evidence.covers(CheckpointRef(8, "c" * 64))
    assert not evidence.covers(CheckpointRef(9, "b" * 64))
    assert not evidence.covers(CheckpointRef(6, C5.root))
    assert not Evidence(checkpoint=C8, root_at=roots.get).covers(C8)  # nothing was held against it
