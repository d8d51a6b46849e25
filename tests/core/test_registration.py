"""When entries were registered, and which claim to be older, against a slow way to tell."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nucleus_ledger.core.manifest import Restored
from nucleus_ledger.core.manifestlog import Expectation, NewestManifest
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.registration import LateEntries, Notice
from tests.core.test_manifestlog import START, Site, hashes, head, rows


def judged(
    expectation: Expectation, windows: list[Window], *, limit: int = 1000
) -> tuple[list[Notice], int]:
    late = LateEntries("s", expectation, limit)
    for window in windows:
        late.feed(window)
    return list(late.notices), late.total


def slowly(lengths: list[int], times: list[int], slack: int) -> list[Notice]:
    """Judge each entry by looking through all manifests, one a second, that have the stream."""
    found: list[Notice] = []
    for sequence, time in enumerate(times):
        without = [n for n, length in enumerate(lengths) if length <= sequence]
        having = [n for n, length in enumerate(lengths) if length > sequence]
        if not without or time >= START + 1000 * without[-1] - slack:
            continue
        lag = START + 1000 * without[-1] - time
        by = START + 1000 * having[0] if having else None
        last = found[-1] if found else None
        if last and last.first_sequence + last.count == sequence:
            found[-1] = replace(last, count=last.count + 1, registered_by=by,
                                greatest_lag=max(last.greatest_lag, lag))  # fmt: skip
        else:
            after = START + 1000 * without[-1]
            found.append(Notice("s", sequence, 1, lag, after, by))
    return found


def test_it_tells_what_a_look_through_all_manifests_tells() -> None:
    chance = random.Random(11)
    late = 0
    for _ in range(400):
        lengths = sorted(chance.randrange(0, 25) for _ in range(chance.randrange(1, 9)))
        lengths = [0] * chance.randrange(0, 3) + lengths  # the stream came later than the log
        site = Site()
        before = 0
        for length in lengths:
            site.add([head("s", length)] if length != before else [])
            before = length
        times = sorted(chance.randrange(START - 2000, START + 11_000) for _ in range(28))
        if chance.random() < 0.5:
            chance.shuffle(times)
        slack = chance.choice([0, 0, 1500])
        windows = rows(hashes("s", 28), times, size=chance.randrange(1, 30))
        expected = slowly(lengths, times, slack)
        late += len(expected)
        found, total = judged(Expectation(site.log.marks("s"), slack), windows)
        assert (found, total) == (expected, sum(each.count for each in expected)), lengths
    assert late > 400


@pytest.mark.parametrize(
    ("length", "second", "told"),
    [
        (4, 1, [(4, 2)]),  # after the newest length, and older than the newest manifest with it
        (4, 3, []),
        (2, 0, [(2, 2)]),  # after an older length: older than the last manifest that had it
        (2, 1, []),
    ],
)
def test_every_entry_between_two_manifests_is_judged(
    length: int, second: int, told: list[tuple[int, int]]
) -> None:
    site = Site()
    for heads in ([head("s", 2)], [], [head("s", 4)], []):
        site.add(heads)
    times = [START] * 2 + [START + 1000] * (length - 2) + [START + 1000 * second] * 4
    if length == 2:
        times[4:] = [START + 10**6] * (len(times) - 4)
    chain = hashes("s", 6)
    found, _total = judged(Expectation(site.log.marks("s")), rows(chain, times[:6]))
    assert [(each.first_sequence, each.count) for each in found] == told
    assert judged(Expectation(site.log.marks("s"), 10**7), rows(chain, times[:6])) == ([], 0)


def test_a_stream_that_no_manifest_has_was_registered_after_all_of_them() -> None:
    site = Site()
    site.add([head("s", 2)])
    site.add([])
    (notice,), total = judged(
        Expectation(site.log.marks("new")), rows(hashes("new", 3), [START - 1, START, START + 1000])
    )
    assert (total, notice) == (2, Notice("s", 0, 2, 1001, START + 1000, None))
    assert notice.as_dict() == {
        "kind": "registered_late",
        "stream": "s",
        "first_sequence": 0,
        "count": 2,
        "greatest_lag_ms": 1001,
        "registered_after": "2026-11-24T00:00:01.000Z",
        "registered_by": None,
        "message": (
            "2 entries from #0 on were registered after 2026-11-24T00:00:01.000Z by the signer's "
            "clock; the timestamps claim up to 1.001 s earlier"
        ),
    }


def test_of_the_newest_manifest_alone_only_what_came_after_it_is_judged() -> None:
    site = Site()
    manifest = site.add([head("s", 2)])
    newest = NewestManifest(manifest, {"s": head("s", 2)})
    old = [START - 10**6] * 3
    expectation = Expectation(newest.marks("s"), complete=newest.complete)
    assert expectation.times_from == 2
    (notice,), total = judged(expectation, rows(hashes("s", 3), old))
    assert (notice.first_sequence, total) == (2, 1)
    absent = Expectation(newest.marks("other"), complete=newest.complete)
    assert absent.times_from == 0
    assert judged(absent, rows(hashes("other", 3), old))[1] == 3


def test_after_a_restore_the_time_before_the_loss_counts() -> None:
    site = Site()
    site.add([head("s", 4)])
    site.add([head("s", 9)])
    other = [*hashes("s", 4), *hashes("other", 20)]
    site.add([head("s", 7, other)], (), (Restored("s", 9, 4, "backup"),))
    times = [START + 5] * 7
    assert judged(Expectation(site.log.marks("s")), rows(other[:7], times)) == ([], 0)


def test_a_signer_whose_clock_went_back_takes_nothing_back() -> None:
    """The times of manifests rise by themselves; a log that says otherwise is not believed less."""
    site = Site()
    site.add([head("s", 1)])
    marks = list(site.log.marks("s"))
    later = replace(marks[0], head=head("s", 2), first=1, since=START - 500, until=START - 500)
    found, _total = judged(
        Expectation((*marks, later)), rows(hashes("s", 3), [START - 9, START - 9, START - 9])
    )
    assert found == [Notice("s", 1, 2, 9, START, None)]


def test_runs_beyond_the_limit_are_counted() -> None:
    site = Site()
    site.add([])
    times = [START - 1 if n % 2 else START for n in range(20)]
    found, total = judged(
        Expectation(site.log.marks("s")), rows(hashes("s", 20), times, size=5), limit=3
    )
    assert [each.first_sequence for each in found] == [1, 3, 5]
    assert total == 10


@pytest.mark.parametrize("bad", [None, "x", 2.5, -(10**30), True, b"\0"], ids=repr)
def test_what_a_tampered_column_holds_is_not_judged(bad: object) -> None:
    site = Site()
    site.add([])
    window = rows(hashes("s", 3), [START - 1, START - 1, START - 1])[0]
    expectation = Expectation(site.log.marks("s"))
    times = window._replace(timestamp=[START - 1, bad, START - 1])
    found, _total = judged(expectation, [times])
    assert [(each.first_sequence, each.count) for each in found] == [(0, 1), (2, 1)]
    places = window._replace(sequence=[0, bad, 2])
    found, _total = judged(expectation, [places])
    assert [(each.first_sequence, each.count) for each in found] == [(0, 1), (2, 1)]


def test_it_can_be_taken_up_again_anywhere() -> None:
    site = Site()
    site.add([head("s", 2)])
    site.add([head("s", 9)])
    expectation = Expectation(site.log.marks("s"))
    windows = rows(hashes("s", 12), [START - 1] * 12, size=1)
    whole = judged(expectation, windows)
    assert whole[1] == 10
    for place in range(12):
        first = LateEntries("s", expectation, 10)
        for window in windows[:place]:
            first.feed(window)
        second = LateEntries("s", expectation, 10)
        second.runs, second.total = list(first.runs), first.total
        for window in windows[place:]:
            second.feed(window)
        assert (list(second.notices), second.total) == whole
