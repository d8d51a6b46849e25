"""Django settings of a benchmark process: one database, named by the environment."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from benchmarks import databases


def _peers() -> list[str]:
    """Return the apps of the peers that are installed, in the order that they ask for."""
    apps = ["auditlog"] if find_spec("auditlog") else []
    if apps and find_spec("nside_wefa"):
        apps += ["nside_wefa.common", "nside_wefa.audit"]
    return apps


DATABASES = {"default": databases.settings_of(os.environ[databases.VARIABLE])}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    *(_peers() if os.environ.get(databases.PEERS) else ()),
    "nucleus_ledger",
]
SECRET_KEY = "only for benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
NUCLEUS_LEDGER: dict[str, Any] = {"LEDGER_ID": "benchmarks"}
NSIDE_WEFA = {"AUDIT": {"TAMPER_EVIDENT": True, "RAISE_ON_FAILURE": True}}
