"""Settings of the sample site, from the environment or a `.env` file; see `.env.example`."""

from __future__ import annotations

from pathlib import Path

import environ

from nucleus_ledger.storage import postgres_storage, sqlite_storage

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(BASE_DIR / ".env")

SECRET_KEY = env.str("SECRET_KEY", "django-insecure-only-for-trying-the-sample-site-out")
DEBUG = env.bool("DEBUG", False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

_url = env.str("DATABASE_URL", f"sqlite:///{BASE_DIR / 'ledger.sqlite3'}")
_sqlite, _, _path = _url.partition("sqlite:///")
DATABASES = {"default": postgres_storage(_url) if _sqlite else sqlite_storage(_path)}
# For a pooler between transactions. The ledger opens no such cursor; `iterator()` of a site does.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = env.bool("DISABLE_SERVER_SIDE_CURSORS", False)

NUCLEUS_LEDGER = {
    "LEDGER_ID": env.str("LEDGER_ID", "nucleus-ledger-sample"),
    "MODULES": ["nucleus_ledger.modules.ProofModule", "nucleus_ledger.modules.AssetModule"],
    "CHECKPOINT_ORIGIN": env.str("CHECKPOINT_ORIGIN", ""),
    "CHECKPOINT_KEY_FILES": env.list("CHECKPOINT_KEY_FILES", default=[]),
    "CHECKPOINT_VKEYS": env.list("CHECKPOINT_VKEYS", default=[]),
    "CHECKPOINT_SINKS": env.list("CHECKPOINT_SINKS", default=[]),
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "evidence": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": env.str("EVIDENCE_FOLDER", str(BASE_DIR / "evidence"))},
    },
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "nucleus_ledger",
    "project",
]
MIDDLEWARE = [
    "nucleus_ledger.middleware.VerifyOnStartup",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
# Off by default, so that the sample site can be tried without TLS; see docs/deployment.md.
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", False)
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", False)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", False)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", False)
if env.bool("BEHIND_TLS_PROXY", False):  # believe it only where the proxy sets it on every request
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", str(BASE_DIR / "static"))
USE_TZ = True
TIME_ZONE = "UTC"
