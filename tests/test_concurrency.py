"""Many processes on one ledger: real ones, some rolled back, some killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Site

WRITERS, ENTRIES = 8, 250

# What each process runs. It prints one line per entry that was acknowledged to it, and retries
# what ordinary retry code retries: OperationalError, and nothing else.
WRITER = """
import json, os, random, sys, time
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django
django.setup()
from django.db import OperationalError, transaction
from nucleus_ledger.models import Entry

number, entries = int(sys.argv[1]), int(sys.argv[2])
streams, how = sys.argv[3].split(","), sys.argv[4]

class Rollback(Exception):
    pass

def append(n):
    if how == "batch":
        return Entry.objects.append_batch(
            [{"stream": s, "payload": {"w": number, "n": n}, "record_id": f"{number}-{n}"}
             for s in (streams if number % 2 else streams[::-1])])
    if how == "one":
        return [Entry.objects.append(streams[0], {"w": number, "n": n}, record_id=f"{number}-{n}")]
    with transaction.atomic():
        done = [Entry.objects.append(s, {"w": number, "n": n}, record_id=f"{number}-{n}")
                for s in (streams if how != "mixed" or number % 2 else streams[::-1])]
        if n % 5 == 4:
            raise Rollback
    return done

print("ready", flush=True)
sys.stdin.readline()
for n in range(entries):
    for attempt in range(1000):
        try:
            done = append(n)
        except OperationalError:  # back off, or the same two meet in the same deadlock again
            time.sleep(random.random() * 0.02 * min(attempt + 1, 10))
            continue
        except Rollback:
            done = []
        break
    else:
        raise SystemExit("a thousand attempts were not enough")
    for entry in done:
        print(json.dumps([entry.stream.name, entry.sequence, entry.hash]), flush=True)
"""


def start(
    site: Site, number: int, streams: list[str], how: str, entries: int = ENTRIES
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(number), str(entries), ",".join(streams), how],
        cwd=ROOT,
        env=site.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_together(site: Site, jobs: list[tuple[list[str], str]], kill: int = 0) -> list[list[Any]]:
    """Run the writers at once, kill some of them part of the way, and return what was told."""
    writers = [
        # Those to be killed never come to an end by themselves, however slow this process is.
        start(site, number, *job, entries=10**9 if number < kill else ENTRIES)
        for number, job in enumerate(jobs)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n", writer.stderr and writer.stderr.read()
    told: list[list[Any]] = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers[:kill]:
        assert writer.stdout is not None
        told.extend(json.loads(writer.stdout.readline()) for _ in range(20))
        writer.kill()
        # Not communicate(), which would pass over what readline() has read ahead.
        lines = writer.stdout.read().splitlines(keepends=True)
        told.extend(json.loads(line) for line in lines if line.endswith("\n"))
        assert writer.wait() == -9
        for pipe in (writer.stdin, writer.stdout, writer.stderr):
            assert pipe is not None
            pipe.close()
    for writer in writers[kill:]:
        output, errors = writer.communicate(timeout=400)
        told.extend(map(json.loads, output.splitlines()))
        assert (writer.returncode, errors) == (0, "")
    return told


def stored(site: Site) -> dict[tuple[str, int], str]:
    done = site.python(
        "print(json.dumps(list(Entry.objects.values_list('stream__name', 'sequence', 'hash'))))"
    )
    return {(name, sequence): digest for name, sequence, digest in json.loads(done.stdout)}


def check(site: Site, told: list[list[Any]]) -> dict[tuple[str, int], str]:
    """No gap, no fork, and nothing lost that was acknowledged."""
    entries = stored(site)
    assert len({(name, sequence) for name, sequence, _ in told}) == len(told)
    for name, sequence, digest in told:
        assert entries[name, sequence] == digest
    report = site.report()
    assert (report["result"], report["entries"]) == ("intact", len(entries))
    for stream in report["streams"]:
        assert stream["checked_to"] == stream["length"] - 1
    return entries


@pytest.mark.parametrize(
    ("streams", "how", "expected"),
    [
        (["one"], "one", WRITERS * ENTRIES),
        (["a", "b"], "atomic", WRITERS * ENTRIES // 5 * 4 * 2),
        (["a", "b", "c"], "batch", WRITERS * ENTRIES * 3),
        # In both orders: writers lock each other out, and the database breaks the deadlocks.
        (["a", "b"], "mixed", WRITERS * ENTRIES // 5 * 4 * 2),
    ],
)
def test_eight_processes(site: Site, streams: list[str], how: str, expected: int) -> None:
    told = run_together(site, [(streams, how)] * WRITERS)
    assert len(told) == expected
    assert len(check(site, told)) == expected


def test_killed_in_the_middle(site: Site) -> None:
    told = run_together(site, [(["a", "b"], "atomic")] * WRITERS, kill=3)
    entries = check(site, told)
    assert len(entries) >= len(told)
    # What a killed process did not get to hear of may be stored, but only whole transactions are.
    per_stream = [sum(1 for name, _ in entries if name == stream) for stream in ("a", "b")]
    assert per_stream[0] == per_stream[1]


def test_verification_while_writers_append_raises_no_false_alarm(site: Site) -> None:
    writers = [start(site, number, ["a", "b"], "atomic") for number in range(4)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    done = site.python(
        "from nucleus_ledger import verification\n"
        "seen = []\n"
        "for turn in range(25):\n"
        "    mode = 'incremental' if turn % 2 else 'full'\n"
        "    report = verification.verify('default', mode=mode)\n"
        "    assert not report.findings_total, report.findings\n"
        "    assert not report.errors, report.errors\n"
        "    seen.append(report.entries)\n"
        "print(max(seen))"
    )
    assert int(done.stdout) > 0
    for writer in writers:
        _, errors = writer.communicate(timeout=240)
        assert (writer.returncode, errors) == (0, "")
    assert site.report()["result"] == "intact"


def test_memory_does_not_grow_with_the_ledger(sqlite_site: Site, tmp_path: Path) -> None:
    code = """
def fill(count):
    for start in range(0, count, 10_000):
        Entry.objects.append_batch(
            [{"stream": "s", "payload": {"n": n, "text": "x" * 100}} for n in range(10_000)])
if sys.argv[1] == "fill":
    fill(int(sys.argv[2]))
else:
    from nucleus_ledger import verification
    report = verification.verify("default")
    assert report.result == "intact"
    # Not ru_maxrss, which begins with that of the process which started this one.
    lines = open("/proc/self/status").read().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    print(report.entries, int(peak.split()[1]) // 1024)
"""
    peaks = []
    for added in ("20000", "180000"):
        sqlite_site.python(code, "fill", added)
        entries, peak = map(int, sqlite_site.python(code, "verify").stdout.split())
        peaks.append(peak)
    assert entries == 200_000
    assert peaks[1] < 100
    assert peaks[1] <= peaks[0] * 1.1
