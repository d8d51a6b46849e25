"""A figure: a ratio between two things timed in turn, or an amount, with its spread and goal."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

_OPERATORS = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach: `sign` is one of ≥, ≤ and <."""

    sign: str
    bound: float

    def met_by(self, value: float) -> bool:
        return bool(_OPERATORS[self.sign](value, self.bound))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a table.

    `value` is the median of the rounds; the middle half of them lies between `low` and `high`.
    `each` and `base_each` are median seconds for one operation of the subject and of what it is
    held against.
    `series` and `size` place it in a plot. With `error` there is no value.
    """

    what: str
    against: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = "×"
    goal: Goal | None = None
    size: int | None = None
    series: str = ""
    each: float | None = None
    base_each: float | None = None
    rounds: int = 0
    error: str = ""
    part: str = ""
    database: str = ""

    @property
    def met(self) -> bool | None:
        if self.goal is None or self.value is None:
            return None
        return self.goal.met_by(self.value)

    def as_dict(self) -> dict[str, Any]:
        document = asdict(self) | {"met": self.met}
        return {
            key: float(f"{value:.6g}") if isinstance(value, float) else value
            for key, value in document.items()
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Figure:
        fields = {key: value for key, value in document.items() if key != "met"}
        goal = fields["goal"] and Goal(**fields["goal"])
        return cls(**fields | {"goal": goal})


def speed(
    what: str, against: str, subject: Sequence[float], base: Sequence[float], **fields: Any
) -> Figure:
    """How many times as fast as `base` the subject is; both in seconds for one operation."""
    return _ratio(what, against, base, subject, subject, base, fields)


def cost(
    what: str, against: str, subject: Sequence[float], base: Sequence[float], **fields: Any
) -> Figure:
    """How many times the time of `base` the subject takes; both in seconds for one operation."""
    return _ratio(what, against, subject, base, subject, base, fields)


def amount(
    what: str, values: Sequence[float], unit: str = "×", against: str = "", **fields: Any
) -> Figure:
    """The median of what was measured in each round."""
    low, value, high = values[0], values[0], values[0]
    if len(values) > 1:
        low, value, high = quantiles(values, n=4, method="inclusive")
    return Figure(what, against, value, low, high, unit=unit, rounds=len(values), **fields)


def _ratio(
    what: str,
    against: str,
    over: Sequence[float],
    under: Sequence[float],
    subject: Sequence[float],
    base: Sequence[float],
    fields: dict[str, Any],
) -> Figure:
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    times = {"each": median(subject), "base_each": median(base)}
    return amount(what, ratios, **{"against": against} | times | fields)
