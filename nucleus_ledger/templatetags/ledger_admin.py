"""What the ledger's index page in the admin shows."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.db import connections
from django.db.models import Sum

from nucleus_ledger import clocks, guards
from nucleus_ledger.console import badges, clock
from nucleus_ledger.console.addresses import Addresses
from nucleus_ledger.console.parts import is_number
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Stream, Verification

register = template.Library()


@register.simple_tag(takes_context=True)
def ledger_at_a_glance(context: Any) -> dict[str, Any] | None:
    """Return the state of the ledger in a few queries.

    None for a user who may not view streams, and in an admin site without their pages.
    """
    addresses = Addresses(context["request"].current_app)
    view_stream = f"nucleus_ledger.{get_permission_codename('view', Stream._meta)}"
    if not context["request"].user.has_perm(view_stream) or not addresses.streams():
        return None
    streams = Stream.objects.order_by()
    sums = streams.aggregate(entries=Sum("length"), verified=Sum("status__length"))
    entries = sums["entries"] or 0
    runs = Verification.objects.filter(mode="full", scope__isnull=True).order_by("-pk")
    full = runs.exclude(result=Verification.Result.RUNNING).first()
    return {
        "totals": badges.totals(streams),
        "entries": entries,
        "since": entries - (sums["verified"] or 0),
        "full": full,
        "grown": entries - full.entries if full and is_number(full.entries) else 0,
        "guards": guards.inspect(connections[streams.db]),
        "warnings": checks.run_checks(tags=["nucleus_ledger"]),
        "ahead": [
            (clock.in_words(each), visible(each.stream))
            for each in clocks.streams_ahead(streams.db, 5)
        ],
        "red": [(stream, addresses.stream(stream.pk)) for stream in badges.tampered_streams()],
        "streams_url": addresses.streams(),
        "full_url": addresses.verification(full.pk) if full else "",
        "findings_url": addresses.of("nucleus_ledger_stream_findings"),
    }
