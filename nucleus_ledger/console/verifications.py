"""The verifications in the admin: what each read and found."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger.console import presentation
from nucleus_ledger.console.base import ReadOnlyAdmin, shows_payloads
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Finding, Verification


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
        found = Finding.objects.filter(verification_id=run.pk)
        return presentation.findings_table(found, payloads=shows_payloads(run))
