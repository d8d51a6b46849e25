"""What a caller hands in to be appended, and the shape it must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.errors import InvalidData

LABEL = "a string of 1 to 200 characters without control characters"


class Record(NamedTuple):
    """One record: `timestamp` in ms since 1970-01-01 UTC; None lets the ledger choose."""

    stream: str
    payload: Any
    record_id: str | None = None
    timestamp: int | None = None
    meta: Any = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Record:
        """Build a record from its fields by name; raises `InvalidData` for other names."""
        if type(mapping) is not dict and not isinstance(mapping, Mapping):
            raise InvalidData(f"a record is a mapping or a Record, not {type(mapping).__name__}")
        try:
            return cls(**mapping)
        except TypeError:  # a name that is none of its fields, or one that is missing
            pass
        unknown = sorted(map(repr, mapping.keys() - set(cls._fields)))
        if unknown:
            raise InvalidData(
                f"unknown key {', '.join(unknown)}; a record has {', '.join(cls._fields)}"
            )
        missing = [name for name in ("stream", "payload") if name not in mapping]
        raise InvalidData(f"the record has no {missing[0]}")


def is_label(value: object) -> bool:
    """Whether a value may name a ledger, a stream or a record."""
    return (
        isinstance(value, str)
        and issubclass(type(value), str)  # a lazy object only claims to be one
        and 1 <= len(value) <= 200
        and (value.isprintable() or not any(map(_forbidden, value)))
    )


def _forbidden(char: str) -> bool:
    """Control characters (Unicode category Cc), and surrogates, which no encoding can store."""
    return char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"


def with_plain_labels(record: Record) -> Record:
    """Return a record whose labels are str and no subclass; requires that they are labels.

    A subclass may be written otherwise by each driver: an enum by its name, or by its value.
    """
    labels: dict[str, Any] = {
        name: str.__str__(value)
        for name, value in (("stream", record.stream), ("record_id", record.record_id))
        if value is not None and type(value) is not str
    }
    return record._replace(**labels) if labels else record


def check_shape(record: Record) -> None:
    """Raise `InvalidData` naming the field whose type or range is wrong."""
    if not is_label(record.stream):
        raise InvalidData(f"stream is not {LABEL}: {record.stream!r:.300}")
    if record.record_id is not None and not is_label(record.record_id):
        raise InvalidData(f"record_id is not {LABEL}: {record.record_id!r:.300}")
    time = record.timestamp
    if time is not None and (type(time) is not int or not 0 < time <= MAX_SAFE_INTEGER):
        raise InvalidData(f"timestamp is not a whole number of milliseconds > 0: {time!r:.300}")
    if not isinstance(record.payload, (dict, list, tuple)):
        raise InvalidData(
            f"payload is neither an object nor an array but {type(record.payload).__name__}"
        )
    if record.meta is not None and not isinstance(record.meta, dict):
        raise InvalidData(f"meta is neither an object nor null but {type(record.meta).__name__}")
