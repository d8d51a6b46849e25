"""Columns that come back the same on every database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.models import lookups
from django.db.models.fields.json import KeyTransform
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext_lazy as _

from nucleus_ledger.core import canonical
from nucleus_ledger.errors import Deserialization

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    _BinaryField = models.BinaryField[Any, Any]
    _DateTimeField = models.DateTimeField[Any, Any]
    _JSONField = models.JSONField[Any, Any]
    _Lookup = models.Lookup[Any]
else:
    _BinaryField = models.BinaryField
    _DateTimeField = models.DateTimeField
    _JSONField = models.JSONField
    _Lookup = models.Lookup


class HashField(_BinaryField):
    """A SHA-256: 64 lowercase hex digits in Python, its 32 bytes in the database.

    Half the size of the digits in the row and in the key's index. Lookups take hex digits of either
    case: `exact`, `iexact`, `in`, `startswith`, `istartswith` (by the index), `isnull`, comparisons
    and `range`. Those that would have to read every row are refused with a `FieldError`.
    """

    empty_strings_allowed = False
    default_error_messages: ClassVar = {"invalid": _("A hash is 64 hex digits, not “%(value)s”.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        return name, path, args, kwargs

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        return None if value is None else shown(value)

    def to_python(self, value: Any) -> str | None:
        if value is None:
            return None
        text = bytes(value).hex() if isinstance(value, (bytes, memoryview)) else value
        if isinstance(text, str) and _HASH.fullmatch(text):
            return text.lower()
        message = self.error_messages["invalid"]
        raise ValidationError(message, code="invalid", params={"value": shown(value)})

    def get_prep_value(self, value: Any) -> str | None:
        """Return hex digits, which generic relations compare with `value_to_string`."""
        return self.to_python(value)

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        text = self.to_python(value)
        data = None if text is None else bytes.fromhex(text)
        return super().get_db_prep_value(data, connection, prepared=True)

    def value_to_string(self, obj: models.Model) -> str:
        return self.value_from_object(obj) or ""

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name in _REFUSED_LOOKUPS:
            raise FieldError(
                f"{self.name}__{lookup_name}: a hash is kept as bytes and cannot be searched for "
                f"a part of its digits. Use {self.name}__startswith with its first hex digits, or "
                f"{self.name} with all 64"
            )
        # In either case digits mean the same.
        either = {"iexact": "exact", "istartswith": "startswith"}
        return super().get_lookup(either.get(lookup_name, lookup_name))


_HASH = re.compile("[0-9a-fA-F]{64}")
_PREFIX = re.compile("[0-9a-fA-F]{0,64}")
_REFUSED_LOOKUPS = frozenset({"contains", "icontains", "endswith", "iendswith", "regex", "iregex"})


@HashField.register_lookup
class HashStartsWith(_Lookup):
    """The hashes that begin with some hex digits: a range of bytes, which the index answers."""

    lookup_name = "startswith"

    def get_prep_lookup(self) -> str:
        if isinstance(self.rhs, str) and _PREFIX.fullmatch(self.rhs):
            return self.rhs
        message = f"up to 64 hex digits begin a hash, not {self.rhs!r}"
        raise ValidationError(message, code="invalid")

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        bounds = (self.rhs.ljust(64, "0"), self.rhs.ljust(64, "f"))
        return compiler.compile(lookups.Range(self.lhs, bounds))


def shown(value: Any) -> str:
    """Return a hash column as text, also where somebody put something else into it."""
    return bytes(value).hex() if isinstance(value, (bytes, memoryview)) else str(value)


class DocumentField(_JSONField):
    """A JSON document read by the ledger's one decoder, so that numbers come back as hashed."""

    empty_values = (None,)  # {} and [] are documents as any other

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        """Leave the types to `Entry.clean()`: JSONField knows fewer than an append takes."""
        models.Field.validate(self, value, model_instance)

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        # SQLite compares documents as texts: the one to look for is written as appends write it.
        if connection.vendor == "sqlite" and type(value) in (dict, list):
            return canonical.text_of(value)
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None or (isinstance(expression, KeyTransform) and not isinstance(value, str)):
            return value
        try:
            return canonical.loads(value)
        except Deserialization:  # tampered on SQLite: shown as it stands, found by verification
            return value


class UTCDateTimeField(_DateTimeField):
    """A moment: an aware datetime in UTC, whatever the host's `USE_TZ` and `TIME_ZONE` are.

    What is stored keeps its meaning when the host changes either. A naive value means the host's
    own time zone, as in Django.
    """

    def get_internal_type(self) -> str:
        """Not Django's name: its converter for SQLite raises for a column that holds no time."""
        return "UTCDateTimeField"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        # SQLite stores text in either: of "datetime" its driver would make a moment, or raise.
        return "text" if connection.vendor == "sqlite" else connection.data_types["DateTimeField"]

    def from_db_value(self, value: Any, _: Any, connection: Any) -> datetime | None:
        """Return the moment; None also where somebody put something else into the column."""
        moment = _parsed(value, connection) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            return None
        if timezone.is_naive(moment):  # USE_TZ is off: on PostgreSQL in the session's time zone
            name = connection.timezone_name if connection.vendor == "postgresql" else "UTC"
            # Not make_aware(), which drops the fold: one hour of the year is there twice.
            moment = moment.replace(tzinfo=ZoneInfo(name))
        return moment.astimezone(UTC)

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        if isinstance(prepared, datetime) and timezone.is_naive(prepared):
            return prepared.replace(tzinfo=timezone.get_default_timezone())
        return prepared

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        if isinstance(value, datetime) and connection.vendor == "sqlite" and not settings.USE_TZ:
            value = value.astimezone(UTC).replace(tzinfo=None)  # SQLite refuses aware ones there
        return super().get_db_prep_value(value, connection, prepared=True)


def _parsed(text: str, connection: Any) -> datetime | None:
    """Return what SQLite stores as text, which is in the connection's time zone."""
    try:
        value = parse_datetime(text)
    except ValueError:
        return None
    if value is not None and timezone.is_naive(value):
        value = value.replace(tzinfo=connection.timezone if settings.USE_TZ else UTC)
    return value
