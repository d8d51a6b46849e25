"""Values as findings bear them."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest

from nucleus_ledger.core.record import is_label
from nucleus_ledger.core.shown import EVIDENCE_LIMIT, evidence, stream_name


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_deep_document_is_not_shown_and_told_by_its_depth() -> None:
    assert evidence(nested(64)) != "a document of 64 levels, which is too deep to be shown"
    assert evidence(nested(65)) == "a document of 65 levels, which is too deep to be shown"
    assert "960 levels" in evidence({"a": nested(959)})


def test_what_is_shown_does_not_depend_on_how_deep_the_caller_is() -> None:
    said: list[Any] = []

    def descend(frames: int) -> None:
        if frames:
            descend(frames - 1)
        else:
            said.append(evidence(nested(990)))

    for frames in (0, sys.getrecursionlimit() - 100):
        thread = threading.Thread(target=descend, args=(frames,))
        thread.start()
        thread.join()
    assert len(said) == 2
    assert len(set(said)) == 1


@pytest.mark.parametrize("value", [nested(60), [[1] * 900], [{"a": 1}] * 200], ids=range(3))
def test_a_report_that_is_indented_stays_small(value: Any) -> None:
    size = len(json.dumps(evidence(value), indent=2))
    assert size <= 2 * EVIDENCE_LIMIT + 200


@pytest.mark.parametrize("value", [1, "text", None, True, [], {}, [1, {"a": [2]}], 1.5])
def test_a_small_value_is_itself(value: Any) -> None:
    assert evidence(value) == value


def test_a_name_that_is_too_long_is_shortened_and_is_no_other_name() -> None:
    assert stream_name("a" * 200) == "a" * 200
    for length in (201, 1000, 10**6):
        found = stream_name("a" * length)
        assert 200 < len(found) <= 250
        assert not is_label(found)
        assert found != stream_name("a" * (length + 1))
