"""What sizes cost that nobody has measured: lock queues simulated, the rest reckoned.

`python -m benchmarks.simulate [--measured FILE.json]` takes the costs of single things, measured
or the defaults below, and prints Markdown tables for ledgers of a million to ten thousand million
entries. It knows nothing that is not in `Costs` or said under a table.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random

ENTRIES = tuple(10**power for power in range(6, 11))
WORKERS = (4, 16, 64)
STREAMS = (1, 10, 100, 1000)
CHECKPOINT_STREAMS = (100, 10_000, 1_000_000)
CORES = (1, 2, 4, 8, 16, 32, 64)
REPLICAS = (1, 2, 4, 8)
CORES_PER_REPLICA = 16
HOUR, DAY = 3600, 86_400
YEAR = 365 * DAY
INTERVALS = {"minute": 60, "hour": HOUR, "day": DAY}
ARRIVAL = -1
# How `nucleus_ledger.workers` cuts long streams; a test holds these to be the same.
RANGES_PER_WORKER, SMALLEST_RANGE, LARGEST_RANGE, MOST_RANGES = 64, 5_000, 500_000, 1000


@dataclass(frozen=True, slots=True)
class Costs:
    """What single things cost. The defaults are the order of a small server with an SSD.

    A stream's lock is held for `lock_seconds`, while the entry is placed and written, and then
    until the commit is on the disk.
    """

    lock_seconds: float = 0.0015
    commit_seconds: float = 0.001
    verified_per_second: float = 150_000.0  # entries, by one core
    entry_bytes: float = 1000.0  # on the disk, with the indexes
    checkpoint_seconds: float = 0.0005  # for each stream that changed
    # Assumed rather than measured.
    read_bytes_per_second: float = 2e9  # that one database server reads and sends
    range_seconds: float = 0.005  # that a range takes beside its entries
    range_spread: float = 0.1  # how far ranges of one size differ in speed, to either side
    peak: float = 10.0  # appends in the busiest minutes, against those of the whole year

    @property
    def hold_seconds(self) -> float:
        return self.lock_seconds + self.commit_seconds

    @classmethod
    def from_json(cls, text: str) -> Costs:
        """Read measured costs; what is not named keeps its default. Raises `ValueError`."""
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("the measured costs are not an object")
        unknown = sorted(document.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown cost: {', '.join(unknown)}")
        for name, value in document.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            least = 0 if name in ("range_seconds", "range_spread") else sys.float_info.min
            if not (number and least <= value < math.inf):
                raise ValueError(f"{name} is not a number above 0: {value!r}")
        if document.get("range_spread", 0) >= 1:
            raise ValueError("range_spread is not below 1")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a simulated queue did; the waits are those of all appends but the first tenth.

    `waits` are the seconds from asking for a stream's lock to holding it, `delays` those from the
    arrival on; `behind` the seconds from the last arrival until everything was done, `throughput`
    the appends in a second.
    """

    waits: Sequence[float]
    delays: Sequence[float]
    behind: float
    seconds: float
    throughput: float

    @property
    def saturated(self) -> bool:
        """Whether more came in than went out: then waits say how long the run was, no more."""
        return self.behind > 0.05 * self.seconds


def simulate_queue(
    *, rate: float, hold: float, streams: int, workers: int | None, appends: int, seed: int
) -> Queue:
    """Let appends arrive at random times, for random streams, and go through workers and locks.

    Arrivals are Poisson, `rate` in a second, evenly over the streams. A free worker takes the
    append that came first, asks for the stream's lock, waits behind those who asked before, holds
    it for `hold` seconds and is free again. Without `workers` there is always a free one.
    """
    random = Random(seed)
    waits: list[float] = []
    delays: list[float] = []
    free = math.inf if workers is None else workers
    arrived: list[float] = []
    backlog: deque[tuple[int, int]] = deque()
    asked: list[deque[tuple[int, float]]] = [deque() for _ in range(streams)]
    held = [False] * streams
    # Time, then the order of coming about, then the stream whose lock is let go of.
    events = [(random.expovariate(rate), 0, ARRIVAL)]
    order, now = 0, 0.0

    def later(seconds: float, stream: int) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (now + seconds, order, stream))

    def ask(stream: int, append: int) -> None:
        if held[stream]:
            asked[stream].append((append, now))
        else:
            held[stream] = True
            grant(stream, append, now)

    def grant(stream: int, append: int, since: float) -> None:
        if append >= appends // 10:
            waits.append(now - since)
            delays.append(now - arrived[append])
        later(hold, stream)

    while events:
        now, _, stream = heapq.heappop(events)
        if stream == ARRIVAL:
            arrived.append(now)
            backlog.append((random.randrange(streams), len(arrived) - 1))
            if len(arrived) < appends:
                later(random.expovariate(rate), ARRIVAL)
        else:
            free += 1
            if asked[stream]:
                grant(stream, *asked[stream].popleft())
            else:
                held[stream] = False
        if backlog and free:
            free -= 1
            ask(*backlog.popleft())
    return Queue(waits, delays, now - arrived[-1], now, appends / now)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least of the values that this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def md1_mean_wait(rate: float, hold: float) -> float:
    """Return the mean wait of an M/D/1 queue: Pollaczek and Khinchine, equal service times."""
    load = rate * hold
    return math.inf if load >= 1 else load * hold / (2 * (1 - load))


def ranges(entries: int, streams: int, cores: int) -> Iterator[int]:
    """Yield the sizes of the ranges that so many cores read of equally long streams."""
    size = min(max(entries // (cores * RANGES_PER_WORKER), SMALLEST_RANGE), LARGEST_RANGE)
    length, longer = divmod(entries, streams)
    size = max(size, length // MOST_RANGES)
    for stream in range(streams):
        whole, rest = divmod(length + (stream < longer), size)
        yield from (size for _ in range(whole))
        if rest:
            yield rest


def verification_seconds(
    costs: Costs, entries: int, *, streams: int, cores: int, replicas: int = 1, seed: int
) -> float:
    """Return how long a full verification takes, each range going to the core that is free first.

    Every replica has `cores` cores and its share of the streams: requires replicas <= streams. No
    replica is read faster than its disk and wire allow, however many cores there are.
    """
    random = Random(seed)
    share = math.ceil(entries / replicas)
    busy_until = [0.0] * cores
    for size in ranges(share, math.ceil(streams / replicas), cores):
        pace = 1 + costs.range_spread * random.uniform(-1, 1)
        seconds = size / costs.verified_per_second * pace + costs.range_seconds
        heapq.heapreplace(busy_until, busy_until[0] + seconds)
    return max(max(busy_until), share * costs.entry_bytes / costs.read_bytes_per_second)


def changed_streams(rate: float, streams: int, seconds: float) -> float:
    """Return how many of the streams get an entry in that time, on average."""
    return streams * -math.expm1(-rate * seconds / streams)


def checkpoint_seconds(costs: Costs, changed: float) -> float:
    return changed * costs.checkpoint_seconds + costs.commit_seconds


def lock_table(costs: Costs, *, appends: int, seed: int) -> Iterator[str]:
    hold = costs.hold_seconds
    header = ["entries a year", "appends/s at peak", "streams", "load of a lock", "M/D/1 mean"]
    rows = []
    for entries in ENTRIES:
        rate = entries / YEAR * costs.peak
        for streams in STREAMS:
            load = rate * hold / streams
            theory = md1_mean_wait(rate / streams, hold)
            row = [_power(entries), _number(rate), str(streams), f"{100 * load:.3g} %"]
            row.append("∞" if math.isinf(theory) else _time(theory))
            for workers in WORKERS:
                queue = simulate_queue(
                    rate=rate,
                    hold=hold,
                    streams=streams,
                    workers=workers,
                    appends=appends,
                    seed=seed,
                )
                row.append(_waits(queue))
            rows.append(row)
    yield from _table([*header, *(f"{workers} workers: mean, p99" for workers in WORKERS)], rows)


def verification_table(costs: Costs, *, seed: int) -> Iterator[str]:
    rows = []
    for entries in ENTRIES:
        for streams in (1, 1000):
            seconds = [
                verification_seconds(costs, entries, streams=streams, cores=cores, seed=seed)
                for cores in CORES
            ]
            day = verification_seconds(costs, entries // 365, streams=1, cores=1, seed=seed)
            rows.append([_power(entries), str(streams), *map(_time, [*seconds, day])])
    header = ["entries", "streams", "1 core", *(f"{cores} cores" for cores in CORES[1:])]
    yield from _table([*header, "one day's entries, 1 core"], rows)


def replica_table(costs: Costs, *, seed: int) -> Iterator[str]:
    rows = []
    for entries in ENTRIES:
        seconds = [
            verification_seconds(
                costs,
                entries,
                streams=1000,
                cores=CORES_PER_REPLICA,
                replicas=replicas,
                seed=seed,
            )
            for replicas in REPLICAS
        ]
        rows.append([_power(entries), *map(_time, seconds)])
    header = ["entries", "1 replica", *(f"{each} replicas" for each in REPLICAS[1:])]
    yield from _table(header, rows)


def checkpoint_table(costs: Costs) -> Iterator[str]:
    rows = []
    for entries in ENTRIES:
        for streams in CHECKPOINT_STREAMS:
            row = [_power(entries), str(streams)]
            for interval in INTERVALS.values():
                changed = changed_streams(entries / YEAR, streams, interval)
                seconds = checkpoint_seconds(costs, changed)
                share = 100 * seconds / interval
                row.append(f"{_number(changed)}: {_time(seconds)}, {share:.2g} %")
            rows.append(row)
    yield from _table(["entries a year", "streams", *(f"every {name}" for name in INTERVALS)], rows)


def storage_table(costs: Costs) -> Iterator[str]:
    rows = [
        [
            _power(entries),
            _bytes(entries * costs.entry_bytes),
            _bytes(3 * entries * costs.entry_bytes),
            _bytes(entries * costs.entry_bytes / 365),
        ]
        for entries in ENTRIES
    ]
    header = ["entries", "one copy", "with two replicas", "a day's, where a year brings them"]
    yield from _table(header, rows)


def report(costs: Costs, *, appends: int, seed: int) -> Iterator[str]:
    """Yield the lines of all tables; the same ones for the same costs, appends and seed."""
    yield "# Simulated, not measured"
    yield ""
    yield from _table(
        ["cost", "value"],
        [[f"`{each.name}`", f"{getattr(costs, each.name):g}"] for each in fields(costs)],
    )
    yield ""
    yield f"Seed {seed}, {appends} appends in each queue."
    parts = (
        (
            "Waiting for a stream's lock",
            lock_table(costs, appends=appends, seed=seed),
            f"A lock is held for {_time(costs.hold_seconds)}: a stream takes at most "
            f"{_number(1 / costs.hold_seconds)} appends/s, a batch counting as one. Arrivals are "
            "Poisson and spread evenly; a stream busier than the others is a row of one stream at "
            "its own rate. On SQLite all streams of a file share one lock: one stream. M/D/1 is "
            "the theory for workers without number. In parentheses: the p99 from the arrival on, "
            "with the wait for a free worker. Where more comes in than goes out there is no wait "
            "to tell, but what goes out.",
        ),
        (
            "Full verification",
            verification_table(costs, seed=seed),
            f"One server, read at {_bytes(costs.read_bytes_per_second)}/s at most: beyond "
            f"{costs.read_bytes_per_second / costs.entry_bytes / costs.verified_per_second:.3g} "
            "cores it is the server that is waited for.",
        ),
        (
            f"Full verification at replicas of {CORES_PER_REPLICA} cores, 1000 streams",
            replica_table(costs, seed=seed),
            "Each replica is given its share of the streams by name.",
        ),
        (
            "Checkpoints: streams changed on average, seconds for them, share of the time",
            checkpoint_table(costs),
            "A share above 100 % means that a checkpoint is not done when the next is due.",
        ),
        (
            "Storage",
            storage_table(costs),
            "Of entries alone, without the write-ahead log and without backups.",
        ),
    )
    for title, lines, note in parts:
        yield from ("", f"## {title}", "")
        yield from lines
        yield from ("", note)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _waits(queue: Queue) -> str:
    if queue.saturated:
        return f"saturated at {_number(queue.throughput)}/s"
    waits = f"{_time(mean(queue.waits))}, {_time(quantile(queue.waits, 0.99))}"
    return f"{waits} ({_time(quantile(queue.delays, 0.99))})"


def _power(entries: int) -> str:
    return f"10^{round(math.log10(entries))}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _time(seconds: float) -> str:
    if seconds == 0:
        return "0"
    for unit, size in (("d", DAY), ("h", HOUR), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _bytes(value: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 10:
        raise argparse.ArgumentTypeError("is less than 10")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--measured", type=Path, metavar="FILE.json", help="fields of Costs")
    parser.add_argument("--appends", type=_whole_number, default=20_000, help="in each queue")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    costs = Costs()
    if options.measured:
        try:
            costs = Costs.from_json(options.measured.read_text("utf-8"))
        except (OSError, ValueError) as exc:
            parser.error(f"{options.measured}: {exc}")
    for line in report(costs, appends=options.appends, seed=options.seed):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
