"""One append against one row of other audit logs, in the same process and the same database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import Any

from django.contrib.contenttypes.models import ContentType

from benchmarks import streams
from benchmarks.appending import append
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import Run, Sample, in_turn, timed, undone
from nucleus_ledger.models import Entry

# What a peer must have installed to run, the model of its rows, and the goal.
PEERS = {
    "a row of django-auditlog": ("auditlog", "auditlog.models", "LogEntry", 1.0),
    "a tamper-evident row of nside-wefa": (
        "nside_wefa",
        "nside_wefa.audit.models",
        "WefaLogEntry",
        0.5,
    ),
}
_OPEN, _COMMITTED = 50, 20


def measure(run: Run) -> Iterator[Figure]:
    """Both log the same document about the same object; the peer's row is made by its model.

    The tables of both are small, in a database of their own.
    """
    name = streams.sized(run.sizes[0])
    for peer, (package, module, model, bound) in PEERS.items():
        if not find_spec(package):
            yield Figure("append", error=f"{package} is not installed", against=peer)
            continue
        write = _writer(getattr(import_module(module), model))
        for how, sample, entries, ours in (
            ("in an open transaction", undone, _OPEN, name),
            ("each committed", timed, _COMMITTED, "committed/peers"),
        ):
            samples: dict[str, Sample] = {
                "append": sample(partial(append, ours, entries), entries),
                "peer": sample(partial(write, entries), entries),
            }
            taken = in_turn(samples, run.many)
            yield cost(
                f"append {how}",
                peer,
                taken["append"],
                taken["peer"],
                goal=Goal("≤", bound),
            )


def _writer(model: Any) -> Callable[[int], None]:
    content_type = ContentType.objects.get_for_model(Entry)
    numbers = count(1)

    def write(rows: int) -> None:
        for _ in range(rows):
            number = next(numbers)
            model.objects.create(
                content_type=content_type,
                object_pk=str(number),
                object_id=number,
                object_repr="flight",
                action=model.Action.UPDATE,
                changes=streams.document(number),
                additional_data=streams.META,
            )

    return write
