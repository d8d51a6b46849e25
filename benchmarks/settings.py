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


_ADMIN = ["django.contrib.admin", "django.contrib.sessions", "django.contrib.messages"]
_extra = os.environ.get(databases.EXTRA, "")

DATABASES = {"default": databases.settings_of(os.environ[databases.VARIABLE])}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    *(_peers() if _extra == "peers" else ()),
    *(_ADMIN if _extra == "pages" else ()),
    "nucleus_ledger",
]
if _extra == "pages":
    ROOT_URLCONF = "benchmarks.urls"
    ALLOWED_HOSTS = ["testserver"]
    STATIC_URL = "static/"
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
SECRET_KEY = "only for benchmarks"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
NUCLEUS_LEDGER: dict[str, Any] = {"LEDGER_ID": "benchmarks"}
NSIDE_WEFA = {"AUDIT": {"TAMPER_EVIDENT": True, "RAISE_ON_FAILURE": True}}
