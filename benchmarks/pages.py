"""Pages of the admin for streams of each size: what they cost must not depend on the length."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from random import Random

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from benchmarks import streams
from benchmarks.figures import Figure, Goal, cost
from benchmarks.harness import Run, Sample, in_turn, timed
from nucleus_ledger import verification
from nucleus_ledger.core.moments import moment
from nucleus_ledger.models import Entry, Stream

_PLACES = 5


def addresses(size: int) -> dict[str, list[str]]:
    """Return for each kind of page the addresses to be asked for, at places chosen beforehand."""
    name = streams.sized(size)
    key = Stream.objects.get(name=name).pk
    sequences = Random(size).choices(range(size), k=_PLACES)
    page = reverse("admin:nucleus_ledger_stream_change", args=[key])
    entries = f"{reverse('admin:nucleus_ledger_entry_changelist')}?stream__id__exact={key}"
    hashes = Entry.objects.in_chain_order(name).filter(sequence__in=sequences)
    return {
        "a stream": [f"{page}?around={sequence}" for sequence in sequences],
        "entries of a stream": [entries],
        "entries from a sequence backwards": [f"{entries}&q=%23{each}" for each in sequences],
        "entries from a time on": [
            f"{entries}&q={moment(streams.time_of(each))[:19].replace(' ', 'T')}.."
            for each in sequences
        ],
        "an entry": [
            reverse("admin:nucleus_ledger_entry_change", args=[key])
            for key in hashes.values_list("pk", flat=True)
        ],
    }


def measure(run: Run) -> Iterator[Figure]:
    client = Client(raise_request_exception=True)
    client.force_login(User.objects.create_superuser("benchmarks"))
    pages = {size: addresses(size) for size in run.sizes}
    verification.verify("default", store=True)
    smallest = run.sizes[0]
    for kind in pages[smallest]:
        samples: dict[int, Sample] = {
            size: timed(partial(_visit, client, pages[size][kind]), len(pages[size][kind]))
            for size in run.sizes
        }
        taken = in_turn(samples, run.many)
        for size in run.sizes[1:]:
            yield cost(
                f"the page of {kind}, {size:,} entries in it",
                f"{smallest:,}",
                taken[size],
                taken[smallest],
                size=size,
                goal=Goal("≤", 2) if size == run.largest else None,
                series=kind,
            )


def _visit(client: Client, addresses: list[str]) -> None:
    for address in addresses:
        response = client.get(address)
        if response.status_code != 200:
            raise RuntimeError(f"{address}: {response.status_code}")
