"""What Entry and Stream refuse: every ORM call that would change history.

The names come from Django's own `alters_data` marks, so a method that a later Django adds is
refused before anybody here has heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.management.base import CommandError
from django.db import models
from django.db.models.signals import pre_delete

from nucleus_ledger.errors import AppendOnlyViolation

if TYPE_CHECKING:
    _QuerySet = models.QuerySet[Any]
else:
    _QuerySet = models.QuerySet

# create() leads into save(), which appends.
APPENDING = frozenset({"create", "acreate"})
_restoring: ContextVar[bool] = ContextVar("nucleus_ledger_restoring", default=False)


class FixtureRefused(AppendOnlyViolation, CommandError):
    """A fixture holds a part of the ledger. `loaddata` shows it as its own error."""


def marked_names(*classes: type) -> frozenset[str]:
    """Return the names that Django marks as altering data on any of the classes."""
    return frozenset(
        name
        for cls in classes
        for name in dir(cls)
        if getattr(getattr(cls, name, None), "alters_data", False)
    )


REFUSED_ON_QUERYSETS = marked_names(models.QuerySet, models.Manager) - APPENDING
REFUSED_ON_MODELS = marked_names(models.Model) - {"save", "asave"}


@contextmanager
def restoring_rows() -> Iterator[None]:
    """Let a test runner put back the rows it serialized itself. Not for anything else."""
    token = _restoring.set(True)
    try:
        yield
    finally:
        _restoring.reset(token)


def refuse(what: str) -> NoReturn:
    raise AppendOnlyViolation(
        f"{what} would change history, or could: the ledger can only be appended to, by append() "
        "and append_batch()"
    )


def _refusing(name: str, inherited: Callable[..., Any] | None) -> Callable[..., Any]:
    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _restoring.get() and inherited is not None:
            return inherited(self, *args, **kwargs)
        model = getattr(self, "model", type(self))
        refuse(f"{model.__name__}.{name}()")

    refused.__name__ = name
    refused.__qualname__ = f"append_only.{name}"
    refused.alters_data = True  # type: ignore[attr-defined]
    if name.startswith("_"):
        refused.queryset_only = False  # type: ignore[attr-defined]  # managers carry it too
    return refused


class AppendOnlyQuerySet(_QuerySet):
    """A query set whose every changing method raises `AppendOnlyViolation`."""


for _name in REFUSED_ON_QUERYSETS:
    setattr(AppendOnlyQuerySet, _name, _refusing(_name, getattr(models.QuerySet, _name, None)))


class AppendOnlyModel(models.Model):
    """A model that can be added to, by `save()` of a new instance, and never changed."""

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The collector deletes without asking the manager; a listener stops it, for proxies too.
        pre_delete.connect(_refuse_delete, sender=cls, dispatch_uid=f"append-only {cls!r}")

    def _save_table(
        self,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> bool:
        """Stop what goes round `save()`: fixtures call `Model.save_base(obj, raw=True)`."""
        if raw and not _restoring.get():
            raise FixtureRefused(
                f"{self._meta.label}(pk={self.pk}): a ledger is not loaded from a fixture, which "
                "proves nothing of it. Leave it out with `--exclude nucleus_ledger`, and carry it "
                "over with `manage.py export_ledger` and `manage.py import_ledger`"
            )
        if not _restoring.get():
            refuse(f"{type(self).__name__}.save_base()")
        if type(self)._base_manager.using(using).filter(pk=self.pk).exists():
            return True  # before the first flush the rows are still there
        return bool(super()._save_table(raw, cls, True, False, using))  # type: ignore[misc]


for _name in REFUSED_ON_MODELS:
    setattr(AppendOnlyModel, _name, _refusing(_name, getattr(models.Model, _name)))


def _refuse_delete(sender: type[models.Model], **kwargs: Any) -> None:
    refuse(f"deleting from {sender.__name__}")
