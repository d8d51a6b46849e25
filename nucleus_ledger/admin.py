"""The ledger in Django's admin: read-only, with the integrity status of each stream."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import verification
from nucleus_ledger.conf import conf
from nucleus_ledger.core.moments import age, moment
from nucleus_ledger.models import Entry, Finding, Stream, StreamStatus, Verification

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

LISTED_ENTRIES = 1000
_SHOWN_CHARACTERS = 100_000
_SHOWN_FINDINGS = 200
_STATUSES = {
    "intact": ("✔", _("Intact")),
    "tampered": ("✖", _("Tampered")),
    "acknowledged": ("◆", _("Acknowledged")),
    "stale": ("◷", _("Stale")),
    "never": ("○", _("Never verified")),
}


class ReadOnlyAdmin(_ModelAdmin):
    """Lets those look who may, and nobody write."""

    show_full_result_count = False

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
    list_display = ("name", "status_word", "verified", "since", "length", "last_entry", "head")
    list_select_related = ("status",)
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("verify_selected",)
    fields = (
        "name",
        "ledger",
        "status_word",
        "what_was_checked",
        "length",
        "last_entry",
        "head_hash",
        "latest_findings",
    )
    readonly_fields = fields

    @admin.display(description=_("status"), ordering="status__result")
    def status_word(self, stream: Stream) -> SafeString:
        name = _status_name(_status_of(stream))
        shape, word = _STATUSES[name]
        return format_html(
            '<span class="ledger-status ledger-status--{}">{} {}</span>', name, shape, word
        )

    @admin.display(description=_("verified"), ordering="status__verified_at")
    def verified(self, stream: Stream) -> str:
        status = _status_of(stream)
        return "" if status is None else age(status.verified_at, datetime.now(UTC))

    @admin.display(description=_("entries since"))
    def since(self, stream: Stream) -> int:
        status = _status_of(stream)
        return stream.length if status is None else max(stream.length - status.length, 0)

    @admin.display(description=_("last entry"), ordering="head_timestamp")
    def last_entry(self, stream: Stream) -> str:
        return moment(stream.head_timestamp)

    @admin.display(description=_("head"))
    def head(self, stream: Stream) -> SafeString | str:
        if not stream.head_hash:
            return ""
        return format_html(
            '<span class="ledger-hash" title="{}">{}…</span>',
            stream.head_hash,
            stream.head_hash[:12],
        )

    @admin.display(description=_("what was checked"))
    def what_was_checked(self, stream: Stream) -> SafeString | str:
        status = _status_of(stream)
        if status is None:
            return _t("No verification has read this stream yet.")
        run = ""
        if status.verification_id:
            run = format_html(
                ' <a href="{}">{}</a>',
                reverse("admin:nucleus_ledger_verification_change", args=[status.verification_id]),
                _t("Verification %(number)s") % {"number": status.verification_id},
            )
        text = _t(
            "The chain's first %(length)s entries, as of %(time)s UTC; last read in full %(full)s "
            "UTC. A chain alone does not show whether somebody who can write the whole database "
            "rewrote it together with its head and this status."
        ) % {
            "length": status.length,
            "time": f"{status.verified_at:%Y-%m-%d %H:%M:%S}",
            "full": f"{status.full_at:%Y-%m-%d %H:%M:%S}",
        }
        return format_html("{}{}", text, run)

    @admin.display(description=_("findings of that verification"))
    def latest_findings(self, stream: Stream) -> SafeString | str:
        status = _status_of(stream)
        if status is None or not status.verification_id:
            return ""
        return _findings_table(
            Finding.objects.filter(verification_id=status.verification_id, stream=stream.name)
        )

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("nucleus_ledger.verify_stream")

    @admin.action(description=_("Verify selected streams"), permissions=["verify"])
    def verify_selected(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        names = list(queryset.values_list("name", flat=True))
        report = verification.verify(
            queryset.db, names, origin="admin", user=request.user.get_username()
        )
        link = ""
        if report.verification:
            link = format_html(
                ' <a href="{}">{}</a>',
                reverse("admin:nucleus_ledger_verification_change", args=[report.verification]),
                _t("Verification %(number)s") % {"number": report.verification},
            )
        numbers = {
            "entries": report.entries,
            "streams": len(report.streams),
            "findings": report.findings_total,
        }
        if report.result == "tampered":
            text = _t("Tampering found: %(findings)s findings in %(streams)s streams.") % numbers
            level = messages.ERROR
        elif report.result == "intact":
            text = _t("Intact: %(entries)s entries in %(streams)s streams read.") % numbers
            level = messages.SUCCESS
        elif report.result == "acknowledged":
            text = _t("All %(findings)s findings are acknowledged already.") % numbers
            level = messages.WARNING
        else:
            text = _t("It could not be told: %(entries)s entries read.") % numbers
            level = messages.WARNING
        self.message_user(request, format_html("{}{}", text, link), level)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        query = urlencode({"stream__id__exact": object_id})
        extra = {"entries_url": f"{reverse('admin:nucleus_ledger_entry_changelist')}?{query}"}
        return super().change_view(request, object_id, extra_context=extra)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than it lists: COUNT(*) over millions of entries takes seconds."""

    @cached_property
    def count(self) -> int:
        entries: Any = self.object_list
        return len(entries.values_list("pk")[:LISTED_ENTRIES])


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    list_display = ("record_id", "stream", "sequence", "time", "short_hash")
    list_select_related = ("stream",)
    list_per_page = 50
    list_max_show_all = LISTED_ENTRIES
    paginator = BoundedPaginator
    ordering = ("-stream", "-sequence")
    sortable_by = ()  # any other order would sort the whole table
    search_fields = ("record_id",)
    search_help_text = _("exact record id, or a hash")
    fields = (
        "stream",
        "sequence",
        "record_id",
        "time",
        "payload_text",
        "meta_text",
        "hash",
        "previous",
        "canonical_text",
        "place",
    )
    readonly_fields = fields

    @admin.display(description=_("time"))
    def time(self, entry: Entry) -> str:
        return moment(entry.timestamp)

    @admin.display(description=_("hash"))
    def short_hash(self, entry: Entry) -> SafeString:
        return format_html(
            '<span class="ledger-hash" title="{}">{}…</span>', entry.hash, entry.hash[:12]
        )

    @admin.display(description=_("payload"))
    def payload_text(self, entry: Entry) -> SafeString:
        return _document(entry.payload)

    @admin.display(description=_("meta"))
    def meta_text(self, entry: Entry) -> SafeString | str:
        return "" if entry.meta is None else _document(entry.meta)

    @admin.display(description=_("canonical text"))
    def canonical_text(self, entry: Entry) -> SafeString:
        return format_html('<pre class="ledger-document">{}</pre>', visible(entry.serialized))

    @admin.display(description=_("previous hash"))
    def previous(self, entry: Entry) -> SafeString | str:
        if entry.prev_hash is None:
            return _t("none: this is the first entry")
        url = reverse("admin:nucleus_ledger_entry_change", args=[entry.prev_hash])
        return format_html('<a class="ledger-hash" href="{}">{}</a>', url, entry.prev_hash)

    @admin.display(description=_("verification"))
    def place(self, entry: Entry) -> str:
        status = StreamStatus.objects.filter(stream_id=entry.stream_id).first()
        if status is None or entry.sequence >= status.length:
            return _t("No verification has read this entry yet.")
        return _t("Read by a verification %(age)s; the stream was %(result)s.") % {
            "age": age(status.verified_at, datetime.now(UTC)),
            "result": status.get_result_display(),
        }

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Entry], search_term: str
    ) -> tuple[QuerySet[Entry], bool]:
        """Search what an index answers: a hash, or a record id within each stream."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if re.fullmatch("[0-9a-fA-F]{64}", term):
            return queryset.filter(pk=term), False
        if re.fullmatch(r"#\d{1,18}", term):
            return queryset.filter(stream__in=_streams(), sequence=int(term[1:])), False
        return queryset.filter(stream__in=_streams(), record_id=term), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        queryset: QuerySet[Entry] = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and str(match.url_name).endswith("_changelist"):
            return queryset.defer("payload", "meta", "prev_hash", "serialized")
        return queryset.select_related("stream")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra = {**(extra_context or {}), "limit": LISTED_ENTRIES}
        return super().changelist_view(request, extra)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        entry = self.get_object(request, object_id)
        extra = {}
        if entry is not None and self.has_view_permission(request, entry):
            extra = {
                "previous_url": self._neighbour(entry, entry.sequence - 1),
                "next_url": self._neighbour(entry, entry.sequence + 1),
            }
        return super().change_view(request, object_id, extra_context=extra)

    def _neighbour(self, entry: Entry, sequence: int) -> str | None:
        found = Entry.objects.filter(stream_id=entry.stream_id, sequence=sequence)
        key = found.values_list("pk", flat=True).first()
        return None if key is None else reverse("admin:nucleus_ledger_entry_change", args=[key])


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "started_at",
        "origin",
        "user",
        "mode",
        "result",
        "streams",
        "entries",
        "findings_total",
    )
    list_filter = ("result", "mode", "origin")
    ordering = ("-pk",)
    fields = (
        "started_at",
        "finished_at",
        "origin",
        "user",
        "mode",
        "scope",
        "deep",
        "validated",
        "result",
        "streams",
        "entries",
        "findings_total",
        "warnings",
        "findings_list",
    )
    readonly_fields = fields

    @admin.display(description=_("findings"))
    def findings_list(self, run: Verification) -> SafeString | str:
        return _findings_table(Finding.objects.filter(verification_id=run.pk))


def visible(text: str) -> str:
    """Return text whose control and formatting characters show instead of acting.

    A right-to-left mark in a record could otherwise make a page read other than it is.
    """
    shown = "".join(
        char
        if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else f"‹U+{ord(char):04X}›"
        for char in text[:_SHOWN_CHARACTERS]
    )
    left = len(text) - _SHOWN_CHARACTERS
    return shown if left <= 0 else f"{shown}… ({left} more characters)"


def _document(value: Any) -> SafeString:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return format_html('<pre class="ledger-document">{}</pre>', visible(text))


def _status_of(stream: Stream) -> StreamStatus | None:
    status: StreamStatus | None = getattr(stream, "status", None)
    return status


def _status_name(status: StreamStatus | None) -> str:
    if status is None:
        return "never"
    if status.result == "intact" and datetime.now(UTC) - status.verified_at > conf.stale_after:
        return "stale"
    if status.result == "intact" and datetime.now(UTC) - status.full_at > conf.full_max_age:
        return "stale"
    return str(status.result)


def _findings_table(findings: QuerySet[Finding]) -> SafeString | str:
    rows = [
        (
            finding.kind,
            visible(finding.stream),
            "" if finding.sequence is None else finding.sequence,
            finding.message,
            visible(_shown_value(finding.expected)),
            visible(_shown_value(finding.actual)),
        )
        for finding in findings.order_by("pk")[:_SHOWN_FINDINGS]
    ]
    if not rows:
        return _t("none")
    head = format_html_join(
        "",
        '<th scope="col">{}</th>',
        [(_t("kind"),), (_t("stream"),), (_t("sequence"),), (_t("message"),),
         (_t("expected"),), (_t("actual"),)],
    )  # fmt: skip
    cells = '<pre class="ledger-document">{}</pre>'
    body = format_html_join(
        "",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>"
        f"<td>{cells}</td><td>{cells}</td></tr>",
        rows,
    )
    return format_html(
        '<table class="ledger-findings"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        head,
        body,
    )


def _shown_value(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _streams() -> QuerySet[Stream]:
    """Every stream's key: with it, the index of (stream, record id) answers without a stream."""
    streams: QuerySet[Stream] = Stream.objects.order_by().values("pk")
    return streams
