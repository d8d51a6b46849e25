"""The verifications in the admin: what each read and found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import step_leases, stepping
from nucleus_ledger.console import badges, findings, notices, parts, running
from nucleus_ledger.console.base import ReadOnlyAdmin, shows_payloads
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import NotFound
from nucleus_ledger.models import Finding, Verification

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class VerificationList(ChangeList):
    """The runs, each with whether this site stored its result."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        badges.mark_genuine(Verification.objects.db, self.result_list)


class VerificationAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "result_badge",
        "findings_total",
        "entries",
        "streams",
        "shown_start",
        "mode",
        "origin",
        "shown_user",
    )
    list_filter = ("result", "mode", "origin")
    ordering = ("-pk",)
    fields = (
        "outcome",
        "shown_start",
        "shown_end",
        "origin",
        "shown_user",
        "mode",
        "shown_scope",
        "options",
        "assurance",
        "streams",
        "entries",
        "findings_total",
        "findings_list",
        "shown_warnings",
        "shown_notices",
    )
    readonly_fields = fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return VerificationList

    @admin.display(description=_("result"))
    def outcome(self, run: Verification) -> SafeString:
        badge = badges.badge_of_run(run)
        return format_html("{} {}", badge, running.outcome(run))

    @admin.display(description=_("result"), ordering="result")
    def result_badge(self, run: Verification) -> SafeString:
        return badges.badge_of_run(run)

    @admin.display(description=_("started"), ordering="started_at")
    def shown_start(self, run: Verification) -> str:
        """In UTC, as on every other page, whatever the time zone of the site."""
        return parts.at_time(run.started_at)

    @admin.display(description=_("finished"), ordering="finished_at")
    def shown_end(self, run: Verification) -> str:
        return parts.at_time(run.finished_at)

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, run: Verification) -> str:
        return visible(str(run.user)) or "–"

    @admin.display(description=_("options"))
    def options(self, run: Verification) -> str:
        """In words: the admin's red cross for "no" would look like a finding."""
        chosen = {_t("deep"): run.deep, _t("validated by modules"): run.validated}
        return ", ".join(name for name, yes in chosen.items() if yes) or "–"

    @admin.display(description=_("streams asked for"))
    def shown_scope(self, run: Verification) -> str:
        return (
            _t("all")
            if run.scope is None
            else visible(", ".join(map(str, parts.as_list(run.scope))))
        )

    @admin.display(description=_("warnings"))
    def shown_warnings(self, run: Verification) -> str:
        return "\n".join(visible(str(warning)) for warning in parts.as_list(run.warnings)) or "–"

    @admin.display(description=_("notices"))
    def shown_notices(self, run: Verification) -> SafeString | str:
        return notices.listed(notices.read(run.notices))

    @admin.display(description=_("what was found"))
    def findings_list(self, run: Verification) -> SafeString | str:
        found = Finding.objects.filter(verification_id=run.pk)
        return findings.table_of_stored(found, self.addresses, payloads=shows_payloads(run))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may verify may see what came of it."""
        return super().has_view_permission(request, obj) or running.may_verify(request)

    def get_urls(self) -> list[Any]:
        own = []
        for name, view in (("step", self.step_view), ("cancel", self.cancel_view)):
            wrapped = running.posted(self.admin_site, view)
            url_name = f"nucleus_ledger_verification_{name}"
            own.append(path(f"<int:key>/{name}/", wrapped, name=url_name))
        return own + super().get_urls()

    def step_view(self, request: HttpRequest, key: int) -> HttpResponse:
        """Take a run one step forward; with a script's answer for a script."""
        if not running.may_verify(request):
            raise PermissionDenied
        try:
            progress = stepping.step(running.database(), key)
        except NotFound:
            raise Http404 from None
        if request.accepts("text/html"):
            return running.go_on(request, self.addresses, progress)
        if progress.finished and progress.moved:
            # For the page that the script loads then.
            running.go_on(request, self.addresses, progress)
        return JsonResponse(running.as_json(progress))

    def cancel_view(self, request: HttpRequest, key: int) -> HttpResponse:
        if not running.may_verify(request):
            raise PermissionDenied
        try:
            run = stepping.cancel(running.database(), key, request.user.get_username())
        except NotFound:
            raise Http404 from None
        return HttpResponseRedirect(self.addresses.verification(run.pk))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        extra: dict[str, Any] = {}
        run = self.get_object(request, object_id)
        if run is not None and run.result == run.Result.RUNNING and step_leases.is_stepped(run):
            progress = stepping.progress(running.database(), run.pk)
            extra = {
                "ledger_progress": progress,
                "ledger_progress_text": running.in_words(progress),
                "ledger_may_verify": running.may_verify(request),
            }
        return super().change_view(request, object_id, extra_context=extra)
