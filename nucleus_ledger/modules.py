"""Stream modules: a site's own rules for what goes into a stream and what stands there.

`NUCLEUS_LEDGER["MODULES"]` lists classes or dotted paths; they run in that order. The two modules
here are those of the design this ledger comes from, and examples of how to write one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.module_loading import import_string

from nucleus_ledger.conf import conf
from nucleus_ledger.core import patterns
from nucleus_ledger.core.record import Record, check_shape
from nucleus_ledger.core.report import Problem
from nucleus_ledger.errors import ConfigurationError, InvalidData

if TYPE_CHECKING:
    from nucleus_ledger.models import Entry
    from nucleus_ledger.querysets import EntryQuerySet

logger = logging.getLogger("nucleus_ledger.modules")


class Module:
    """Base of a stream module. Override what is needed; every hook does nothing by itself.

    A process makes one instance, which all its threads share.

    `streams`: exact names, `prefix/*` for all below a prefix, or `*`; see `core.patterns`.
    `filters`: the keyword arguments that `query` takes.
    """

    id: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    streams: ClassVar[Sequence[str]] = ()
    filters: ClassVar[Sequence[str]] = ()

    def before_append(self, record: Record) -> Record:
        """Return the record to append; raise `InvalidData` to refuse it. Runs before any lock."""
        return record

    def validate(self, entry: Entry) -> Iterable[Problem]:
        """Yield what is wrong with a stored entry by the rules of this module."""
        return ()

    def after_append(self, entry: Entry) -> None:
        """Act on an entry that is committed. An error here is logged and changes nothing."""

    @classmethod
    def acts_after_append(cls) -> bool:
        return cls.after_append is not Module.after_append

    def query(self, queryset: EntryQuerySet, **filters: Any) -> EntryQuerySet:
        """Narrow a query set by this module's filters."""
        return queryset

    def handles(self, stream: str) -> bool:
        return any(patterns.matches(pattern, stream) for pattern in self.streams)


class ProofModule(Module):
    """Proofs are about somebody: `subject_oid` is demanded, `issuer_oid` may be missing."""

    id = "proof"
    streams = ("proofs",)
    filters = ("subject_oid", "issuer_oid")

    def before_append(self, record: Record) -> Record:
        _demand_oid(self, record, "subject_oid")
        return record

    def validate(self, entry: Entry) -> Iterable[Problem]:
        if not _has_oid(entry.payload, "subject_oid"):
            yield Problem("the payload has no subject_oid")

    def query(self, queryset: EntryQuerySet, **filters: Any) -> EntryQuerySet:
        return queryset.filter(**{f"payload__{name}": value for name, value in filters.items()})


class AssetModule(Module):
    """Assets belong to somebody: `owner_oid` is demanded."""

    id = "asset"
    streams = ("assets",)
    filters = ("owner_oid",)

    def before_append(self, record: Record) -> Record:
        _demand_oid(self, record, "owner_oid")
        return record

    def validate(self, entry: Entry) -> Iterable[Problem]:
        if not _has_oid(entry.payload, "owner_oid"):
            yield Problem("the payload has no owner_oid")

    def query(self, queryset: EntryQuerySet, **filters: Any) -> EntryQuerySet:
        return queryset.filter(**{f"payload__{name}": value for name, value in filters.items()})


def load_modules() -> list[Module]:
    """Return the configured modules; raises `ConfigurationError` naming one that cannot be used."""
    return [_load(configured) for configured in conf.modules]


def before_append(record: Record, modules: Sequence[Module]) -> Record:
    """Run the hooks of a stream's modules; what comes back is checked and keeps its stream."""
    for module in modules:
        changed = module.before_append(record)
        if not isinstance(changed, Record):
            raise InvalidData(f"module {module.id!r} returned no Record from before_append")
        if changed.stream != record.stream:
            raise InvalidData(f"module {module.id!r} moved a record to another stream")
        check_shape(changed)
        record = changed
    return record


def after_append(entries: Sequence[Entry], modules: Sequence[Module]) -> None:
    """Tell the modules of committed entries; their errors are logged, since all is committed."""
    for entry in entries:
        for module in modules:
            if module.handles(entry.stream.name):
                try:
                    module.after_append(entry)
                except Exception:
                    logger.exception(
                        "module %r failed after append of %s:%s",
                        module.id,
                        entry.stream.name,
                        entry.sequence,
                    )


def validate(entry: Entry, stream: str, modules: Sequence[Module]) -> Iterable[Problem]:
    """Yield the problems that the modules of a stream see in an entry."""
    for module in modules:
        if module.handles(stream):
            for problem in module.validate(entry):
                yield problem.at(
                    module=module.id,
                    stream=stream,
                    sequence=entry.sequence,
                    record_id=entry.record_id,
                )


def query(queryset: EntryQuerySet, filters: dict[str, Any]) -> EntryQuerySet:
    """Narrow by every module that declares one of the filters, all together (AND)."""
    modules = load_modules()
    unknown = sorted(filters.keys() - {name for module in modules for name in module.filters})
    if unknown:
        raise InvalidData(f"no module declares the filter {', '.join(unknown)}")
    for module in modules:
        own = {name: filters[name] for name in module.filters if name in filters}
        if own:
            queryset = module.query(queryset, **own)
    return queryset


def _load(configured: Any) -> Module:
    if not isinstance(configured, (str, type)):
        raise ConfigurationError(f"MODULES: {configured!r} is not a subclass of modules.Module")
    return _load_once(configured)


@cache
def _load_once(configured: str | type) -> Module:
    try:
        cls = import_string(configured) if isinstance(configured, str) else configured
    except ImportError as exc:
        raise ConfigurationError(f"MODULES: {configured!r} cannot be imported: {exc}") from exc
    if not (isinstance(cls, type) and issubclass(cls, Module)):
        raise ConfigurationError(f"MODULES: {configured!r} is not a subclass of modules.Module")
    if not cls.id:
        raise ConfigurationError(f"MODULES: {cls.__qualname__} has no id")
    return cls()


def _has_oid(payload: Any, name: str) -> bool:
    return isinstance(payload, dict) and isinstance(payload.get(name), str) and payload[name] != ""


def _demand_oid(module: Module, record: Record, name: str) -> None:
    if not _has_oid(record.payload, name):
        raise InvalidData(f"payload.{name}: module {module.id!r} demands a non-empty string")
