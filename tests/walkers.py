"""Every way that the package reads entries to judge them: all must find the same."""

from __future__ import annotations

from dataclasses import replace

from django.db import connections

from nucleus_ledger import acknowledgements, rowsource, stepping, stored_breaks, verification
from nucleus_ledger.checking import Options, Plan, check_range, check_stream
from nucleus_ledger.conf import conf
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.models import Entry
from nucleus_ledger.workers import entries_of, ranges

OPTIONS = Options(frozenset({"persistent-ledger"}), limit=1000)


def by_fast_path(alias: str) -> list[Finding]:
    return Entry.objects.using(alias).verify_integrity(store=False).findings


def by_deep_walk(alias: str) -> list[Finding]:
    return Entry.objects.using(alias).verify_integrity(store=False, deep=True).findings


def by_ranges(alias: str, size: int) -> list[Finding]:
    """What workers find, each in a range of its own, joined again."""
    found: list[Finding] = []
    options = replace(OPTIONS, ledgers=conf.ledgers_of(alias))
    acknowledged = acknowledgements.read_all(alias)
    for stored in rowsource.read_heads(connections[alias]):
        known = acknowledged.get(stored.head.stream, ())
        plan = Plan(stored.id, stored.head, acknowledged=known)
        pieces = [check_range(alias, plan, options, *part) for part in ranges(plan, size)]
        found.extend(check_stream(alias, plan, options, pieces=pieces)[0].findings)
    return found


def by_steps(alias: str, entries: int) -> list[Finding]:
    run = stepping.begin(alias)
    for _ in range(10_000):
        if stepping.step(alias, run.pk, entries).finished:
            break
    # Steps go by the keys of streams, and reports by their names.
    return sorted(stored_breaks.stored_findings(alias, run.pk), key=lambda finding: finding.stream)


def of_each_entry(alias: str) -> list[Finding]:
    """What the console finds of each entry by itself; of the head, and of gaps, it says nothing."""
    found: list[Finding] = []
    for stored in rowsource.read_heads(connections[alias]):
        assert stored.id is not None
        for sequence in range(entries_of(Plan(stored.id, stored.head))):
            judged = verification.judge_entries(alias, stored.id, sequence, sequence + 1)
            found.extend(judged or ())
    return found


def check_all_alike(alias: str, *, sizes: tuple[int, ...]) -> list[Finding]:
    """Return what every walker finds, and fail where one finds something else."""
    found = by_fast_path(alias)
    assert by_deep_walk(alias) == found
    for size in sizes:
        assert by_ranges(alias, size) == found, f"in ranges of {size}"
        assert by_steps(alias, size) == found, f"in steps of {size}"
    return found
