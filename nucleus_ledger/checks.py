"""System checks. Ids are never used again for something else.

E001 NUCLEUS_LEDGER is no dict      E002 unknown key         E003 bad value
E004 a module cannot be used        E005 module id twice     E006 database not supported
E007 SQLite library too old         W001 middleware missing  W002 SQLite not IMMEDIATE
E008 psycopg2 instead of psycopg 3  W003 default LEDGER_ID (--deploy)
W004 guards not in place (--database)
E009 checkpoints without cryptography E010 a sink cannot be used  E011 bad CHECKPOINT_ORIGIN
W005 keys but no sink to read back   W006 sinks but no vkey
W007 tables would go into a database that is not supported (--database)
W008 the ledger is apart from the data of the site
W009 a test suite flushes tables and lacks our runner
W010 a stream's newest entry is dated ahead of now (--database)
W011 one LEDGER_ID for all tenants   W012 startup verifies no tenant
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import checks

from nucleus_ledger import modules
from nucleus_ledger.conf import NAME, OPTIONS, conf
from nucleus_ledger.errors import ConfigurationError
from nucleus_ledger.evidence import sinks
from nucleus_ledger.routing import ledger_alias

MIDDLEWARE = "nucleus_ledger.middleware.VerifyOnStartup"


@checks.register("nucleus_ledger")
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report unknown keys and bad values of `NUCLEUS_LEDGER`."""
    configured = getattr(settings, NAME, {})
    if not isinstance(configured, Mapping):
        return [checks.Error(f"{NAME} is not a dict.", hint=_known(), id="nucleus_ledger.E001")]
    found: list[checks.CheckMessage] = []
    for key, value in configured.items():
        option = OPTIONS.get(key)
        if option is None:
            message = f"{NAME} has an unknown key: {key!r}."
            found.append(checks.Error(message, hint=_known(), id="nucleus_ledger.E002"))
        elif not option.accepts(value):
            message = f"{NAME}[{key!r}] is not {option.wanted}: {value!r}."
            hint = f"The default is {option.default!r}."
            found.append(checks.Error(message, hint=hint, id="nucleus_ledger.E003"))
    return found


@checks.register("nucleus_ledger")
def check_modules(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report modules that cannot be loaded, and ids used twice."""
    if settings_are_bad():
        return []
    try:
        ids = [module.id for module in modules.load_modules()]
    except ConfigurationError as exc:
        hint = "Name classes derived from nucleus_ledger.modules.Module."
        return [checks.Error(f"{exc}.", hint=hint, id="nucleus_ledger.E004")]
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1})
    hint = "Give every module an id of its own."
    return [
        checks.Error(f"MODULES: two modules have the id {id_!r}.", hint=hint,
                     id="nucleus_ledger.E005")
        for id_ in twice
    ]  # fmt: skip


@checks.register("nucleus_ledger")
def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a startup verification that is on in the settings and not in effect."""
    if settings_are_bad() or conf.verify_on_startup == "off":
        return []
    if MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        checks.Warning(
            f"VERIFY_ON_STARTUP is {conf.verify_on_startup!r}, but nothing verifies at startup.",
            hint=f'Add "{MIDDLEWARE}" to MIDDLEWARE, or set VERIFY_ON_STARTUP to "off".',
            id="nucleus_ledger.W001",
        )
    ]


@checks.register("nucleus_ledger")
def check_checkpoints(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report checkpoints that are on in the settings and cannot be made, or be remembered."""
    if settings_are_bad() or not (conf.checkpoint_key_files or conf.checkpoint_sinks):
        return []
    if find_spec("cryptography") is None:
        message = "Checkpoints are on, and the library cryptography is not installed."
        hint = "pip install nucleus-ledger[evidence]"
        return [checks.Error(message, hint=hint, id="nucleus_ledger.E009")]
    try:
        # A function is not called here: it may want a schema, and a check asks no database.
        origin = "-" if conf.has_ledger_per_connection else conf.origin_of(ledger_alias())
    except ConfigurationError as exc:
        hint = "As in example.com/<LEDGER_ID>."
        return [checks.Error(f"{exc}.", hint=hint, id="nucleus_ledger.E011")]
    try:
        readable = sinks.readable(origin)
    except ConfigurationError as exc:
        hint = "Name an alias of STORAGES."
        return [checks.Error(f"{exc}.", hint=hint, id="nucleus_ledger.E010")]
    found: list[checks.CheckMessage] = []
    if conf.checkpoint_key_files and not readable:
        message = "CHECKPOINT_KEY_FILES is set, but no sink can be read back: nothing is signed."
        hint = 'Add "storage:ALIAS" to CHECKPOINT_SINKS: it is the memory of the signer.'
        found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W005"))
    if readable and not conf.checkpoint_vkeys:
        message = "CHECKPOINT_VKEYS is empty: only who has the private key can verify checkpoints."
        hint = "Put the vkey there that ledger_keygen printed."
        found.append(checks.Warning(message, hint=hint, id="nucleus_ledger.W006"))
    return found


@checks.register("nucleus_ledger", checks.Tags.security, deploy=True)
def check_ledger_id(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a ledger that could be mistaken for any other one."""
    if settings_are_bad() or conf.has_ledger_per_connection:
        return []
    if conf.ledger_of(ledger_alias()) != OPTIONS["LEDGER_ID"].default:
        return []
    return [
        checks.Warning(
            "LEDGER_ID has its default: entries could be carried in from any other such ledger.",
            hint=f'Set {NAME} = {{"LEDGER_ID": "<your site>-production"}} before the first entry.',
            id="nucleus_ledger.W003",
        )
    ]


def settings_are_bad() -> bool:
    """Whether `check_settings` has an error to report, which says it better than a traceback."""
    return any(message.is_serious() for message in check_settings())


def _known() -> str:
    return f"Known keys: {', '.join(OPTIONS)}."
