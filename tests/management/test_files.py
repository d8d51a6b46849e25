"""Files that commands write: regular ones as a whole or not at all, all others as they are."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from nucleus_ledger.management.files import FileNotWritten, check_writable, write_text, written
from tests.processes import ROOT, Site, make_site


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path, umask: None) -> None:
    write_text(tmp_path / "new", "–\n")
    assert (tmp_path / "new").read_bytes() == "–\n".encode()
    assert mode(tmp_path / "new") == 0o640
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("bits", [0o644, 0o600, 0o664, 0o444])
def test_a_file_keeps_its_mode(tmp_path: Path, umask: None, bits: int) -> None:
    file = tmp_path / "report"
    file.write_text("before")
    file.chmod(bits)
    write_text(file, "after")
    assert (file.read_text(), mode(file)) == ("after", bits)


def test_links_are_followed_also_to_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to("folder/second")
    (folder / "second").symlink_to("../file")
    for text in ("one", "two"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "file").read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert (folder / "second").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_a_reader_never_finds_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        with written(file) as stream:
            stream.write(b"half")
            stream.flush()
            assert file.read_text() == "before"
            raise KeyboardInterrupt
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["report"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through it")
    reader.join()
    assert read == ["through it"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_a_descriptor_is_open_on_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("a line before\n")
    with open(file, "a") as log:
        for name in (f"/dev/fd/{log.fileno()}", f"/proc/self/fd/{log.fileno()}"):
            write_text(Path(name), "a report\n")
        (tmp_path / "link").symlink_to(f"/dev/fd/{log.fileno()}")
        write_text(tmp_path / "link", "another\n")
    assert file.read_text() == "a line before\na report\na report\nanother\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no/folder/report", "there is no folder"),
        ("folder", "it is a folder"),
        ("folder-link", "it is a folder"),
        ("dangling", "there is no folder"),
        ("loop", "Too many levels of symbolic links"),
        ("file/report", "there is no folder"),
        ("/dev/fd/987", "Bad file descriptor"),
    ],
)
def test_what_cannot_be_written_is_said_with_its_name(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "folder-link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(os.listdir(tmp_path))
    file = tmp_path / name
    for write in (lambda: write_text(file, "text"), lambda: check_writable(file)):
        with pytest.raises(FileNotWritten, match=why) as raised:
            write()
        assert str(raised.value).startswith(f"{file} cannot be written: ")
    assert sorted(os.listdir(tmp_path)) == before


COMMANDS = {
    "verify_ledger": ["verify_ledger", "--format", "json", "--output"],
    "ledger_receipt": ["ledger_receipt", "s", "r", "--output"],
    "export_ledger": ["export_ledger"],
}


@pytest.fixture(scope="module")
def signed_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("signed")
    site = make_site("sqlite", folder, "")
    site.environment |= {
        "CHECKPOINT_KEY_FILES": str(folder / "key"),
        "CHECKPOINT_SINKS": "storage:evidence",
        "EVIDENCE_FOLDER": str(folder / "evidence"),
    }
    site.python("Entry.objects.append('s', {'text': '–'}, record_id='r')")
    done = site.manage("ledger_keygen", "--output", str(folder / "key"))
    site.environment["CHECKPOINT_VKEYS"] = done.stdout.strip()
    assert site.manage("checkpoint_ledger", "--init").returncode == 0
    return site


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_write_into_devices_links_and_files_that_are_there(
    signed_site: Site, tmp_path: Path, command: str
) -> None:
    def run(file: str) -> str:
        done = signed_site.manage(*COMMANDS[command], file)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    report, link = tmp_path / "report", tmp_path / "link"
    report.write_text("before")
    report.chmod(0o644)
    link.symlink_to("report")
    run(str(link))
    assert link.is_symlink()
    text = report.read_text("utf-8")
    assert mode(report) == 0o644
    assert all(json.loads(line) for line in ([text] if "\n " in text else text.splitlines()))
    assert len(run("/dev/stdout").splitlines()) == len(text.splitlines())
    # Not /dev/null: where it were replaced once more, the machine would be left without it.
    leader, follower = pty.openpty()
    device = os.ttyname(follower)
    tty.setraw(follower)
    reader, shown = _reading(leader, len(text.encode()) // 2)
    run(device)
    reader.join()
    assert shown[0].startswith(text.encode()[:20])
    assert stat.S_ISCHR(os.stat(device).st_mode)
    os.close(follower)
    os.close(leader)
    assert sorted(os.listdir(tmp_path)) == ["link", "report"]


def _reading(descriptor: int, most: int) -> tuple[threading.Thread, list[bytes]]:
    """Read so many bytes from the other end of a terminal, which holds only some of them."""
    found = [b""]

    def read() -> None:
        while len(found[0]) < most:
            found[0] += os.read(descriptor, 65536)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_cannot_be_written_is_an_error_before_any_work(
    signed_site: Site, tmp_path: Path, command: str
) -> None:
    done = signed_site.manage(*COMMANDS[command], str(tmp_path / "no" / "report"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{tmp_path / 'no' / 'report'} cannot be written: there is no folder" in line


def test_a_receipt_is_the_same_in_every_encoding_and_so_is_its_verdict(
    signed_site: Site, tmp_path: Path
) -> None:
    signed_site.manage("ledger_receipt", "s", "r", "--output", str(tmp_path / "receipt"))
    environ = signed_site.environ | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}

    def run(*arguments: str) -> bytes:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, cwd=ROOT, env=environ, check=True,
            timeout=60,
        )  # fmt: skip
        return done.stdout

    assert run("manage.py", "ledger_receipt", "s", "r") == (tmp_path / "receipt").read_bytes()
    vkey = signed_site.environment["CHECKPOINT_VKEYS"]
    verify = ["-m", "nucleus_ledger.verify", str(tmp_path / "receipt"), "--vkey", vkey]
    assert b"PROVED: entry 0 of s" in run(*verify)
