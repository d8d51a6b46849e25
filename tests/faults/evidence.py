"""Gives the sample site a key and a folder where its checkpoints are kept."""

from __future__ import annotations

from pathlib import Path

from tests.processes import Site


def sign(site: Site, folder: Path) -> str:
    """Make a key below `folder`, and a sink in `folder / "evidence"`; return the vkey."""
    site.environment |= {
        "EVIDENCE_FOLDER": str(folder / "evidence"),
        "CHECKPOINT_SINKS": "storage:evidence",
        "CHECKPOINT_KEY_FILES": str(folder / "key"),
    }
    done = site.manage("ledger_keygen", "--output", str(folder / "key"))
    assert done.returncode == 0, done.stderr
    site.environment["CHECKPOINT_VKEYS"] = done.stdout.strip()
    return str(done.stdout.strip())
