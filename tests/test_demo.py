from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from tests.processes import Site


def test_the_demo_runs_and_runs_again(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path / 'site.sqlite3'}")
    file = tmp_path / "demo.sqlite3"
    passwords = set()
    for _ in range(2):
        done = site.manage("demo", "--no-serve", "--file", str(file))
        assert done.returncode == 0, done.stderr
        assert "intact: 12 entries in 3 streams read" in done.stdout
        assert "field_mismatch in payments at #2, record payment-3" in done.stdout
        assert "TAMPERED: 1 finding(s) in 1 stream(s)" in done.stdout
        passwords.add(re.findall(r"password: (\S+)", done.stdout)[0])
    assert len(passwords) == 2
    assert not (tmp_path / "site.sqlite3").exists()  # it writes only to its own file
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT COUNT(*) FROM nucleus_ledger_entry").fetchone()
        (users,) = database.execute("SELECT COUNT(*) FROM auth_user").fetchone()
    database.close()
    assert (rows[0], users) == (12, 1)
