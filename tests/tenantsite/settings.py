"""A site with a PostgreSQL schema for each tenant, and a ledger in each."""

from __future__ import annotations

import os

from nucleus_ledger.storage import postgres_storage

DATABASES = {
    "default": {
        **postgres_storage(os.environ["TENANTS_DATABASE"]),
        "ENGINE": "django_tenants.postgresql_backend",
        "OPTIONS": {},
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "customers"]
TENANT_APPS = ["nucleus_ledger", "django.contrib.contenttypes", "django.contrib.auth"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL, TENANT_DOMAIN_MODEL = "customers.Customer", "customers.Domain"
SECRET_KEY = "tenants"
USE_TZ = True
ROOT_URLCONF = "customers.urls"
MIDDLEWARE = ["nucleus_ledger.middleware.VerifyOnStartup"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
NUCLEUS_LEDGER = {
    "LEDGER_ID": os.environ.get("TENANTS_LEDGER_ID", "call:customers.ledgers.ledger_id"),
    "CHECKPOINT_ORIGIN": os.environ.get("TENANTS_ORIGIN", ""),
}
if os.environ.get("TENANTS_KEY"):
    NUCLEUS_LEDGER |= {
        "CHECKPOINT_KEY_FILES": [os.environ["TENANTS_KEY"]],
        "CHECKPOINT_SINKS": ["storage:evidence"],
    }
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "evidence": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": os.environ.get("TENANTS_EVIDENCE", "evidence")},
    },
}
