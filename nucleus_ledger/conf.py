"""The settings, read live from `NUCLEUS_LEDGER`, so that `override_settings` works."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from nucleus_ledger.core import note
from nucleus_ledger.core.record import LABEL, is_label
from nucleus_ledger.errors import ConfigurationError, InvalidNote

NAME = "NUCLEUS_LEDGER"
CALL = "call:"  # before the dotted path of a function that takes the connection
RESERVED_PREFIX = "nucleus."
INCIDENTS = "nucleus.incidents"
IMPORTS = "nucleus.imports"
KEYS = "nucleus.keys"
RESTORES = "nucleus.restores"


@dataclass(frozen=True, slots=True)
class Option:
    """One key: its default, what a good value looks like, and how to recognise one."""

    default: Any
    wanted: str
    accepts: Callable[[Any], bool]


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _labels(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(map(is_label, value))


def _or_call(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _function(value) is not None if _is_call(value) else accepts(value)


def _is_call(value: Any) -> bool:
    return callable(value) or (isinstance(value, str) and value.startswith(CALL))


def _function(value: Any) -> Callable[[Any], Any] | None:
    """Return the function that a setting is or names; None where there is none of that name."""
    try:
        found = import_string(value.removeprefix(CALL)) if isinstance(value, str) else value
    except ImportError:
        return None
    return found if callable(found) else None


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(each, str) and bool(each) for each in value
    )


def _vkeys(value: Any) -> bool:
    try:
        return _texts(value) and all(note.parse_vkey(each) for each in value)
    except InvalidNote:
        return False


def _sinks(value: Any) -> bool:
    return _texts(value) and all(
        each == "stdout"
        or (each.partition(":")[0] in ("storage", "command") and each.partition(":")[2])
        for each in value
    )


def _span(value: Any) -> bool:
    return (isinstance(value, timedelta) and value > timedelta(0)) or (
        type(value) in (int, float) and 0 < value < 1e9
    )


def _one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


_CALL = f'a function that takes the connection, or "{CALL}" and its dotted path'
_SPAN = "a positive datetime.timedelta or number of seconds"

OPTIONS: Mapping[str, Option] = {
    "LEDGER_ID": Option("ledger", f"{LABEL}, or {_CALL}", _or_call(is_label)),
    "FORMER_LEDGER_IDS": Option((), f"a list of ledger ids, or {_CALL}", _or_call(_labels)),
    "MODULES": Option(
        (),
        "a list of module classes or dotted paths",
        lambda value: isinstance(value, (list, tuple)),
    ),
    "MAX_SERIALIZED_BYTES": Option(1 << 20, "a whole number >= 1024", _whole(1024, 1 << 30)),
    # SQLite and orjson stop at 1,000 levels, and the entry itself adds one.
    "MAX_DEPTH": Option(64, "a whole number from 1 to 200", _whole(1, 200)),
    "MAX_CLOCK_SKEW_MS": Option(300_000, "a whole number >= 0", _whole(0, 1 << 53)),
    "VERIFY_ON_STARTUP": Option(
        "incremental",
        '"incremental", "full" or "off"',
        _one_of("incremental", "full", "off"),
    ),
    "STARTUP_ON_ERROR": Option("refuse", '"refuse" or "warn"', _one_of("refuse", "warn")),
    "STARTUP_MAX_AGE": Option(timedelta(seconds=300), _SPAN, _span),
    "STARTUP_FULL_MAX_AGE": Option(timedelta(days=7), _SPAN, _span),
    "STARTUP_IN_TESTS": Option(False, "True or False", lambda value: isinstance(value, bool)),
    "STALE_AFTER": Option(timedelta(days=7), _SPAN, _span),
    "FULL_MAX_AGE": Option(timedelta(days=30), _SPAN, _span),
    "MAX_STORED_FINDINGS": Option(1000, "a whole number >= 1", _whole(1, 1_000_000)),
    "CHECKPOINT_ORIGIN": Option(
        "",
        "a line of text",
        lambda value: isinstance(value, str) and (not value or is_label(value)),
    ),
    "CHECKPOINT_KEY_FILES": Option((), "a list of paths", _texts),
    "CHECKPOINT_VKEYS": Option((), "a list of vkeys: name+id+key", _vkeys),
    "CHECKPOINT_SINKS": Option(
        (), 'a list of "storage:ALIAS", "storage:ALIAS/FOLDER", "command:LINE" and "stdout"', _sinks
    ),
    "CHECKPOINT_WITNESSES": Option((), "a list of URLs", _texts),
    "WITNESS_VKEYS": Option((), "a list of vkeys: name+id+key", _vkeys),
    "WITNESS_THRESHOLD": Option(1, "a whole number >= 1", _whole(1, 100)),
}


_NOTHING: Mapping[str, Any] = {}


class Conf:
    """Typed view of the settings. A bad value raises `ConfigurationError` where it is used."""

    def __init__(self) -> None:
        self._accepted: dict[str, Any] = {}

    def _get(self, key: str) -> Any:
        return self._get_all(key)[0]

    def _get_all(self, *keys: str) -> list[Any]:
        configured = getattr(settings, NAME, _NOTHING)
        if type(configured) is not dict and not isinstance(configured, Mapping):
            raise ConfigurationError(f"{NAME} is not a dict")
        values = []
        for key in keys:
            option = OPTIONS[key]
            value = configured.get(key, option.default)
            if self._accepted.get(key, _NOTHING) is not value:  # each append asks for several
                if not option.accepts(value):
                    raise ConfigurationError(f"{NAME}[{key!r}] is not {option.wanted}: {value!r}")
                self._accepted[key] = value
            values.append(value)
        return values

    def _span(self, key: str) -> timedelta:
        value = self._get(key)
        return value if isinstance(value, timedelta) else timedelta(seconds=value)

    @property
    def has_ledger_per_connection(self) -> bool:
        return _is_call(self._get("LEDGER_ID"))

    def ledger_of(self, using: str) -> str:
        """Return the id of the ledger that a database holds, as its connection stands now."""
        return cast("str", self._for(using, "LEDGER_ID", is_label))

    def ledgers_of(self, using: str) -> frozenset[str]:
        """Return the ids that verification accepts in a database: its own, and former ones."""
        former = self._for(using, "FORMER_LEDGER_IDS", _labels)
        return frozenset({self.ledger_of(using), *former})

    def _for(self, using: str, key: str, accepts: Callable[[Any], bool]) -> Any:
        value = self._get(key)
        if not _is_call(value):
            return value
        made = cast("Callable[[Any], Any]", _function(value))(connections[using])
        if not accepts(made):
            raise ConfigurationError(
                f"{NAME}[{key!r}] gave {made!r:.300} for database {using!r}, which is not "
                f"{OPTIONS[key].wanted.removesuffix(f', or {_CALL}')}"
            )
        return made

    @property
    def modules(self) -> Sequence[Any]:
        return cast("Sequence[Any]", self._get("MODULES"))

    @property
    def entry_limits(self) -> list[int]:
        """Return MAX_DEPTH, MAX_SERIALIZED_BYTES and MAX_CLOCK_SKEW_MS."""
        return self._get_all("MAX_DEPTH", "MAX_SERIALIZED_BYTES", "MAX_CLOCK_SKEW_MS")

    @property
    def clock_skew(self) -> timedelta:
        """MAX_CLOCK_SKEW_MS: what lies further ahead than this is no time to rely on."""
        return timedelta(milliseconds=self._get("MAX_CLOCK_SKEW_MS"))

    @property
    def verify_on_startup(self) -> Literal["incremental", "full", "off"]:
        return cast("Literal['incremental', 'full', 'off']", self._get("VERIFY_ON_STARTUP"))

    @property
    def startup_on_error(self) -> Literal["refuse", "warn"]:
        return cast("Literal['refuse', 'warn']", self._get("STARTUP_ON_ERROR"))

    @property
    def startup_max_age(self) -> timedelta:
        return self._span("STARTUP_MAX_AGE")

    @property
    def startup_full_max_age(self) -> timedelta:
        return self._span("STARTUP_FULL_MAX_AGE")

    @property
    def startup_in_tests(self) -> bool:
        return cast("bool", self._get("STARTUP_IN_TESTS"))

    @property
    def stale_after(self) -> timedelta:
        return self._span("STALE_AFTER")

    @property
    def full_max_age(self) -> timedelta:
        return self._span("FULL_MAX_AGE")

    @property
    def max_stored_findings(self) -> int:
        return cast("int", self._get("MAX_STORED_FINDINGS"))

    def origin_of(self, using: str) -> str:
        """Return the name of a database's log of checkpoints, which ends in the ledger's id.

        A setting that ends in a slash is a prefix: the id follows it.
        """
        ledger = self.ledger_of(using)
        origin = cast("str", self._get("CHECKPOINT_ORIGIN")) or ledger
        if origin.endswith("/"):
            origin += ledger
        if not origin.endswith(ledger):
            raise ConfigurationError(
                f"{NAME}['CHECKPOINT_ORIGIN'] is {origin!r}, which does not end in the ledger's "
                f"id {ledger!r}"
            )
        return origin

    @property
    def checkpoint_key_files(self) -> Sequence[str]:
        return cast("Sequence[str]", self._get("CHECKPOINT_KEY_FILES"))

    @property
    def checkpoint_vkeys(self) -> list[note.VerifierKey]:
        return list(map(note.parse_vkey, self._get("CHECKPOINT_VKEYS")))

    @property
    def checkpoint_sinks(self) -> Sequence[str]:
        return cast("Sequence[str]", self._get("CHECKPOINT_SINKS"))

    @property
    def checkpoint_witnesses(self) -> Sequence[str]:
        return cast("Sequence[str]", self._get("CHECKPOINT_WITNESSES"))

    @property
    def witness_vkeys(self) -> list[note.VerifierKey]:
        return list(map(note.parse_vkey, self._get("WITNESS_VKEYS")))

    @property
    def witness_threshold(self) -> int:
        return cast("int", self._get("WITNESS_THRESHOLD"))


conf = Conf()
