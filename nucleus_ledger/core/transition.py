"""What a run makes of the stored status of a stream: the one rule by which a break is lifted.

A break is lifted only by a run that read at least as much, and held it against at least the
evidence that found the break. Runs are ordered by their keys and not by the clock, and a finding
always counts, whichever run it is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["full", "incremental", "range"]
Result = Literal["intact", "intact_since", "acknowledged", "tampered", "unknown"]
StatusResult = Literal["intact", "acknowledged", "tampered"]
Why = Literal["", "mode", "length", "evidence", "order", "unread"]


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """A checkpoint by size and root (hex). Size 0 is one of which nothing is known any more."""

    size: int
    root: str


SOME = CheckpointRef(0, "")


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a stream. `length` is how long it was, `evidence` what found the break.

    Not `ordered` where nobody vouches for `run`: a key that somebody made up, or of a run that is
    gone, must not be later than every run to come.
    """

    result: StatusResult
    run: int
    length: int = 0
    evidence: CheckpointRef | None = None
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run says of a stream.

    `whole`: it was read from its first entry. `held`: the checkpoint it was held against.
    `covers`: a checkpoint that the log of `held` was found to include. `evident`: a finding came
    of that. `on_record`: the stored break was acknowledged by its run.
    """

    run: int
    mode: Mode
    result: Result
    length: int = 0
    whole: bool = True
    held: CheckpointRef | None = None
    covers: CheckpointRef | None = None
    evident: bool = False
    on_record: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """What is to be said of the stream, and whether the run's row takes the stored one's place.

    `why` says why a stored break stands, `evidence` what it needs from now on.
    """

    result: Result
    stored: bool
    why: Why = ""
    evidence: CheckpointRef | None = None


def decide(known: Known | None, outcome: Outcome) -> Transition:
    """Return what a run makes of what is stored."""
    stands = known is not None and known.result != "intact"
    if outcome.result == "tampered":
        return _after_finding(known, outcome)
    if outcome.result == "unknown" or outcome.mode == "range":
        if known is not None and stands:
            return Transition(known.result, False, "unread")
        return Transition(outcome.result, False)
    if known is None:  # an incremental run without its base would say more than was read
        return Transition(outcome.result, outcome.result != "intact_since", "", _found_by(outcome))
    if _is_older(outcome, known):
        if stands:
            return Transition(known.result, False, "order")
        return Transition(outcome.result, False)
    if not stands:
        return Transition(outcome.result, True, "", _found_by(outcome))
    return _after_break(known, outcome)


def includes(known: Known, outcome: Outcome) -> bool:
    """Whether a run held a stream against at least the evidence that found its break."""
    needed, held = known.evidence, outcome.held
    if needed is None:
        return True
    if held is None:
        return False
    if not needed.size:
        return True
    return needed == held or (needed.size < held.size and needed == outcome.covers)


def _after_finding(known: Known | None, outcome: Outcome) -> Transition:
    found_by = _found_by(outcome)
    if known is None or known.result == "intact":
        return Transition("tampered", True, "", found_by)
    if known.result == "acknowledged":
        needed = found_by if includes(known, outcome) else _stronger(known.evidence, found_by)
        return Transition("tampered", True, "", needed)
    newer = not _is_older(outcome, known) and includes(known, outcome)
    return Transition("tampered", newer, "", found_by if newer else known.evidence)


def _after_break(known: Known, outcome: Outcome) -> Transition:
    """Go on from a stored break, tampered or acknowledged, after a run without a new finding."""
    why = _why_it_stands(known, outcome)
    if not why:
        return Transition(outcome.result, True, "", _found_by(outcome))
    if known.result == "acknowledged":  # amber goes on as far as was read now
        return Transition("acknowledged", True, why, known.evidence)
    if outcome.on_record and outcome.whole and outcome.mode == "full":
        needed = None if known.evidence == SOME else known.evidence
        return Transition("acknowledged", True, why, needed)
    return Transition("tampered", False, why, known.evidence)


def _why_it_stands(known: Known, outcome: Outcome) -> Why:
    if outcome.mode != "full" or not outcome.whole:
        return "mode"
    if outcome.length < known.length:
        return "length"
    return "" if includes(known, outcome) else "evidence"


def _is_older(outcome: Outcome, known: Known) -> bool:
    return known.ordered and outcome.run < known.run


def _found_by(outcome: Outcome) -> CheckpointRef | None:
    return outcome.held if outcome.evident else None


def _stronger(one: CheckpointRef | None, other: CheckpointRef | None) -> CheckpointRef | None:
    return max((each for each in (one, other) if each), key=lambda each: each.size, default=None)
