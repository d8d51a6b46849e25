"""The commands as a shell sees them: processes, output, exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, Site, lines_of

EVENTS = [
    {
        "stream": f"flights/{carrier}",
        "id": f"{carrier}{number}",
        "timestamp": 1_357_035_300_000 + number,
        "payload": {"flight": number, "dest": "IAH", "delay": number / 4},
        "meta": {"source": "test"},
    }
    for number in range(100)
    for carrier in ("AA", "UA", "ZZ")
]


def test_append_verify_and_append_again(site: Site) -> None:
    done = site.manage("append_entries", "-", "--batch-size", "64", text=lines_of(*EVENTS))
    assert (done.returncode, done.stdout) == (0, "300 entries appended.\n"), done.stderr
    report = site.report()
    assert (report["result"], report["intact"], report["entries"]) == ("intact", True, 300)
    assert [stream["name"] for stream in report["streams"]] == [
        "flights/AA", "flights/UA", "flights/ZZ"
    ]  # fmt: skip
    assert report["guards"]["ok"] is True
    done = site.manage("append_entries", text=lines_of(*EVENTS))
    assert done.returncode == 2
    assert "line 1: " in done.stderr
    assert "Nothing was appended" in done.stderr
    done = site.manage("append_entries", "--idempotent", text=lines_of(*EVENTS))
    assert done.stdout == "0 entries appended, 300 were there already.\n"
    incremental = site.report("--incremental")
    assert (incremental["result"], incremental["intact"]) == ("intact_since", None)
    assert all(stream["based_on"] for stream in incremental["streams"])
    status = json.loads(site.manage("ledger_status", "--format", "json").stdout)
    assert [facts["result"] for facts in status["streams"]] == ["intact"] * 3
    text = site.manage("ledger_status").stdout
    assert "300 entries in 3 streams" in text
    assert "guards in the database: present" in text


def test_persistence_across_processes(site: Site) -> None:
    """One process appends, another reads and appends on, a third verifies."""
    site.python("Entry.objects.append('proofs', {'subject_oid': 'a'}, record_id='record-1')")
    done = site.python(
        "one = Entry.objects.get_by_id('proofs', 'record-1')\n"
        "assert Entry.objects.load_entry(one.hash) == one\n"
        "assert Entry.objects.load_entry('nothing') is None\n"
        "assert Entry.objects.latest_hash('proofs') == one.hash\n"
        "two = Entry.objects.append('proofs', {'subject_oid': 'b'})\n"
        "assert two.prev_hash == one.hash\n"
        "found = Entry.objects.load_entries_range('proofs', from_hash=one.hash, limit=5)\n"
        "print([entry.sequence for entry in found])"
    )
    assert done.stdout == "[0, 1]\n"
    assert site.report()["entries"] == 2


def test_a_bad_line_is_named_and_what_was_committed_is_said(sqlite_site: Site) -> None:
    good = [{"stream": "s", "payload": {"n": n}} for n in range(10)]
    cases: list[tuple[str, str]] = [
        ("{", "line 11: "),
        ('{"stream": "s"}', "line 11: the record has no payload"),
        ('{"stream": "s", "payload": 1}', "line 11: payload is neither"),
        ('{"stream": "s", "payload": {}, "extra": 1}', "line 11: unknown key 'extra'"),
        ('{"stream": "s", "payload": {"a": 1e400}}', "line 11: "),
        ('{"stream": "nucleus.incidents", "payload": {}}', "line 11: stream 'nucleus.incidents'"),
        ('{"stream": "s", "payload": {}, "timestamp": 1}', "line 11: timestamp 1 lies before"),
        ("[]", "line 11: the line is not a JSON object"),
        ('{"stream": "s", "payload": {}, "stream": "s"}', "line 11: the key 'stream' occurs"),
        (
            '{"stream": "s", "payload": {"lines": [{"cents": 1, "cents": 100}]}}',
            "line 11: payload.lines[0]: the key 'cents' occurs twice",
        ),
    ]
    total = 0
    for bad, message in cases:
        text = lines_of(*good) + bad + "\n"
        done = sqlite_site.manage("append_entries", "--batch-size", "4", text=text)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Before that, 8 entries appended (through line 8) and stay" in done.stderr
        total += 8
    assert sqlite_site.report()["entries"] == total
    done = sqlite_site.manage("append_entries", "no-such-file")
    assert (done.returncode, "no-such-file" in done.stderr) == (2, True)
    done = sqlite_site.manage("append_entries", text="\n\n")
    assert done.stdout == "0 entries appended.\n"


def test_exit_codes(site: Site, tmp_path: Path) -> None:
    def code(*arguments: str) -> int:
        return int(site.manage("verify_ledger", *arguments).returncode)

    assert code() == 2  # nothing to verify
    site.manage("append_entries", text=lines_of(*EVENTS[:30]))
    assert code() == 0
    assert code("flights/AA", "--workers", "2", "--deep", "--validate", "--no-progress") == 0
    assert code("nowhere") == 2
    assert code("--no-such-option") == 2
    assert code("--workers", "0") == 2
    assert code("--workers", "x") == 2
    assert code("--database", "nowhere") == 2
    assert code("--output", str(tmp_path / "no" / "folder" / "report")) == 2
    report = tmp_path / "report.json"
    assert code("--format", "json", "--output", str(report)) == 0
    assert json.loads(report.read_text("utf-8"))["result"] == "intact"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".report")] == []
    site.sql("UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE record_id = 'AA3'")
    assert code("flights/UA") == 0
    assert code("flights/UA", "--strict-guards") == 3
    site.manage("migrate")
    assert code("flights/UA", "--strict-guards") == 0
    done = site.manage("verify_ledger", "--fail-fast")
    assert done.returncode == 1
    assert "field_mismatch in flights/AA at #3, record x" in done.stdout
    assert "TAMPERED: 1 finding(s)" in done.stderr
    assert code("--incremental") == 1
    assert code("--traceback") == 1
    site.sql("DROP TABLE nucleus_ledger_streamstatus")
    done = site.manage("verify_ledger")
    assert done.returncode == 2
    assert "lacks nucleus_ledger_streamstatus" in done.stderr


def test_a_failed_system_check_and_a_missing_database_are_no_tampering(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert site.manage("verify_ledger").returncode == 2
    site.environment["LEDGER_ID"] = "x" * 201
    done = site.manage("verify_ledger")
    assert done.returncode == 2
    assert "nucleus_ledger.E003" in done.stderr
    down = Site("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
    down.environment["DATABASE_URL"] = down.url
    assert down.manage("verify_ledger").returncode == 2


def test_strict_validate(sqlite_site: Site) -> None:
    sqlite_site.python("Entry.objects.append('proofs', {'subject_oid': 'a'})")
    assert sqlite_site.manage("verify_ledger", "--strict-validate").returncode == 0
    sqlite_site.sql("DELETE FROM nucleus_ledger_stream WHERE 0")
    # A record from before the module was configured.
    sqlite_site.python(
        "from django.conf import settings\n"
        "settings.NUCLEUS_LEDGER = {**settings.NUCLEUS_LEDGER, 'MODULES': []}\n"
        "Entry.objects.append('proofs', {'nobody': 1})"
    )
    report = sqlite_site.report("--strict-validate", "--accept-acknowledged")
    assert (report["exit_code"], report["intact"], report["validated"]) == (3, True, True)
    (problem,) = report["problems"]
    assert (problem["module"], problem["stream"], problem["sequence"]) == ("proof", "proofs", 1)
    assert sqlite_site.report("--validate")["exit_code"] == 0


def test_workers_are_processes_of_their_own(site: Site) -> None:
    site.manage("append_entries", text=lines_of(*EVENTS))
    done = site.python(
        "from nucleus_ledger import rowsource, workers\n"
        "from nucleus_ledger.checking import Options, Plan\n"
        "from django.db import connection\n"
        "if __name__ == '__main__':\n"
        "    plans = [Plan(s.id, s.head) for s in rowsource.read_heads(connection)] * 500\n"
        "    options = Options(frozenset({'persistent-ledger'}), 10)\n"
        "    done = list(workers.check_streams('default', plans, options, 2, lambda n: None))\n"
        "    assert all(report.intact for report, _, _ in done)\n"
        "    print(len(set().union(*(pids for *_, pids in done))))"
    )
    assert done.stdout == "2\n"
    one, two = site.report(), site.report("--workers", "2")
    for key in ("streams", "entries", "result", "findings_total"):
        assert one[key] == two[key]
    site.sql("UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE record_id = 'ZZ3'")
    one, two = site.report(), site.report("--workers", "2")
    assert one["streams"] == two["streams"]
    assert one["result"] == two["result"] == "tampered"


def test_ranges_of_one_stream_are_read_in_several_processes(site: Site) -> None:
    site.manage("append_entries", text=lines_of(*({**e, "stream": "one"} for e in EVENTS)))
    code = (
        "import time\n"
        "from nucleus_ledger import rowsource, workers\n"
        "from nucleus_ledger.checking import Options, Plan, check_range, check_stream\n"
        "from django.db import connection\n"
        "def slowly(*range_):\n"
        '    """In this process only: else it has done all before the other one is there."""\n'
        "    time.sleep(0.05)\n"
        "    return check_range(*range_)\n"
        "if __name__ == '__main__':\n"
        "    (stored,) = rowsource.read_heads(connection)\n"
        "    plan = Plan(stored.id, stored.head)\n"
        "    options = Options(frozenset({'persistent-ledger'}), 10)\n"
        "    workers.SMALLEST_RANGE, workers._RANGES_PER_WORKER, seen = 1, 250, []\n"
        "    workers.check_range = slowly\n"
        "    done = workers.check_streams('default', [plan], options, 2, seen.append)\n"
        "    ((report, problems, processes),) = done\n"
        "    assert (report, problems) == check_stream('default', plan, options)\n"
        "    assert sum(seen) == len(seen) == 300\n"
        "    print(report.result, len(processes))"
    )
    done = site.python(code)
    assert done.stdout == "intact 2\n"
    site.sql("UPDATE nucleus_ledger_entry SET record_id = 'x' WHERE sequence = 111")
    assert site.python(code).stdout == "tampered 2\n"


@pytest.fixture
def troubled_site(sqlite_site: Site, tmp_path: Path) -> Site:
    """A site whose verification is interrupted, or whose worker processes die at birth."""
    (tmp_path / "trouble.py").write_text(
        "import multiprocessing, os, signal, time\n"
        "from nucleus_ledger.modules import Module\n"
        # A shell that started the tests in the background had them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Trouble(Module):\n"
        "    id, streams = 'trouble', ['*']\n"
        "    def validate(self, entry):\n"
        "        while multiprocessing.active_children():\n"
        "            time.sleep(0.01)\n"
        "        if entry.sequence == 2500 and os.environ['TROUBLE'] == 'interrupt':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        return ()\n"
    )
    (tmp_path / "troubled_settings.py").write_text(
        "import multiprocessing, os, signal\n"
        "from project.settings import *\n"
        "if multiprocessing.parent_process():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "NUCLEUS_LEDGER = {**NUCLEUS_LEDGER, 'MODULES': ['trouble.Trouble']}\n"
    )
    sqlite_site.python(
        "Entry.objects.append_batch([{'stream': 's', 'payload': {'n': n}} for n in range(5000)])\n"
        "Entry.objects.append('t', {})"  # so that there is something to share among two
    )
    sqlite_site.environment["DJANGO_SETTINGS_MODULE"] = "troubled_settings"
    sqlite_site.environment["PYTHONPATH"] = str(tmp_path)
    return sqlite_site


@pytest.mark.parametrize(
    ("trouble", "workers", "error"),
    [
        ("interrupt", "1", "interrupted"),
        ("death", "2", "a worker process ended before its work was done"),
    ],
)
def test_trouble_on_the_way_is_not_tampering(
    troubled_site: Site, trouble: str, workers: str, error: str
) -> None:
    troubled_site.environment["TROUBLE"] = trouble
    report = troubled_site.report("--validate", "--workers", workers)
    assert (report["exit_code"], report["result"], report["intact"]) == (2, "unknown", None)
    assert report["errors"] == [error]


def test_a_progress_bar_shows_on_a_terminal_only(sqlite_site: Site) -> None:
    sqlite_site.manage("append_entries", text=lines_of(*EVENTS))
    assert sqlite_site.manage("verify_ledger").stderr == ""
    for extra, bar in (([], True), (["--no-progress"], False)):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "verify_ledger", *extra],
            cwd=ROOT, env=sqlite_site.environ, stdout=subprocess.PIPE, stderr=follower, check=True,
            timeout=60,
        )  # fmt: skip
        os.close(follower)
        shown = _read_all(leader)
        assert bool(re.search(r"entries", shown)) is bar


def _read_all(descriptor: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the other end of a terminal is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_a_read_only_database_is_verified_and_nothing_stored(sqlite_site: Site) -> None:
    sqlite_site.manage("append_entries", text=lines_of(*EVENTS[:9]))
    code = (
        "from django.conf import settings\nfrom django.db import connections\n"
        "entry = dict(connections.settings['default'])\n"
        "entry['NAME'] = 'file:' + str(entry['NAME']) + '?mode=ro'\n"
        "entry['OPTIONS'] = {'uri': True}\n"
        "connections.settings['replica'] = entry\n"
        "from nucleus_ledger import verification\n"
        "report = verification.verify('replica')\n"
        "assert any('read-only' in warning for warning in report.warnings), report.warnings\n"
        "print(report.result, report.entries, report.verification)\n"
        "Entry.objects.verify_integrity()\n"
        "again = verification.verify('replica', mode='incremental')\n"
        "print(again.result, again.entries)\n"
    )
    done: Any = sqlite_site.python(code)
    assert done.stdout.splitlines() == ["intact 9 None", "intact_since 3"]


def test_a_tampered_row_cannot_forge_lines_on_the_terminal(sqlite_site: Site) -> None:
    sqlite_site.manage("append_entries", text=lines_of(*EVENTS[:3]))
    sqlite_site.sql(
        "UPDATE nucleus_ledger_entry SET record_id = 'x' || char(27) || '[2J' || char(10) || "
        "'intact: nothing found' WHERE record_id = 'AA0'"
    )
    done = sqlite_site.manage("verify_ledger")
    assert done.returncode == 1
    assert "record x‹U+001B›[2J‹U+000A›intact: nothing found" in done.stdout
    assert "\x1b" not in done.stdout
    assert not re.search("^intact", done.stdout, re.MULTILINE)
