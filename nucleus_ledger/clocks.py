"""Streams whose newest entry is dated ahead of now: somebody appended under a clock that was fast.

Times never go back within a stream, so every later entry carries that time too, until it has come,
and an append that names a time of its own is refused. Nothing else says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps

from nucleus_ledger.conf import conf
from nucleus_ledger.core.moments import moment
from nucleus_ledger.core.visible import one_line

if TYPE_CHECKING:
    from nucleus_ledger.rowsource import StoredStream

WAY_OUT = "docs/operations.md, A clock that was fast"
SIGNERS_WAY_OUT = "docs/operations.md, A signer's clock that was fast"
_HOUR, _DAY = 3_600_000, 86_400_000
_NAMED, _NAME = 5, 200  # streams that a text names, and characters of each name


@dataclass(frozen=True, slots=True)
class HeadAhead:
    """A stream whose head is of a time ahead of now, and by how many ms."""

    stream: str
    timestamp: int
    by: int

    def __str__(self) -> str:
        name = one_line(repr(self.stream), _NAME)
        return f"stream {name}: its newest entry is dated {moment(self.timestamp)}, {self.ahead}"

    @property
    def ahead(self) -> str:
        return _span(self.by)


def _span(by: int) -> str:
    for unit, size in (("d", _DAY), ("h", _HOUR)):
        if by >= size:
            return f"{by // size} {unit} ahead of now"
    return f"{by // 60_000} min ahead of now"


def ahead(stream: Any, timestamp: Any) -> HeadAhead | None:
    """Return what is to be said of a head; None where it is not ahead by more than is allowed."""
    _depth, _size, skew = conf.entry_limits
    if type(timestamp) is not int:  # a tampered column may hold anything: verification says so
        return None
    by = timestamp - time.time_ns() // 1_000_000
    return HeadAhead(str(stream), timestamp, by) if by > skew else None


def checkpoint_ahead(size: int, timestamp: int) -> str | None:
    """Return the warning of a newest checkpoint that is dated ahead of now, as heads may be."""
    found = ahead(f"checkpoint {size}", timestamp)
    if found is None:
        return None
    return (
        f"checkpoint {size} is dated {moment(timestamp)}, {found.ahead}: until then every later "
        f"checkpoint carries that time, and --newer-than is not met ({SIGNERS_WAY_OUT})"
    )


def streams_ahead(using: str, most: int = _NAMED + 1) -> list[HeadAhead]:
    """Return streams whose heads are ahead of now, by name, in one query."""
    _depth, _size, skew = conf.entry_limits
    latest = time.time_ns() // 1_000_000 + skew
    model = apps.get_model("nucleus_ledger", "Stream")
    rows = model._base_manager.using(using).filter(head_timestamp__gt=latest).order_by("name")
    found = [ahead(*row) for row in rows.values_list("name", "head_timestamp")[:most]]
    return [each for each in found if each]


def warnings_of(stored: Iterable[StoredStream]) -> Sequence[str]:
    """Return the warnings of streams as they were read for a verification."""
    found = [ahead(each.head.stream, each.head.head_timestamp) for each in stored]
    return warnings(each for each in found if each)


def warnings(heads: Iterable[HeadAhead]) -> Sequence[str]:
    """Return a sentence for each of some heads, and one for all others."""
    found = list(heads)
    said = [
        f"{each}: until then every later entry carries that time, and an append with an earlier "
        f"timestamp is refused ({WAY_OUT})"
        for each in found[:_NAMED]
    ]
    if len(found) > _NAMED:
        said.append("more streams have a newest entry that is dated ahead of now")
    return said
