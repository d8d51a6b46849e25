"""What is demanded of a verification beside a chain that is whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from nucleus_ledger.core.demands import Demands, Held, parse_duration, unmet
from tests.core.test_report import make_report, make_stream

NOW, SLACK = 1_800_000_000_000, 300_000
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        *((text, None) for text in ("", "7", "d", "0d", "-1d", "1.5h", "7 d", "7D", "7d\n", "1y")),
        ("9999999d", None),
        ("٧d", None),
    ],
)
def test_a_duration(text: str, expected: timedelta | None) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("demands", "held", "assurances", "said"),
    [
        ({}, Held(), ["chain"], []),
        ({"assurance": "chain"}, Held(), ["chain"], []),
        ({"assurance": "checkpoint"}, Held(NOW, True), ["checkpoint", "witnessed"], []),
        ({"assurance": "witnessed"}, Held(NOW, True), ["witnessed"], []),
        ({"assurance": "checkpoint"}, Held(), ["chain"], ["not reached by stream 's0' (chain)"]),
        ({"assurance": "checkpoint"}, Held(NOW, True), ["checkpoint", "chain"], ["'s1' (chain)"]),
        ({"assurance": "witnessed"}, Held(NOW, True), ["checkpoint"], ["'s0' (checkpoint)"]),
        ({"assurance": "checkpoint"}, Held(NOW, True), ["chain"] * 9, ["'s2' (chain) and 6 more"]),
        ({"assurance": "checkpoint"}, Held(NOW, False), ["checkpoint"], ["no vkey was given"]),
        ({"newer_than": 1}, Held(NOW, False), ["checkpoint"], ["no vkey was given"]),
        ({"newer_than": 1}, Held(NOW - HOUR, True), ["checkpoint"], []),
        ({"newer_than": 1}, Held(NOW - HOUR - 1, True), ["checkpoint"], ["ago than 1:00:00"]),
        ({"newer_than": 1}, Held(NOW + SLACK, True), ["checkpoint"], []),
        ({"newer_than": 1}, Held(NOW + SLACK + 1, True), ["checkpoint"], ["dated ahead of now"]),
        ({"newer_than": 1}, Held(), ["chain"], ["the ledger was held against none"]),
        ({"newer_than": 1, "assurance": "checkpoint"}, Held(), ["chain"], ["'s0'", "none"]),
    ],
)  # fmt: skip
def test_what_is_not_met(
    demands: dict[str, Any], held: Held, assurances: list[Any], said: list[str]
) -> None:
    if "newer_than" in demands:
        demands = {**demands, "newer_than": timedelta(hours=demands["newer_than"])}
    streams = [make_stream(name=f"s{n}", assurance=each) for n, each in enumerate(assurances)]
    report = make_report(streams=streams)
    found = unmet(report, Demands(**demands), held, now=NOW, slack=SLACK)
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence


def test_an_empty_stream_lowers_no_assurance_and_a_stream_that_is_gone_does() -> None:
    full = make_stream(assurance="checkpoint")
    empty = make_stream("unknown", name="e", length=0, entries_checked=0)
    gone = make_stream("tampered", name="g", length=0, entries_checked=0)
    assert make_report(streams=[full, empty]).assurance == "checkpoint"
    assert make_report(streams=[full, gone]).assurance == "chain"
    assert make_report(streams=[empty]).assurance == "chain"


def test_an_incremental_run_reaches_no_checkpoint() -> None:
    report = make_report("intact_since", mode="incremental")
    (said,) = unmet(report, Demands("checkpoint"), Held(NOW, True), now=NOW, slack=SLACK)
    assert "leave --incremental out" in said


@pytest.mark.parametrize(
    ("result", "options", "code"),
    [
        ("intact", {}, 2),
        ("tampered", {}, 1),
        ("unknown", {}, 2),
        ("acknowledged", {}, 1),
        ("acknowledged", {"accept_acknowledged": True}, 2),
        ("intact", {"strict_validate": True}, 2),
    ],
)
def test_a_demand_that_is_not_met_is_exit_2_unless_something_was_found(
    result: Any, options: dict[str, Any], code: int
) -> None:
    report = make_report(result, unmet=["it is not"])
    assert report.exit_code(**options) == code
    assert report.as_dict(code)["unmet"] == ["it is not"]
