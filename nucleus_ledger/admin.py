"""The ledger in Django's admin: read-only, with the integrity status of each stream."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import router
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import presentation, verification
from nucleus_ledger.core.moments import age, moment
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Entry, Finding, Stream, StreamStatus, Verification

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from nucleus_ledger.core.report import Report

    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

LISTED_ENTRIES = 1000
_STREAM_FILTER = "stream__id__exact"
_NAMED_STREAMS = 5  # in messages, which travel in a cookie
_LEVELS = {
    "intact": messages.SUCCESS,
    "tampered": messages.ERROR,
    "acknowledged": messages.WARNING,
    "unknown": messages.WARNING,
}


class ReadOnlyAdmin(_ModelAdmin):
    """Lets those look who may, and nobody write."""

    show_full_result_count = False
    change_form_template = "admin/nucleus_ledger/read_only_form.html"

    class Media:
        css: ClassVar = {"all": ["nucleus_ledger/admin.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    list_display = (
        "shown_name",
        "status_word",
        "verified",
        "since",
        "length",
        "last_entry",
        "head",
    )
    list_select_related = ("status",)
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("verify_selected",)
    fields = (
        "shown_name",
        "shown_ledger",
        "status_word",
        "what_was_checked",
        "latest_findings",
        "since",
        "length",
        "last_entry",
        "whole_head",
    )
    readonly_fields = fields

    @admin.display(description=_("stream"), ordering="name")
    def shown_name(self, stream: Stream) -> str:
        return visible(stream.name)

    @admin.display(description=_("ledger"))
    def shown_ledger(self, stream: Stream) -> str:
        return visible(stream.ledger)

    @admin.display(description=_("integrity"), ordering="status__result")
    def status_word(self, stream: Stream) -> SafeString:
        return presentation.badge(presentation.status_of(stream))

    @admin.display(description=_("verified"), ordering="status__verified_at")
    def verified(self, stream: Stream) -> str:
        return presentation.last_verified(stream)

    @admin.display(description=_("entries since"))
    def since(self, stream: Stream) -> str:
        return presentation.entries_since(stream)

    @admin.display(description=_("last entry"), ordering="head_timestamp")
    def last_entry(self, stream: Stream) -> str:
        return moment(stream.head_timestamp) or "–"

    @admin.display(description=_("head"))
    def head(self, stream: Stream) -> SafeString | str:
        return presentation.short_hash(stream.head_hash) or "–"

    @admin.display(description=_("head"))
    def whole_head(self, stream: Stream) -> SafeString | str:
        return presentation.whole_hash(stream.head_hash) or "–"

    @admin.display(description=_("what was checked"))
    def what_was_checked(self, stream: Stream) -> SafeString:
        return presentation.what_was_checked(stream)

    @admin.display(description=_("findings"))
    def latest_findings(self, stream: Stream) -> SafeString | str:
        status = presentation.status_of(stream)
        if status is None or not status.verification_id:
            return "–"
        found = Finding.objects.filter(verification_id=status.verification_id, stream=stream.name)
        return presentation.findings_table(found)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        streams: QuerySet[Stream] = super().get_queryset(request)
        return streams if _is_list(request) else streams.select_related("status__verification")

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("nucleus_ledger.verify_stream")

    @admin.action(description=_("Verify selected streams"), permissions=["verify"])
    def verify_selected(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        report = verification.verify(
            router.db_for_write(Stream),  # a replica could not store what was found
            list(queryset.values_list("name", flat=True)),
            origin="admin",
            user=request.user.get_username(),
        )
        for level, text in _said(report):
            self.message_user(request, text, level)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        extra = {"ledger_links": [(presentation.entries_url(object_id), _t("Entries"), "")]}
        return super().change_view(request, object_id, extra_context=extra)


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


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("place", "record", "stream_link", "time", "short_hash")
    list_display_links = ("place", "record")
    list_select_related = ("stream",)
    list_per_page = 50
    list_max_show_all = -1  # "show all" believes the count, which stops short
    paginator = BoundedPaginator
    sortable_by = ()
    search_fields = ("record_id",)
    search_help_text = _("An exact record id, a whole hash, or # and a sequence.")
    fields = (
        "stream_link",
        "place",
        "record",
        "time",
        "verified",
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
        return format_html(
            '<a href="{}">{}</a>', presentation.stream_url(entry.stream_id), entry.stream
        )

    @admin.display(description=_("time"))
    def time(self, entry: Entry) -> str:
        return visible(moment(entry.timestamp))

    @admin.display(description=_("hash"))
    def short_hash(self, entry: Entry) -> SafeString | str:
        return presentation.short_hash(entry.hash)

    @admin.display(description=_("hash"))
    def whole_hash(self, entry: Entry) -> SafeString | str:
        return presentation.whole_hash(entry.hash)

    @admin.display(description=_("payload"))
    def payload_text(self, entry: Entry) -> SafeString:
        return presentation.document(entry.payload)

    @admin.display(description=_("meta"))
    def meta_text(self, entry: Entry) -> SafeString | str:
        return "–" if entry.meta is None else presentation.document(entry.meta)

    @admin.display(description=_("canonical text"))
    def canonical_text(self, entry: Entry) -> SafeString:
        return presentation.stored_text(str(entry.serialized))

    @admin.display(description=_("previous hash"))
    def previous(self, entry: Entry) -> SafeString | str:
        if entry.prev_hash is None:
            return _t("none: this is the first entry")
        return presentation.whole_hash(entry.prev_hash)

    @admin.display(description=_("verification"))
    def verified(self, entry: Entry) -> SafeString | str:
        status = StreamStatus.objects.filter(stream_id=entry.stream_id).first()
        if status is None or not _is_number(entry.sequence) or entry.sequence >= status.length:
            return _t("No verification has read this entry yet.")
        when = age(status.verified_at, datetime.now(UTC))
        return format_html(
            "{} {}", presentation.badge(status), _t("its stream, %(age)s") % {"age": when}
        )

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
        if re.fullmatch("[0-9a-fA-F]{64}", term) and not found.exists():
            found = queryset.filter(pk=term)
        elif re.fullmatch(r"#\d{1,18}", term) and not found.exists():
            # Within one stream from there backwards: so that one can leaf through all of it.
            exact = "sequence__lte" if _STREAM_FILTER in request.GET else "sequence"
            found = in_streams.filter(**{exact: int(term[1:])})
        return found, False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        queryset: QuerySet[Entry] = super().get_queryset(request)
        if _is_list(request):
            return queryset.defer("payload", "meta", "prev_hash", "serialized")
        return queryset.select_related("stream")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra = {**(extra_context or {}), "limit": LISTED_ENTRIES}
        key = request.GET.get(_STREAM_FILTER, "")
        stream = Stream.objects.filter(pk=key).first() if re.fullmatch(r"\d{1,18}", key) else None
        if stream is not None:
            extra["title"] = _t("Entries of %(stream)s") % {"stream": stream}
        return super().changelist_view(request, extra)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        entry = self.get_object(request, object_id)
        links: list[tuple[str, str, str]] = []
        if entry is not None and self.has_view_permission(request, entry):
            links = self._neighbours(entry)
        return super().change_view(request, object_id, extra_context={"ledger_links": links})

    def _neighbours(self, entry: Entry) -> list[tuple[str, str, str]]:
        """Return links along the chain by sequence, which holds where a link is broken."""
        if not _is_number(entry.sequence):
            return []
        labels = {
            entry.sequence - 1: (_t("Previous entry"), "prev"),
            entry.sequence + 1: (_t("Next entry"), "next"),
        }
        found = Entry.objects.filter(stream_id=entry.stream_id, sequence__in=list(labels))
        rows = found.order_by("sequence").values_list("sequence", "pk")
        return [(presentation.entry_url(key), *labels[sequence]) for sequence, key in rows]


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "result",
        "findings_total",
        "entries",
        "streams",
        "started_at",
        "mode",
        "origin",
        "shown_user",
    )
    list_filter = ("result", "mode", "origin")
    ordering = ("-pk",)
    fields = (
        "result",
        "started_at",
        "finished_at",
        "origin",
        "shown_user",
        "mode",
        "shown_scope",
        "options",
        "streams",
        "entries",
        "findings_total",
        "findings_list",
        "shown_warnings",
    )
    readonly_fields = fields

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, run: Verification) -> str:
        return visible(run.user) or "–"

    @admin.display(description=_("options"))
    def options(self, run: Verification) -> str:
        """In words: the admin's red cross for "no" would look like a finding."""
        chosen = {_t("deep"): run.deep, _t("validated by modules"): run.validated}
        return ", ".join(name for name, yes in chosen.items() if yes) or "–"

    @admin.display(description=_("streams asked for"))
    def shown_scope(self, run: Verification) -> str:
        return _t("all") if run.scope is None else visible(", ".join(map(str, run.scope)))

    @admin.display(description=_("warnings"))
    def shown_warnings(self, run: Verification) -> str:
        return "\n".join(visible(str(warning)) for warning in run.warnings) or "–"

    @admin.display(description=_("what was found"))
    def findings_list(self, run: Verification) -> SafeString | str:
        return presentation.findings_table(Finding.objects.filter(verification_id=run.pk))


def _said(report: Report) -> list[tuple[int, str]]:
    """Return what to tell the person who asked for a verification."""
    numbers = {
        "entries": report.entries,
        "streams": len(report.streams),
        "findings": report.findings_total,
        "trouble": "; ".join(report.errors) or _t("there was no entry to read"),
    }
    words = {
        "intact": _t("Intact: nothing found. Streams: %(streams)s, entries: %(entries)s."),
        "acknowledged": _t(
            "Acknowledged: every finding is on record already. Findings: %(findings)s."
        ),
        "tampered": _t("Tampered. Findings: %(findings)s."),
    }
    text = words.get(report.result, _t("It could not be told: %(trouble)s.")) % numbers
    link = presentation.verification_link(report.verification) if report.verification else ""
    said: list[tuple[int, str]] = [
        (_LEVELS.get(report.result, messages.WARNING), format_html("{} {}", text, link))
    ]
    broken = [stream for stream in report.streams if stream.result == "tampered"]
    for stream in broken[:_NAMED_STREAMS]:
        found = presentation.in_short(stream.findings, stream.findings_total)
        # The admin capitalises a message: a name must not stand first in it.
        text = _t("Stream %(name)s: %(found)s") % {"name": stream.name, "found": found}
        said.append((messages.ERROR, visible(text)))
    said.extend((messages.WARNING, visible(text)) for text in report.warnings[:_NAMED_STREAMS])
    return said


def _is_list(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and str(match.url_name).endswith("_changelist")


def _is_number(value: object) -> bool:
    """Whether a column still holds what it should: SQLite lets a tamperer store text in it."""
    return type(value) is int
