"""The sample site with databases beside its own that no command can use."""

import os

from nucleus_ledger.storage import postgres_storage, sqlite_storage
from project.settings import *  # noqa: F403
from project.settings import DATABASES

_FOLDER = os.environ["TROUBLE_FOLDER"]
DATABASES |= {
    "unmigrated": sqlite_storage(f"{_FOLDER}/unmigrated.sqlite3"),
    "down": {
        **postgres_storage("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2"),
        "OPTIONS": {},
    },
    "folder": sqlite_storage(_FOLDER),
    "foreign": {"ENGINE": "tests.management.foreign_database", "NAME": f"{_FOLDER}/foreign"},
    "no_driver": {"ENGINE": "django.db.backends.oracle", "NAME": "nothing"},
}
if os.environ.get("TROUBLE_DROPPED"):
    del DATABASES[os.environ["TROUBLE_DROPPED"]]


class Router:
    """The ledger is in one database, which is not the default one where a test says so."""

    def db_for_write(self, model: object, **hints: object) -> str:
        return os.environ.get("TROUBLE_ROUTED", "default")

    db_for_read = db_for_write

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db not in ("foreign", "no_driver")


DATABASE_ROUTERS = ["tests.management.troubled_settings.Router"]
