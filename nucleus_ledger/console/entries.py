"""The entries in the admin: found by what an index answers, and judged while one looks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import timesearch
from nucleus_ledger.conf import conf
from nucleus_ledger.console import (
    badges,
    findings,
    neighbourhood,
    parts,
    presentation,
    receipts,
    registration,
)
from nucleus_ledger.console.addresses import link
from nucleus_ledger.console.base import ReadOnlyAdmin, is_list, shows_payloads
from nucleus_ledger.core.moments import moment, span
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Entry, Stream, StreamStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

LISTED_ENTRIES = 1000
_STREAM_FILTER = "stream__id__exact"


class EntryList(ChangeList):
    """Newest entries first, whatever the address says: any other order sorts the whole table."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-stream_id", "-sequence"]


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than it lists: COUNT(*) over millions of entries takes seconds."""

    @cached_property
    def count(self) -> int:
        entries: Any = self.object_list
        return len(entries.values_list("pk")[:LISTED_ENTRIES])


class EntryAdmin(ReadOnlyAdmin):
    list_display = ("place", "record", "stream_link", "time", "short_hash")
    list_display_links = ("place", "record")
    list_select_related = ("stream",)
    list_per_page = 50
    list_max_show_all = -1  # "show all" believes the count, which stops short
    paginator = BoundedPaginator
    sortable_by = ()
    search_fields = ("record_id",)
    search_help_text = _(
        "An exact record id, a hash or its first 8 digits or more, # and a sequence, or within a "
        "stream a time in UTC: "
        "2026-11-24, 2026-11-24 08:30, 2026-11-24..2026-11-26."
    )
    fields = (
        "stream_link",
        "place",
        "record",
        "time",
        "registered",
        "verified",
        "checked_now",
        "chain",
        "payload_text",
        "meta_text",
        "whole_hash",
        "previous",
        "canonical_text",
    )
    readonly_fields = fields

    @admin.display(description=_("entry"))
    def place(self, entry: Entry) -> str:
        return f"#{visible(str(entry.sequence))}"

    @admin.display(description=_("record id"))
    def record(self, entry: Entry) -> str:
        return visible(str(entry.record_id))

    @admin.display(description=_("stream"))
    def stream_link(self, entry: Entry) -> SafeString:
        return link(self.addresses.stream(entry.stream_id), entry.stream)

    @admin.display(description=_("time"))
    def time(self, entry: Entry) -> str:
        return visible(moment(entry.timestamp))

    @admin.display(description=_("registered"))
    def registered(self, entry: Entry) -> SafeString | str:
        return registration.in_words(entry)

    @admin.display(description=_("hash"))
    def short_hash(self, entry: Entry) -> SafeString | str:
        return parts.short_hash(entry.hash)

    @admin.display(description=_("hash"))
    def whole_hash(self, entry: Entry) -> SafeString | str:
        return parts.whole_hash(entry.hash)

    @admin.display(description=_("payload"))
    def payload_text(self, entry: Entry) -> SafeString | str:
        if not shows_payloads(entry):
            return parts.hidden_payload()
        return presentation.document(entry.payload)

    @admin.display(description=_("meta"))
    def meta_text(self, entry: Entry) -> SafeString | str:
        if not shows_payloads(entry):
            return parts.hidden_payload()
        return "–" if entry.meta is None else presentation.document(entry.meta)

    @admin.display(description=_("canonical text"))
    def canonical_text(self, entry: Entry) -> SafeString | str:
        if not shows_payloads(entry):
            return parts.hidden_payload()
        return presentation.stored_text(str(entry.serialized))

    @admin.display(description=_("previous hash"))
    def previous(self, entry: Entry) -> SafeString | str:
        if entry.prev_hash is None:
            return _t("none: this is the first entry")
        return parts.whole_hash(entry.prev_hash)

    @admin.display(description=_("verification"))
    def verified(self, entry: Entry) -> SafeString | str:
        found = StreamStatus.objects.filter(stream_id=entry.stream_id)
        status = found.select_related("stream").first()
        numbers = status and parts.is_number(entry.sequence) and parts.is_number(status.length)
        if status is None or not numbers or entry.sequence >= status.length:
            return _t("No verification has read this entry yet.")
        when = parts.ago(status.verified_at, datetime.now(UTC))
        return format_html(
            "{} {}", badges.badge(status.stream), _t("its stream, %(age)s") % {"age": when}
        )

    @admin.display(description=_("checked now"))
    def checked_now(self, entry: Entry) -> SafeString | str:
        if not parts.is_number(entry.sequence):
            return _t("It has no place in the chain: its sequence is not a number.")
        return findings.checked_now(entry, self.addresses, payloads=shows_payloads(entry))

    @admin.display(description=_("its place in the chain"))
    def chain(self, entry: Entry) -> SafeString | str:
        if not parts.is_number(entry.sequence):
            return "–"
        stream = Stream.objects.filter(pk=entry.stream_id).first()
        return "–" if stream is None else neighbourhood.draw(stream, entry.sequence, self.addresses)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EntryList

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Refuse `?payload__contains=…` and the like: no index answers them."""
        return lookup == _STREAM_FILTER

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Entry], search_term: str
    ) -> tuple[QuerySet[Entry], bool]:
        """Search what an index answers: a record id within each stream, a hash, a sequence."""
        term = search_term.strip()
        if not term:
            return queryset, False
        in_streams = queryset.filter(stream__in=Stream.objects.order_by().values("pk"))
        found = in_streams.filter(record_id__in={term, search_term})
        if re.fullmatch("[0-9a-fA-F]{8,64}", term) and not found.exists():
            found = queryset.filter(pk__startswith=term)
        elif re.fullmatch(r"#\d{1,18}", term) and not found.exists():
            # Within one stream from there backwards: so that one can leaf through all of it.
            exact = "sequence__lte" if _STREAM_FILTER in request.GET else "sequence"
            found = in_streams.filter(**{exact: int(term[1:])})
        elif (times := span(term)) and not found.exists():
            found = self._in_time(request, queryset, *times)
        return found, False

    def _in_time(
        self, request: HttpRequest, queryset: QuerySet[Entry], start: int | None, end: int | None
    ) -> QuerySet[Entry]:
        """Find a time within one stream, where it never goes back: no index of times is needed."""
        stream = _stream_of(request)
        if stream is None:
            messages.warning(request, _t("Times are searched within a stream: choose one first."))
            return queryset.none()
        connection = connections[queryset.db]
        for bound, lookup in ((start, "sequence__gte"), (end, "sequence__lt")):
            if bound is not None:
                sequence = timesearch.first_at_or_after(connection, stream.name, bound)
                queryset = queryset.filter(**{lookup: sequence})
        return queryset

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        queryset: QuerySet[Entry] = super().get_queryset(request)
        if is_list(request):
            return queryset.defer("payload", "meta", "prev_hash", "serialized")
        return queryset.select_related("stream")

    def get_urls(self) -> list[Any]:
        own = [
            path("<str:key>/receipt/", self.admin_site.admin_view(self.receipt_view),
                 name=receipts.PAGE),
            path("<str:key>/receipt/file/", self.admin_site.admin_view(receipts.download),
                 name=receipts.FILE),
        ]  # fmt: skip
        return own + super().get_urls()

    def receipt_view(self, request: HttpRequest, key: str) -> HttpResponse:
        return receipts.page(request, self.admin_site, key)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra = {**(extra_context or {}), "limit": LISTED_ENTRIES}
        stream = _stream_of(request)
        if stream is not None:
            extra["title"] = _t("Entries of %(stream)s") % {"stream": stream}
        return super().changelist_view(request, extra)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        entry = self.get_object(request, object_id)
        links: list[tuple[str, str, str]] = []
        if entry is not None and self.has_view_permission(request, entry):
            links = self._neighbours(entry)
            if shows_payloads(entry) and conf.checkpoint_sinks:
                links.append((self.addresses.of(receipts.PAGE, entry.pk), _t("Receipt"), ""))
        return super().change_view(request, object_id, extra_context={"ledger_links": links})

    def _neighbours(self, entry: Entry) -> list[tuple[str, str, str]]:
        """Return links along the chain by sequence, which holds where a link is broken."""
        if not parts.is_number(entry.sequence):
            return []
        labels = {
            entry.sequence - 1: (_t("Previous entry"), "prev"),
            entry.sequence + 1: (_t("Next entry"), "next"),
        }
        found = Entry.objects.filter(stream_id=entry.stream_id, sequence__in=list(labels))
        rows = found.order_by("sequence").values_list("sequence", "pk")
        return [(self.addresses.entry(key), *labels[sequence]) for sequence, key in rows]


def _stream_of(request: HttpRequest) -> Stream | None:
    """Return the stream that a list of entries was narrowed to."""
    key = request.GET.get(_STREAM_FILTER, "")
    return Stream.objects.filter(pk=key).first() if re.fullmatch(r"\d{1,18}", key) else None
