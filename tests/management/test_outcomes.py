"""What every command tells the shell, whatever the trouble: one line, and 1 for tampering only."""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nucleus_ledger.management import commands
from tests.processes import ROOT, Site, lines_of, make_site

NAMES = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
ARGUMENTS = {
    "acknowledge_findings": ["s", "--reason", "why"],
    "append_entries": ["-"],
    "checkpoint_ledger": [],
    "export_ledger": ["-"],
    "import_ledger": ["no-such-file"],
    "import_nucleus": ["no-such-file"],
    "ledger_receipt": ["s", "r"],
    "ledger_status": [],
    "verify_ledger": [],
}
WITHOUT_DATABASE = {"ledger_keygen"}
TROUBLES = {
    "nowhere": "there is no database 'nowhere'; DATABASES has default, ",
    "unmigrated": "database 'unmigrated' lacks nucleus_ledger_checkpoint, ",
    "down": "database 'down' cannot be used: connection failed: ",
    "folder": "database 'folder' cannot be used: unable to open database file",
    "foreign": "database 'foreign': mysql is not supported, but postgresql and sqlite are",
}
# One process for all commands: each in one of its own would take a minute.
ALL = """
import contextlib, io, os
from django.core.management import load_command_class
os.chdir(sys.argv[2])
said = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command = load_command_class("nucleus_ledger", name)
            command.run_from_argv(["manage.py", name, *arguments])
        except SystemExit as exc:
            code = exc.code
    said[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("troubled")
    site = make_site("sqlite", folder, "")
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.management.troubled_settings",
        "TROUBLE_FOLDER": str(folder),
        "TROUBLE_DROPPED": "no_driver",
        "PYTHONPATH": str(ROOT),
    }
    site.python("Entry.objects.append('s', {}, record_id='r')")
    return site


@pytest.fixture(scope="module")
def outcomes(troubled: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command said to each trouble."""
    folder = str(tmp_path_factory.mktemp("outcomes"))
    found = {}
    for alias in TROUBLES:
        wanted = {name: [*given, "--database", alias] for name, given in ARGUMENTS.items()}
        found[alias] = json.loads(troubled.python(ALL, json.dumps(wanted), folder).stdout)
    return found


def test_every_command_is_tried() -> None:
    assert set(NAMES) == ARGUMENTS.keys() | WITHOUT_DATABASE


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("alias", TROUBLES)
def test_a_database_that_cannot_be_used_is_one_line_and_exit_2(
    outcomes: dict[str, Any], name: str, alias: str
) -> None:
    code, out, err = outcomes[alias][name]
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert TROUBLES[alias] in line
    assert "Traceback" not in err


def test_the_way_out_is_named(outcomes: dict[str, Any]) -> None:
    _code, _out, err = outcomes["unmigrated"]["ledger_status"]
    assert "run `manage.py migrate --database unmigrated`" in err


@pytest.mark.parametrize("name", sorted(WITHOUT_DATABASE))
def test_a_command_without_a_database_takes_none(troubled: Site, name: str) -> None:
    done = troubled.manage(name, "--database", "default")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_driver_that_is_not_installed_is_one_line(
    troubled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(troubled.environment, "TROUBLE_DROPPED", "foreign")
    done = troubled.manage("verify_ledger", "--database", "no_driver", "--skip-checks")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "could not be told: " in line
    assert "oracledb" in line


def test_the_default_is_the_database_that_the_router_names(
    troubled: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(troubled.environment, "TROUBLE_ROUTED", "unmigrated")
    said = json.loads(troubled.python(ALL, json.dumps(ARGUMENTS), str(tmp_path)).stdout)
    for name, (code, _out, err) in said.items():
        assert (code, "database 'unmigrated' lacks" in err) == (2, True), name
    done = troubled.manage("ledger_status", "--database", "default", "--format", "json")
    assert json.loads(done.stdout)["database"] == "default"


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["append_entries"], b"\xff{}\n", "line 1: "),
        (["append_entries", "no-such-file"], b"", "no-such-file: No such file"),
        (["append_entries", "/"], b"", "/: Is a directory"),
        (["append_entries", "--batch-size", "0"], b"", "--batch-size is less than 1"),
        (["acknowledge_findings", "s", "--reason", "why"], b"", "nothing was acknowledged: "),
        (["acknowledge_findings", "t", "--reason", "why"], b"", "there is no stream named 't'"),
        (["import_ledger", "no-such-file"], b"", "nothing was imported: "),
        (["import_ledger", "/dev/null"], b"", "nothing was imported: "),
        (["import_nucleus", "manage.py"], b"", "is no ledger of that engine"),
        (["ledger_receipt", "s", "x"], b"", "stream 's' has no record 'x'"),
        (["ledger_keygen", "--output", "no/folder/key"], b"", "no key was made: "),
        (["export_ledger", "-", "t"], b"", "there is no stream named 't'"),
        (["verify_ledger", "t"], b"", "there is no stream named 't'"),
        (["verify_ledger", "--against", "no-such-file"], b"", "no-such-file cannot be read"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_bad_file_or_name_is_one_line_and_exit_2(
    troubled: Site, arguments: list[str], text: bytes, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        input=text, capture_output=True, cwd=ROOT, env=troubled.environ, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert said in line


def test_a_known_break_is_exit_1_and_everything_else_at_an_append_is_2(site: Site) -> None:
    site.manage("append_entries", text=lines_of({"stream": "s", "id": "r", "payload": {}}))
    again = site.manage("append_entries", text=lines_of({"stream": "s", "id": "r", "payload": {}}))
    assert (again.returncode, "line 1: " in again.stderr) == (2, True)
    site.sql("UPDATE nucleus_ledger_entry SET record_id = 'x'")
    assert site.manage("verify_ledger").returncode == 1
    broken = site.manage("append_entries", text=lines_of({"stream": "s", "payload": {}}))
    assert broken.returncode == 1
    assert "line 1: stream 's' is known to be broken" in broken.stderr
    assert len(broken.stderr.splitlines()) == 1


def test_what_nobody_foresaw_is_one_line_too_and_traceback_shows_where(
    sqlite_site: Site, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(
        "from nucleus_ledger.modules import Module\n"
        "class Odd(Module):\n"
        "    id, streams = 'odd', ['*']\n"
        "    def before_append(self, record):\n"
        "        raise ZeroDivisionError('over\\nthere')\n"
    )
    (tmp_path / "odd_settings.py").write_text(
        "from project.settings import *\nNUCLEUS_LEDGER = {'MODULES': ['odd.Odd']}\n"
    )
    sqlite_site.environment |= {
        "DJANGO_SETTINGS_MODULE": "odd_settings",
        "PYTHONPATH": str(tmp_path),
    }
    text = lines_of({"stream": "s", "payload": {}})
    done = sqlite_site.manage("append_entries", text=text)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ZeroDivisionError: over there (--traceback shows where)" in line
    done = sqlite_site.manage("append_entries", "--traceback", text=text)
    assert done.returncode == 2
    assert "in before_append" in done.stderr


@pytest.mark.parametrize("batches", [0, 1])
def test_an_interrupt_says_what_was_committed(sqlite_site: Site, batches: int) -> None:
    code = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from django.core.management import execute_from_command_line as run\nrun(sys.argv)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "append_entries", "--batch-size", "2", "--no-progress"],
        env=sqlite_site.environ | {"DJANGO_SETTINGS_MODULE": "project.settings"},
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    line = lines_of({"stream": "s", "payload": {}})
    process.stdin.write(line * (2 * batches + 1))
    process.stdin.flush()
    ready = "import time\nwhile Entry.objects.count() < int(sys.argv[1]): time.sleep(0.05)"
    sqlite_site.python(ready, str(2 * batches))
    if not batches:  # it has begun to read: nothing else is told from outside
        _wait_for_reading(process.pid)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    (said,) = err.splitlines()
    assert "interrupted. " in said
    done = "Before that, 2 entries appended (through line 2) and stay"
    assert (done if batches else "Nothing was appended") in said


def _wait_for_reading(pid: int) -> None:
    """Wait until a process has read its standard input empty and waits for more of it."""
    while True:
        with open(f"/proc/{pid}/stack" if os.geteuid() == 0 else f"/proc/{pid}/wchan") as file:
            if "pipe" in file.read():
                return


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_survives_any_encoding(sqlite_site: Site, encoding: str) -> None:
    records = [{"stream": "straße", "id": f"é–𝄞{n}", "payload": {}} for n in range(3)]
    assert sqlite_site.manage("append_entries", text=lines_of(*records)).returncode == 0
    sqlite_site.sql("UPDATE nucleus_ledger_entry SET timestamp = 7 WHERE sequence = 1")

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            capture_output=True, cwd=ROOT, check=False, timeout=60,
            env=sqlite_site.environ | {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)

    code, out, err = run("verify_ledger")
    assert (code, "field_mismatch in stra" in out, "TAMPERED" in err) == (1, True, True)
    code, out, err = run("verify_ledger", "--format", "json")
    assert (code, json.loads(out)["streams"][0]["name"]) == (1, "straße")
    code, out, err = run("ledger_status", "--format", "json")
    assert (code, json.loads(out)["streams"][0]["name"]) == (0, "straße")
    assert run("ledger_status")[0] == 0
    code, out, err = run("verify_ledger", "nö–")
    assert (code, len(err.splitlines())) == (2, 1)
    assert run("acknowledge_findings", "straße", "--reason", "née–")[0] == 0


def test_tampering_is_exit_1_also_where_nobody_reads_the_report(sqlite_site: Site) -> None:
    sqlite_site.manage("append_entries", text=lines_of({"stream": "s", "payload": {}}))
    command = [sys.executable, str(ROOT / "manage.py"), "verify_ledger"]

    def code(stdout: Any) -> int:
        return subprocess.run(
            command, stdout=stdout, stderr=subprocess.DEVNULL, cwd=ROOT,
            env=sqlite_site.environ, check=False, timeout=60,
        ).returncode  # fmt: skip

    def closed_pipe() -> int:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            return code(pipe)

    with open("/dev/full", "wb") as full:
        assert (code(full), closed_pipe()) == (2, 2)
        sqlite_site.sql("UPDATE nucleus_ledger_entry SET timestamp = 7")
        assert (code(full), closed_pipe()) == (1, 1)
