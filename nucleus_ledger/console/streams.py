"""The streams in the admin: what can be said of each, and by what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import router
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import verification
from nucleus_ledger.console import presentation
from nucleus_ledger.console.base import ReadOnlyAdmin, is_list, shows_payloads
from nucleus_ledger.core.moments import moment
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Finding, Stream

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from nucleus_ledger.core.report import Report

_NAMED_STREAMS = 5  # in messages, which travel in a cookie
_LEVELS = {
    "intact": messages.SUCCESS,
    "tampered": messages.ERROR,
    "acknowledged": messages.WARNING,
    "unknown": messages.WARNING,
}


class IntegrityFilter(admin.SimpleListFilter):
    """Streams by the status that the list shows of them."""

    title = _("integrity")
    parameter_name = "integrity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return presentation.status_words()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> QuerySet[Stream]:
        name = self.value()
        if name not in dict(presentation.status_words()):
            return queryset
        return queryset.filter(presentation.with_status(str(name), datetime.now(UTC)))


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
    list_select_related = ("status__verification",)
    list_filter = (IntegrityFilter,)
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
        return presentation.findings_table(found, payloads=shows_payloads(stream))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        streams: QuerySet[Stream] = super().get_queryset(request)
        return streams if is_list(request) else streams.select_related("status__verification")

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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra: dict[str, Any] = {**(extra_context or {})}
        if self.has_view_permission(request):
            extra["ledger_totals"] = presentation.totals(Stream.objects.order_by())
        return super().changelist_view(request, extra)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        extra = {"ledger_links": [(presentation.entries_url(object_id), _t("Entries"), "")]}
        return super().change_view(request, object_id, extra_context=extra)


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
