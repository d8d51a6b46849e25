"""A site of its own for the startup tests; everything that differs comes from the environment."""

from __future__ import annotations

import json
import os

from nucleus_ledger.storage import memory_storage, postgres_storage, sqlite_storage

_database = os.environ["STARTUP_SITE_DATABASE"]

if _database.startswith("pooled+postgresql:"):
    DATABASES = {"default": postgres_storage(_database.removeprefix("pooled+"))}
elif _database.startswith("postgresql:"):
    DATABASES = {"default": postgres_storage(_database)}
    DATABASES["default"]["OPTIONS"].pop("pool")  # every process here is short-lived
elif _database == "memory":
    DATABASES = {"default": memory_storage()}
else:
    DATABASES = {"default": sqlite_storage(_database.removesuffix("?read-only"))}
    if _database.endswith("?read-only"):
        DATABASES["default"]["OPTIONS"]["init_command"] += "; PRAGMA query_only = ON"

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "tests.startup_site.urls"
WSGI_APPLICATION = "tests.startup_site.web.wsgi"
INSTALLED_APPS = ["nucleus_ledger"]
MIDDLEWARE = ["nucleus_ledger.middleware.VerifyOnStartup"]
NUCLEUS_LEDGER = {
    "LEDGER_ID": "startup-site",
    **json.loads(os.environ.get("STARTUP_SITE_LEDGER", "{}")),
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "nucleus_ledger": {"handlers": ["console"], "level": "INFO"},
        "django.request": {"handlers": ["console"], "level": "ERROR"},
    },
}
