"""The streams in the admin: what can be said of each, and by what."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger.console import (
    badges,
    chart,
    clock,
    findings,
    neighbourhood,
    notices,
    parts,
    presentation,
    running,
)
from nucleus_ledger.console.base import ReadOnlyAdmin, is_list, shows_payloads
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Finding, Stream, Verification

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


class IntegrityFilter(admin.SimpleListFilter):
    """Streams by the status that the list shows of them."""

    title = _("integrity")
    parameter_name = "integrity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return badges.status_words()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> QuerySet[Stream]:
        name = self.value()
        if name not in dict(badges.status_words()):
            return queryset
        return queryset.filter(badges.with_status(str(name), datetime.now(UTC)))


class StreamList(ChangeList):
    """The streams, each with the verification that is reading it just now."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        runs = badges.runs_under_way(Stream.objects.db, datetime.now(UTC))
        for stream in self.result_list:
            stream.under_way = badges.under_way(stream, runs)


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
        "latest_notices",
        "growth",
        "chain",
        "history",
        "since",
        "length",
        "last_entry",
        "whole_head",
    )
    readonly_fields = (*fields, "clock")

    @admin.display(description=_("stream"), ordering="name")
    def shown_name(self, stream: Stream) -> str:
        return visible(str(stream.name))

    @admin.display(description=_("ledger"))
    def shown_ledger(self, stream: Stream) -> str:
        return visible(str(stream.ledger))

    @admin.display(description=_("integrity"), ordering="status__result")
    def status_word(self, stream: Stream) -> SafeString:
        badge = badges.badge(stream)
        under_way = getattr(stream, "under_way", None)
        if not under_way:
            return badge
        address = self.addresses.verification(under_way.pk)
        return badge + badges.under_way_badge(under_way, address)

    @admin.display(description=_("verified"), ordering="status__verified_at")
    def verified(self, stream: Stream) -> str:
        return presentation.last_verified(stream)

    @admin.display(description=_("entries since"))
    def since(self, stream: Stream) -> str:
        return presentation.entries_since(stream)

    @admin.display(description=_("last entry"), ordering="head_timestamp")
    def last_entry(self, stream: Stream) -> SafeString | str:
        return clock.last_entry(stream)

    @admin.display(description=_("clock"))
    def clock(self, stream: Stream) -> SafeString | str:
        return clock.explained(stream)

    @admin.display(description=_("head"))
    def head(self, stream: Stream) -> SafeString | str:
        return parts.short_hash(stream.head_hash) or "–"

    @admin.display(description=_("head"))
    def whole_head(self, stream: Stream) -> SafeString | str:
        return parts.whole_hash(stream.head_hash) or "–"

    @admin.display(description=_("what was checked"))
    def what_was_checked(self, stream: Stream) -> SafeString:
        return presentation.what_was_checked(stream, self.addresses)

    @admin.display(description=_("findings"))
    def latest_findings(self, stream: Stream) -> SafeString | str:
        found = _findings_of(stream)
        if found is None:
            return "–"
        return findings.table_of_stored(found, self.addresses, payloads=shows_payloads(stream))

    @admin.display(description=_("notices"))
    def latest_notices(self, stream: Stream) -> SafeString | str:
        return notices.listed(notices.of_runs(_runs_of(stream), str(stream.name)))

    @admin.display(description=_("entries over time"))
    def growth(self, stream: Stream) -> SafeString:
        found = _findings_of(stream)
        marked = [] if found is None else list(found.order_by("pk")[: chart.SHOWN_FINDINGS])
        return chart.draw(stream, badges.status_of(stream), _runs_of(stream), marked)

    @admin.display(description=_("the chain"))
    def chain(self, stream: Stream) -> SafeString | str:
        if not parts.is_number(stream.length) or not stream.length:
            return "–"
        around = getattr(stream, "around", "")
        head = stream.length - 1
        sequence = min(int(around), head) if re.fullmatch(r"\d{1,18}", around) else head
        drawn = neighbourhood.draw(stream, sequence, self.addresses)
        return drawn + neighbourhood.steps(stream, sequence)

    @admin.display(description=_("verifications"))
    def history(self, stream: Stream) -> SafeString | str:
        return presentation.history(stream, _runs_of(stream), self.addresses)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields, and what is to be said of the clock where there is something."""
        if obj is None or clock.ahead(obj) is None:
            return self.fields
        return (*self.fields[:4], "clock", *self.fields[4:])

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the stream, which knows around which of its entries the chain is to be drawn."""
        stream = super().get_object(request, *args, **kwargs)
        if stream is not None:
            stream.around = request.GET.get("around", "")
        return stream

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StreamList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        streams: QuerySet[Stream] = super().get_queryset(request)
        return streams if is_list(request) else streams.select_related("status__verification")

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return running.may_verify(request)

    @admin.action(description=_("Verify selected streams"), permissions=["verify"])
    def verify_selected(self, request: HttpRequest, queryset: QuerySet[Stream]) -> HttpResponse:
        return self._start(request, list(queryset.values_list("name", flat=True)), "full")

    def get_urls(self) -> list[Any]:
        verify = running.posted(self.admin_site, self.verify_view)
        meaning = self.admin_site.admin_view(self.findings_view)
        own = [
            path("verify/", verify, name="nucleus_ledger_stream_verify"),
            path("findings/", meaning, name="nucleus_ledger_stream_findings"),
        ]
        return own + super().get_urls()

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Start a verification of all streams, or of the one named by its key in `stream`."""
        if not running.may_verify(request):
            raise PermissionDenied
        mode: Any = request.POST.get("mode", "full")
        key = request.POST.get("stream")
        if key is None:
            return self._start(request, None, mode)
        stream = get_object_or_404(Stream, pk=key) if key.isdecimal() else None
        if stream is None:
            raise Http404
        return self._start(request, [stream.name], mode)

    def _start(self, request: HttpRequest, streams: Any, mode: Any) -> HttpResponse:
        return running.start(request, self.addresses, streams, mode)

    def findings_view(self, request: HttpRequest) -> HttpResponse:
        """Tell what each kind of finding means, and what to do when a stream is red."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        red = badges.tampered_streams()
        context = {
            **self.admin_site.each_context(request),
            "title": _t("What each finding means"),
            "kinds": findings.kinds(),
            "red": [(stream, self.addresses.stream(stream.pk)) for stream in red],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/nucleus_ledger/findings.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        extra: dict[str, Any] = {**(extra_context or {})}
        if self.has_view_permission(request):
            extra["ledger_totals"] = badges.totals(Stream.objects.order_by())
            extra["ledger_may_verify"] = running.may_verify(request)
        return super().changelist_view(request, extra)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        extra = {
            "ledger_links": [(self.addresses.entries(object_id), _t("Entries"), "")],
            "ledger_may_verify": running.may_verify(request),
        }
        return super().change_view(request, object_id, extra_context=extra)


def _findings_of(stream: Stream) -> QuerySet[Finding] | None:
    """Return what the verification behind a stream's status found in it."""
    status = badges.status_of(stream)
    if status is None or not status.verification_id:
        return None
    return Finding.objects.filter(verification_id=status.verification_id, stream=stream.name)


def _runs_of(stream: Any) -> list[Verification]:
    """Return the stream's verifications, asked for once a page."""
    if not hasattr(stream, "runs"):
        stream.runs = presentation.runs_of(stream)
    runs: list[Verification] = stream.runs
    return runs
