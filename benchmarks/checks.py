"""What each check of a verification costs: its steps one by one, each with those before it.

The steps are made of the package's own parts, so this module knows more of them than the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connections
from django.test.utils import override_settings

from benchmarks import rawloop, streams
from benchmarks.figures import Figure, cost
from benchmarks.harness import ALIAS, Run, in_turn, timed
from benchmarks.verification import LOOP, Loop, verify
from nucleus_ledger import rowsource
from nucleus_ledger.conf import conf
from nucleus_ledger.core import canonical, chain, hashing
from nucleus_ledger.core.report import Problem
from nucleus_ledger.models import Entry, Stream
from nucleus_ledger.modules import Module

_MOST = 100_000
_REPEAT_BELOW = 5_000

Check = Callable[[Any], bool]  # of a window of rows


class Glance(Module):
    """A stream module that looks at one member of every payload."""

    id = "glance"
    streams = ("size/*",)

    def validate(self, entry: Entry) -> Iterable[Problem]:
        if "flight" not in entry.payload:
            yield Problem("the payload has no flight")


def _hashes(window: Any) -> bool:
    return list(map(hashing.hash_text, window.serialized)) == list(window.hash)


def _links(window: Any) -> bool:
    return list(window.prev_hash[1:]) == list(window.hash[:-1])


def _documents(window: Any) -> bool:
    return (
        canonical.reprint_each(window.payload) is not None
        and canonical.reprint_each(window.meta) is not None
    )


def _read(stream: Stream, checks: tuple[Check, ...]) -> None:
    for window in rowsource.read_windows(connections[ALIAS], stream.pk, 0, stream.length):
        if not all(check(window) for check in checks):
            raise RuntimeError("a check failed")


def _walk(stream: Stream) -> None:
    windows = rowsource.read_windows(connections[ALIAS], stream.pk, 0, stream.length)
    rules = rowsource.rules_for(connections[ALIAS], stream.name, conf.ledgers_of(ALIAS))
    if deque(chain.walk(windows, chain.Cursor.at(0), rules), maxlen=1):
        raise RuntimeError("the walk found something")


def _validate(stream: Stream) -> None:
    modules = {**settings.NUCLEUS_LEDGER, "MODULES": [Glance]}
    with override_settings(NUCLEUS_LEDGER=modules):
        verify(stream.name, stream.length, validate=True)


def measure(run: Run) -> Iterator[Figure]:
    size = max((size for size in run.sizes if size <= _MOST), default=run.sizes[0])
    stream = Stream.objects.get(name=streams.sized(size))
    loop = Loop()
    base, bare = LOOP, "driver rows, read only"
    steps: dict[str, Callable[[], object]] = {
        bare: partial(rawloop.scan, loop.connection, stream.pk, 0, stream.length),
        base: partial(loop.over, [stream.name]),
        "rows of all columns, read only": partial(_read, stream, ()),
        "… and their hash": partial(_read, stream, (_hashes,)),
        "… and the link": partial(_read, stream, (_hashes, _links)),
        "… and documents in canonical form": partial(_read, stream, (_hashes, _links, _documents)),
        "… and every column against the text: the walk": partial(_walk, stream),
        "the whole verification": partial(verify, stream.name, stream.length),
        "… with --validate, one module": partial(_validate, stream),
        "… with --deep": partial(verify, stream.name, stream.length, deep=True),
    }
    repeat = max(1, _REPEAT_BELOW // stream.length)
    samples = {what: timed(work, stream.length, repeat) for what, work in steps.items()}
    taken = in_turn(samples, run.rounds)
    loop.close()
    for what in steps:
        if what != base:
            yield cost(what, LOOP, taken[what], taken[base], size=size, series=what)
