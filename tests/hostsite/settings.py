"""A site that uses the ledger and knows nothing of its insides."""

from __future__ import annotations

import os

from nucleus_ledger.storage import postgres_storage, sqlite_storage

_url = os.environ["HOST_DATABASE"]
if _url.startswith("postgresql"):
    DATABASES = {"default": {**postgres_storage(_url), "OPTIONS": {}}}
    DATABASES["default"]["TEST"] = {"NAME": os.environ["HOST_TEST_NAME"]}
else:
    DATABASES = {"default": sqlite_storage(_url)}  # its tests run in memory, as Django has it
SECRET_KEY = "host"
USE_TZ = True
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["nucleus_ledger", "shop"]
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
NUCLEUS_LEDGER = {"LEDGER_ID": "host"}
TEST_RUNNER = os.environ.get("HOST_RUNNER", "nucleus_ledger.testing.runner.LedgerRunner")
