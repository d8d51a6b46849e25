"""Runs a module of this folder on the sample site."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.processes import ROOT, Site


def run(site: Site, module: str, *arguments: str) -> tuple[list[list[str]], dict[str, Any]]:
    """Run a module; return what was acknowledged meanwhile, and what it says at its end."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{module}", *arguments],
        cwd=ROOT, env=site.environ, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *told, last = map(json.loads, done.stdout.splitlines())
    return told, last
