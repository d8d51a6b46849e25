"""Hands a stream's rows to the walk, and its modules a look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections

from nucleus_ledger import modules as stream_modules
from nucleus_ledger import rowsource
from nucleus_ledger.core.chain import Cursor, Finding, walk
from nucleus_ledger.core.columns import document_of
from nucleus_ledger.core.rebuilding import Row, Window
from nucleus_ledger.core.report import Problem

if TYPE_CHECKING:
    from nucleus_ledger.checking import Options, Plan


class StreamReader:
    """Hands a stream's rows to the walk, and its modules a look at them."""

    def __init__(
        self,
        using: str,
        plan: Plan,
        options: Options,
        progress: Callable[[int], None],
        observe: Callable[[Window], None] | None = None,
    ) -> None:
        self._using, self._plan, self._options = using, plan, options
        self._progress, self._observe = progress, observe
        self._modules = stream_modules.load_modules() if options.validate else []
        self.rules = rowsource.rules_for(
            connections[using], plan.head.stream, options.ledgers, deep=options.deep
        )
        self.problems: list[Problem] = []

    def walk(self, low: int, high: object, cursor: Cursor) -> Iterator[Finding]:
        return walk(self._windows(low, high), cursor, self.rules)

    def _windows(self, low: int, high: object) -> Iterator[Window]:
        connection = connections[self._using]
        for window in rowsource.read_windows(connection, self._plan.stream_id, low, high):
            for row in window.rows() if self._modules else ():
                if len(self.problems) < self._options.limit:
                    self.problems.extend(_validate(row, self.rules.stream, self._modules))
            yield window
            if self._observe:
                self._observe(window)
            self._progress(window.size)


def _validate(row: Row, stream: str, modules: Sequence[stream_modules.Module]) -> Iterator[Problem]:
    entry = apps.get_model("nucleus_ledger", "Entry")(
        hash=row.hash,
        sequence=row.sequence,
        record_id=row.record_id,
        timestamp=row.timestamp,
        payload=document_of(row.payload),
        meta=document_of(row.meta),
        prev_hash=row.prev_hash,
        serialized=row.serialized,
    )
    entry._state.adding = False
    yield from stream_modules.validate(entry, stream, modules)
