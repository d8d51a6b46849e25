"""Real processes: a newcomer's way through the commands, and signers and writers at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nucleus_ledger.evidence import sinks, stored
from tests.processes import ROOT, Site, lines_of

ORIGIN = "persistent-ledger"


@pytest.fixture
def signing(site: Site, tmp_path: Path) -> Site:
    site.environment |= {
        "EVIDENCE_FOLDER": str(tmp_path / "evidence"),
        "CHECKPOINT_SINKS": "storage:evidence",
        "CHECKPOINT_KEY_FILES": str(tmp_path / "key"),
    }
    made = site.manage("ledger_keygen", "--output", str(tmp_path / "key"))
    assert made.returncode == 0, made.stderr
    site.environment["CHECKPOINT_VKEYS"] = made.stdout.strip()
    return site


def append(site: Site, stream: str, count: int) -> None:
    lines = lines_of(*({"stream": stream, "payload": {"n": n}} for n in range(count)))
    done = site.manage("append_entries", "-", text=lines)
    assert done.returncode == 0, done.stderr


def log_of(folder: Path) -> Any:
    sink = sinks.folder(folder / "evidence" / sinks.folder_of(ORIGIN))
    return stored.log(sinks.documents(sink, 0, sink.newest()))


def test_from_a_key_to_an_auditor_who_trusts_nobody(signing: Site, tmp_path: Path) -> None:
    append(signing, "a", 300)
    assert signing.manage("checkpoint_ledger").returncode == 2
    assert signing.manage("checkpoint_ledger", "--init").returncode == 0
    append(signing, "a", 10)
    append(signing, "b", 3)
    done = signing.manage("checkpoint_ledger")
    assert "13 entries in 2 streams are new" in done.stdout
    assert "checkpoints: 2, delivered" in signing.manage("ledger_status").stdout
    report = signing.report("--against", str(tmp_path / "evidence"), "--workers", "2")
    assert (report["result"], report["assurance"]) == ("intact", "checkpoint")
    bundle, receipt = tmp_path / "b.jsonl.gz", tmp_path / "r.json"
    assert signing.manage("export_ledger", str(bundle), "--gzip").returncode == 0
    entry = signing.python("print(Entry.objects.get(stream__name='a', sequence=7).record_id)")
    record = entry.stdout.strip()
    done = signing.manage("ledger_receipt", "a", record, "--output", str(receipt))
    assert done.returncode == 0, done.stderr
    vkey = signing.environment["CHECKPOINT_VKEYS"]
    for file, word in ((bundle, "INTACT: 314 entries"), (receipt, "PROVED: entry 7 of a")):
        done = subprocess.run(
            [sys.executable, "-m", "nucleus_ledger.verify", str(file), "--vkey", vkey,
             "--ledger", ORIGIN],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert word in done.stdout


def test_signers_and_writers_at_once(signing: Site, tmp_path: Path) -> None:
    """Whoever signs, there is one log, it only grows, and everything is under it in the end."""
    append(signing, "a", 50)
    assert signing.manage("checkpoint_ledger", "--init").returncode == 0

    def start(*arguments: str, text: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *arguments], text=True, cwd=ROOT,
            env=signing.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        return process

    for _turn in range(2):
        lines = lines_of(*({"stream": f"s{n % 3}", "payload": {"n": n}} for n in range(200)))
        writers = [start("append_entries", "-", "--batch-size", "10", text=lines) for _ in "ab"]
        signers = [start("checkpoint_ledger") for _ in "abc"]
        outputs = [process.communicate(timeout=110) for process in (*writers, *signers)]
        assert [writer.returncode for writer in writers] == [0, 0], outputs
        codes = [signer.returncode for signer in signers]
        # 2: another one is at it, or was a moment ago. Nobody takes that for tampering.
        assert set(codes) <= {0, 2}, outputs
        assert 0 in codes, outputs
    assert signing.manage("checkpoint_ledger").returncode == 0
    log = log_of(tmp_path)
    assert sum(head.length for name, head in log.heads.items() if name.startswith("s")) == 800
    report = signing.report("--against", str(tmp_path / "evidence"))
    assert (report["result"], report["assurance"]) == ("intact", "checkpoint")


def under_clock(site: Site, offset: str, *arguments: str, text: str = "") -> None:
    """Run a command on a host whose clock is wrong, by Debian's `faketime`."""
    assert shutil.which("faketime"), "Debian's package faketime is needed"
    done = subprocess.run(
        ["faketime", "-f", offset, sys.executable, str(ROOT / "manage.py"), *arguments],
        input=text, capture_output=True, text=True, cwd=ROOT, check=False,
        env={**site.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_clocks_that_are_wrong_make_notices_and_stop_nothing(signing: Site, tmp_path: Path) -> None:
    """A writer's clock is an hour behind; later the signer's is an hour ahead."""
    entries = lines_of(*({"stream": "slow", "payload": {"n": n}} for n in range(2)))
    under_clock(signing, "-1h", "append_entries", "-", text=entries)
    assert signing.manage("checkpoint_ledger", "--init").returncode == 0
    under_clock(signing, "-1h", "append_entries", "-", text=entries)
    append(signing, "honest", 2)
    under_clock(signing, "+1h", "checkpoint_ledger")
    append(signing, "honest", 3)
    assert signing.manage("checkpoint_ledger").returncode == 0
    vkey = signing.environment["CHECKPOINT_VKEYS"]
    bundle = tmp_path / "ledger.jsonl"
    assert signing.manage("export_ledger", str(bundle)).returncode == 0
    auditor = [sys.executable, "-m", "nucleus_ledger.verify", str(bundle), "--vkey", vkey]
    for strict, code in ((False, 0), (True, 3)):
        options = ["--strict-times"] if strict else []
        offline = subprocess.run(
            [*auditor, *options], capture_output=True, text=True, cwd=ROOT, check=False
        )
        done = signing.manage("verify_ledger", *options)
        assert (done.returncode, offline.returncode) == (code, code), done.stderr
        told = [line for line in done.stdout.splitlines() if line.startswith("notice: ")]
        assert told == [line for line in offline.stdout.splitlines() if "notice: " in line]
        assert [line.split(" were ")[0] for line in told] == [
            "notice: registered_late in honest: 3 entries from #2 on",
            "notice: registered_late in slow: 2 entries from #2 on",
        ]
    report = signing.report()
    assert (report["result"], report["findings_total"], report["times_judged"]) == (
        "intact", 0, True,
    )  # fmt: skip
    append(signing, "slow", 1)
