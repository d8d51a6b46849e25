"""The managers, made from the query sets, so that both offer and refuse the same."""

from __future__ import annotations

from django.db import models

from nucleus_ledger.querysets import EntryQuerySet, StreamQuerySet


class EntryManager(models.Manager.from_queryset(EntryQuerySet)):  # type: ignore[misc]
    """`Entry.objects`: appends, reads and verifies; refuses everything else that changes."""

    use_in_migrations = False


class StreamManager(models.Manager.from_queryset(StreamQuerySet)):  # type: ignore[misc]
    """`Stream.objects`."""

    use_in_migrations = False
