"""Verifications that the admin starts, drives step by step from its pages, and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from django.contrib import messages
from django.db import DatabaseError, connections, router, transaction
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.views.decorators.http import require_POST

from nucleus_ledger import stepping, stored_breaks
from nucleus_ledger.console import findings, parts
from nucleus_ledger.console.addresses import Addresses
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import InvalidData, NotFound
from nucleus_ledger.models import Stream, Verification

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

_NAMED_STREAMS = 5  # in messages, which travel in a cookie
_LEVELS = {
    "intact": messages.SUCCESS,
    "intact_since": messages.SUCCESS,
    "tampered": messages.ERROR,
}


def database() -> str:
    """Return where verifications are stored: a replica could not store what was found."""
    using: str = router.db_for_write(Stream)
    return using


def may_verify(request: HttpRequest) -> bool:
    allowed: bool = request.user.has_perm("nucleus_ledger.verify_stream")
    return allowed


def posted(site: AdminSite, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return a view of the admin that takes a POST, and each of whose writes is committed at once.

    In a transaction of its own a request would keep others waiting for as long as a step takes.
    """
    wrapped = require_POST(view)
    for alias in connections:
        wrapped = transaction.non_atomic_requests(using=alias)(wrapped)
    return site.admin_view(wrapped)


def start(
    request: HttpRequest,
    addresses: Addresses,
    streams: Sequence[str] | None,
    mode: Literal["full", "incremental"],
) -> HttpResponse:
    """Begin a verification, or join the same one, take its first step and go to its page."""
    using = database()
    try:
        run = stepping.begin(using, streams, mode=mode, user=request.user.get_username())
        progress = stepping.step(using, run.pk)
    except (InvalidData, NotFound, DatabaseError) as exc:
        messages.error(request, visible(str(exc)))
        return HttpResponseRedirect(addresses.streams())
    return go_on(request, addresses, progress)


def go_on(request: HttpRequest, addresses: Addresses, progress: stepping.Progress) -> HttpResponse:
    """Go to the page of a run, with what came of it if it has just ended."""
    if progress.finished and progress.moved:
        for level, text in said(progress.run, addresses):
            messages.add_message(request, level, text)
    address = addresses.verification(progress.run.pk) or addresses.index()
    return HttpResponseRedirect(address)


def in_words(progress: stepping.Progress) -> str:
    share = 100 * progress.done // progress.total if progress.total else 0
    return _t("%(done)s of %(total)s entries read (%(share)s %%)") % {
        "done": number_format(progress.done, force_grouping=True),
        "total": number_format(progress.total, force_grouping=True),
        "share": share,
    }


def as_json(progress: stepping.Progress) -> dict[str, Any]:
    """Return what the page's script needs to know."""
    return {
        "done": progress.done,
        "total": progress.total,
        "finished": progress.finished,
        "moved": progress.moved,
        "text": in_words(progress),
    }


def said(run: Verification, addresses: Addresses) -> list[tuple[int, str]]:
    """Return what to tell the person who drove a run to its end."""
    text = format_html("{} {}", outcome(run), addresses.verification_link(run.pk))
    told: list[tuple[int, str]] = [(_LEVELS.get(run.result, messages.WARNING), text)]
    by_stream: dict[str, list[Any]] = {}
    if run.result == Verification.Result.TAMPERED:
        for finding in stored_breaks.stored_findings(str(run._state.db), run.pk, most=200):
            by_stream.setdefault(finding.stream, []).append(finding)
    for name, found_there in list(by_stream.items())[:_NAMED_STREAMS]:
        found = findings.in_short(found_there, len(found_there))
        # The admin capitalises a message: a name must not stand first in it.
        words = _t("Stream %(name)s: %(found)s") % {"name": name, "found": found}
        told.append((messages.ERROR, visible(words)))
    told.extend(
        (messages.WARNING, visible(str(each)))
        for each in parts.as_list(run.warnings)[:_NAMED_STREAMS]
    )
    return told


def outcome(run: Verification) -> str:
    """Say in plain words what a run came to."""
    numbers = {
        "entries": number_format(run.entries, force_grouping=True),
        "streams": run.streams,
        "findings": run.findings_total,
    }
    words = {
        "running": _t("Under way."),
        "intact": _t("Intact: nothing found. Streams: %(streams)s, entries: %(entries)s."),
        "intact_since": _t(
            "Nothing found in what is new, and what was verified before is what was built on. "
            "Streams: %(streams)s, entries: %(entries)s."
        ),
        "acknowledged": _t(
            "Acknowledged: every finding is on record already. Findings: %(findings)s."
        ),
        "tampered": _t("Tampered. Findings: %(findings)s."),
        "unknown": _t("It could not be told whether all is intact."),
    }
    text: str = words.get(run.result, words["unknown"]) % numbers
    if run.result == Verification.Result.UNKNOWN and not run.entries:
        text += " " + _t("There was no entry to read.")
    return text
