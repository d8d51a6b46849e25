"""What somebody demands of a verification beside the chain being whole, and what of it is not met.

A demand that is not met says nothing of tampering: it was not looked at as well as was asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from nucleus_ledger.core.moments import moment
from nucleus_ledger.core.report import ASSURANCES, Assurance, Report

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Demands:
    """The least assurance of every stream, and how old the newest checkpoint may be at most."""

    assurance: Assurance | None = None
    newer_than: timedelta | None = None

    def __bool__(self) -> bool:
        return self.assurance not in (None, "chain") or self.newer_than is not None


@dataclass(frozen=True, slots=True)
class Held:
    """What the newest checkpoint says of itself: when it was made (ms), and if that is signed.

    `made` is None where the ledger was held against none.
    """

    made: int | None = None
    signed: bool = False


def unmet(report: Report, demands: Demands, held: Held, *, now: int, slack: int) -> list[str]:
    """Return a sentence for each demand that a run does not meet; times in ms since 1970.

    A checkpoint that is dated ahead of `now` by more than `slack` is of no known age.
    """
    if not demands:
        return []
    if held.made is not None and not held.signed:
        return ["no vkey was given: a checkpoint whose signature was not checked meets no demand"]
    return [*_assurance(report, demands), *_age(demands, held, now, slack)]


def parse_duration(text: str) -> timedelta | None:
    """Read `90m`, `36h`, `7d`, `2w` or `45s`; None where it is none, or not above zero."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if match is None or not int(match[1]):
        return None
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _assurance(report: Report, demands: Demands) -> list[str]:
    wanted = demands.assurance
    if wanted is None:
        return []
    if report.mode == "incremental" and wanted != "chain":
        return [
            f"assurance {wanted} is not reached: an incremental run does not read what a "
            "checkpoint covers; leave --incremental out"
        ]
    below = [
        f"{stream.name!r} ({stream.assurance})"
        for stream in report.assured_streams
        if ASSURANCES.index(stream.assurance) < ASSURANCES.index(wanted)
    ]
    if not below:
        return []
    more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
    return [
        f"assurance {wanted} is not reached by stream {', '.join(below[:_SHOWN])}{more}: no such "
        "checkpoint covers it, or it was not held against one"
    ]


def _age(demands: Demands, held: Held, now: int, slack: int) -> list[str]:
    most = demands.newer_than
    if most is None:
        return []
    if held.made is None:
        return ["no checkpoint was found to be new enough: the ledger was held against none"]
    if held.made > now + slack:
        return [
            f"the newest checkpoint is dated ahead of now, {moment(held.made)}: it has no age "
            "(docs/operations.md, A signer's clock that was fast)"
        ]
    if now - held.made > most / timedelta(milliseconds=1):
        return [f"the newest checkpoint is of {moment(held.made)}, which is longer ago than {most}"]
    return []
