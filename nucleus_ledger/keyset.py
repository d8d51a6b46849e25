"""Reads many rows in parts of bounded size, each by a statement of its own.

Django's `iterator()` opens a cursor on the PostgreSQL server, which lives in one session. A pooler
in transaction mode may send the next fetch to another session, where that cursor does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q, QuerySet

ROWS_PER_STATEMENT = 500


def rows_in_order(
    rows: QuerySet[Any], keys: Sequence[str], fields: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of all rows as tuples, ascending by the keys.

    Requires the keys to be unique together and never null. The parts are not one snapshot: rows
    that are inserted or changed meanwhile may be seen or not.
    """
    values = rows.order_by(*keys).values_list(*keys, *fields)
    part = list(values[:ROWS_PER_STATEMENT])
    while part:
        yield from (row[len(keys) :] for row in part)
        if len(part) < ROWS_PER_STATEMENT:
            return
        part = list(values.filter(_after(keys, part[-1]))[:ROWS_PER_STATEMENT])


def _after(keys: Sequence[str], last: Sequence[Any]) -> Q:
    """Return the condition that a row comes after `last` in the order of the keys."""
    *before, key = keys
    condition = Q(**{f"{key}__gt": last[len(before)]})
    for key, value in reversed(list(zip(before, last, strict=False))):
        condition = Q(**{f"{key}__gt": value}) | (Q(**{key: value}) & condition)
    # Says the same once more, so that an index of the first key alone finds the place.
    return Q(**{f"{keys[0]}__gte": last[0]}) & condition
