"""The simulation against queueing theory, against arithmetic, and against the package itself."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import stdev

import pytest

from benchmarks import simulate
from benchmarks.simulate import Costs, Queue, mean, quantile
from nucleus_ledger import workers

ROOT = Path(__file__).parent.parent
HOLD = 0.0025
SEED = 20_260_722


def queue(
    load: float,
    *,
    streams: int = 1,
    workers: int | None = None,
    appends: int = 20_000,
    seed: int = SEED,
) -> Queue:
    """Run a queue that offers each stream's lock so much of what it can take."""
    return simulate.simulate_queue(
        rate=load * streams / HOLD,
        hold=HOLD,
        streams=streams,
        workers=workers,
        appends=appends,
        seed=seed,
    )


def md1_not_longer(load: float, wait: float) -> float:
    """The chance that an M/D/1 wait is at most that long, by Erlang's series (times in HOLD)."""
    time = wait / HOLD
    terms = (
        (load * (k - time)) ** k / math.factorial(k) * math.exp(-load * (k - time))
        for k in range(math.floor(time) + 1)
    )
    return (1 - load) * math.fsum(terms)


def runs(load: float, streams: int = 1) -> list[Queue]:
    return [queue(load, streams=streams, appends=8000, seed=SEED + n) for n in range(20)]


def error_of(values: list[float]) -> float:
    """The standard error of a mean over independent runs."""
    return stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize(
    ("load", "streams"), [(0.1, 1), (0.3, 1), (0.5, 10), (0.7, 1), (0.7, 4), (0.8, 1)]
)
def test_the_mean_wait_is_that_of_theory(load: float, streams: int) -> None:
    means = [mean(run.waits) for run in runs(load, streams)]
    theory = load * HOLD / (2 * (1 - load))
    assert error_of(means) < 0.05 * theory  # or there would be nothing that it could tell
    assert abs(mean(means) - theory) < 3 * error_of(means)
    assert simulate.md1_mean_wait(load / HOLD, HOLD) == pytest.approx(theory)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waits_of_every_length_are_as_rare_as_in_theory(load: float) -> None:
    every = [run.waits for run in runs(load)]
    for wait in (0.0, 0.5 * HOLD, HOLD, 1.7 * HOLD, 3 * HOLD, 6 * HOLD):
        shares = [sum(each <= wait for each in waits) / len(waits) for waits in every]
        theory = md1_not_longer(load, wait)
        assert abs(mean(shares) - theory) < max(3 * error_of(shares), 1e-4), wait


def test_workers_bound_the_wait_for_a_lock_and_queue_themselves() -> None:
    for number in (1, 2, 4):
        run = queue(0.7, workers=number)
        assert max(run.waits) <= (number - 1) * HOLD * (1 + 1e-9)
        assert mean(run.delays) >= mean(run.waits)
    # One lock, whoever waits for it where: an append comes to it as late as without workers.
    boundless = queue(0.7)
    assert boundless.delays == boundless.waits
    late = zip(queue(0.7, workers=3).delays, boundless.delays, strict=True)
    assert max(abs(one - other) for one, other in late) < 1e-9
    assert set(queue(0.7, workers=1).waits) == {0.0}
    assert queue(0.7, workers=20_000).waits == boundless.waits


def test_what_comes_in_goes_out() -> None:
    run = queue(0.5, streams=7, workers=5, appends=5000)
    assert len(run.waits) == len(run.delays) == 4500
    assert not run.saturated
    assert run.throughput == pytest.approx(0.5 * 7 / HOLD, rel=0.05)


@pytest.mark.parametrize(("streams", "workers", "most"), [(1, 8, 1), (3, None, 3), (1000, 4, 4)])
def test_more_than_the_locks_or_the_workers_can_take(
    streams: int, workers: int | None, most: int
) -> None:
    run = queue(2, streams=streams, workers=workers)
    assert run.saturated
    assert run.throughput == pytest.approx(most / HOLD, rel=0.03)
    assert math.isinf(simulate.md1_mean_wait(2 / HOLD, HOLD))


def test_the_quantile_is_one_of_the_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    found = [quantile(values, share) for share in (0.01, 0.25, 0.26, 0.5, 0.99, 1.0)]
    assert found == [1, 1, 2, 2, 4, 4]


def test_ranges_are_those_of_the_package() -> None:
    assert (
        simulate.RANGES_PER_WORKER,
        simulate.SMALLEST_RANGE,
        simulate.LARGEST_RANGE,
        simulate.MOST_RANGES,
    ) == (
        workers._RANGES_PER_WORKER,
        workers.SMALLEST_RANGE,
        workers._LARGEST_RANGE,
        workers._MOST_RANGES,
    )
    for entries in (1, 9999, 10_000, 123_457, 10**7 + 3):
        for streams in (1, 7):
            for cores in (1, 16):
                assert sum(simulate.ranges(entries, streams, cores)) == entries


EVEN = Costs(range_seconds=0, range_spread=0, read_bytes_per_second=1e30)


def test_verification_is_divided_among_cores_and_replicas() -> None:
    def seconds(cores: int, replicas: int = 1, costs: Costs = EVEN) -> float:
        return simulate.verification_seconds(
            costs, 64_000_000, streams=8, cores=cores, replicas=replicas, seed=SEED
        )

    one = 64_000_000 / EVEN.verified_per_second
    assert seconds(1) == pytest.approx(one)
    assert seconds(16) == pytest.approx(one / 16)
    assert seconds(4, replicas=4) == pytest.approx(one / 16)
    # 128 ranges on 48 cores are three rounds, the last of them not full.
    assert seconds(48) == pytest.approx(one * 3 / 128, rel=0.7 / 3)
    assert seconds(48) > one / 48
    # Uneven ranges cost something, and no more than the slowest of the last round.
    uneven = seconds(16, costs=Costs(range_seconds=0, read_bytes_per_second=1e30))
    assert one / 16 < uneven < one / 16 * 1.2
    # What the server cannot deliver, no number of cores reads.
    narrow = Costs(range_seconds=0, range_spread=0, entry_bytes=1000, read_bytes_per_second=64e7)
    assert seconds(64, costs=narrow) == pytest.approx(100)
    assert seconds(64, replicas=4, costs=narrow) == pytest.approx(25)


def test_checkpoints_cost_what_the_changed_streams_cost() -> None:
    assert simulate.changed_streams(1, 1, 1e9) == pytest.approx(1)
    assert simulate.changed_streams(1, 10**9, 60) == pytest.approx(60, rel=1e-6)
    # As many appends as streams leave one stream in e untouched.
    assert simulate.changed_streams(1000 / 60, 1000, 60) == pytest.approx(1000 * (1 - 1 / math.e))
    costs = Costs(checkpoint_seconds=0.002, commit_seconds=0.01)
    assert simulate.checkpoint_seconds(costs, 500) == pytest.approx(1.01)


def table(title: str, text: str) -> list[list[str]]:
    """The rows of the table under a heading, the header first."""
    part = text.split(f"## {title}")[1].split("## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


def report(costs: Costs | None = None, seed: int = 1) -> str:
    return "\n".join(simulate.report(costs or Costs(), appends=300, seed=seed))


def test_a_seed_decides_everything() -> None:
    command = [sys.executable, "-m", "benchmarks.simulate", "--appends", "300"]
    told = [
        subprocess.run(
            [*command, "--seed", seed],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, hashes in (("1", "1"), ("1", "2"), ("2", "1"))
    ]
    assert told[0] == told[1] == report() + "\n"
    assert told[0] != told[2]
    assert queue(0.7, appends=100).waits == queue(0.7, appends=100).waits
    assert queue(0.7, appends=100).waits != queue(0.7, appends=100, seed=SEED + 1).waits


def test_every_size_is_in_every_table() -> None:
    text = report()
    wanted = [f"10^{power}" for power in range(6, 11)]
    for title, each in (
        ("Waiting", 4),
        ("Full verification", 2),
        ("Full verification at replicas", 1),
        ("Checkpoints", 3),
        ("Storage", 1),
    ):
        header, *rows = table(title, text)
        assert [row[0] for row in rows] == [size for size in wanted for _ in range(each)]
        assert {len(row) for row in rows} == {len(header)}
    assert [row[1] for row in table("Storage", text)[1:]] == [
        "1 GB",
        "10 GB",
        "100 GB",
        "1 TB",
        "10 TB",
    ]


def test_measured_costs_take_the_place_of_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "measured.json"
    file.write_text(json.dumps({"entry_bytes": 2000, "lock_seconds": 0.004}))
    assert simulate.main(["--measured", str(file), "--appends", "300"]) == 0
    text = capsys.readouterr().out
    assert text == report(Costs(entry_bytes=2000, lock_seconds=0.004)) + "\n"
    assert table("Storage", text)[1][1] == "2 GB"
    assert "A lock is held for 5 ms: a stream takes at most 200 appends/s" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "not an object"),
        ("{", "measured.json: "),
        ('{"lock_second": 1}', "unknown cost: lock_second"),
        ('{"entry_bytes": 0}', "entry_bytes is not a number above 0: 0"),
        ('{"entry_bytes": "1"}', "entry_bytes is not"),
        ('{"entry_bytes": true}', "entry_bytes is not"),
        ('{"entry_bytes": NaN}', "entry_bytes is not"),
        ('{"entry_bytes": Infinity}', "entry_bytes is not"),
        ('{"range_spread": 1}', "range_spread is not below 1"),
    ],
)
def test_costs_that_are_none_are_refused(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "measured.json"
    file.write_text(text)
    with pytest.raises(SystemExit) as caught:
        simulate.main(["--measured", str(file)])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err
