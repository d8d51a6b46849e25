"""Settings of the test suite: SQLite and a real PostgreSQL, both in the same run."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nucleus_ledger.storage import postgres_storage, sqlite_storage
from tests import postgres

# Type checkers read these settings too, and need no server.
_url = os.environ.get(postgres.VARIABLE, "postgresql://postgres@127.0.0.1:1/postgres")
POSTGRES_URL = postgres.ensure_running() if "pytest" in sys.modules else _url
_folder = Path(tempfile.mkdtemp(prefix="ledger-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)

DATABASES = {
    "default": {
        **sqlite_storage(_folder / "default.sqlite3"),
        # A file, because other processes take part in the tests.
        "TEST": {"NAME": str(_folder / "test_default.sqlite3")},
    },
    "postgres": {
        **postgres_storage(POSTGRES_URL),
        "OPTIONS": {},  # no pool: Django drops and creates the test database around the session
        "TEST": {"NAME": "test_ledger"},
    },
}

SECRET_KEY = "only for tests"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "project.urls"
ALLOWED_HOSTS = ["*"]
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "nucleus_ledger",
]
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
NUCLEUS_LEDGER = {"LEDGER_ID": "persistent-ledger"}
