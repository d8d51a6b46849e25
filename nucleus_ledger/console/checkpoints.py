"""The checkpoints in the admin: what was signed, and whether it has left the site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger.console import parts
from nucleus_ledger.console.base import ReadOnlyAdmin
from nucleus_ledger.core import manifest, note
from nucleus_ledger.core.manifest import Manifest
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import InvalidNote, InvalidProof

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from nucleus_ledger.models import Checkpoint


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("size", "created_at", "streams", "signatures", "delivered")
    ordering = ("-number",)
    fields = (
        "size",
        "created_at",
        "streams",
        "signatures",
        "delivered",
        "exceptions",
        "signed_note",
        "manifest_text",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Checkpoint]:
        queryset: QuerySet[Checkpoint] = super().get_queryset(request)
        return queryset.defer("frontier")

    @admin.display(description=_("size"), ordering="number")
    def size(self, checkpoint: Checkpoint) -> str:
        return str(checkpoint.number + 1) if parts.is_number(checkpoint.number) else "?"

    @admin.display(description=_("made"))
    def created_at(self, checkpoint: Checkpoint) -> str:
        said = _said(checkpoint)
        return said.created_at if said else _t("unreadable")

    @admin.display(description=_("streams"))
    def streams(self, checkpoint: Checkpoint) -> str:
        said = _said(checkpoint)
        return str(said.streams) if said else "–"

    @admin.display(description=_("signatures of"))
    def signatures(self, checkpoint: Checkpoint) -> str:
        """Name who signed; nothing is verified for a list."""
        try:
            signed = note.parse(str(checkpoint.note))
        except InvalidNote:
            return _t("unreadable")
        return visible(", ".join(dict.fromkeys(each.name for each in signed.signatures)))

    @admin.display(description=_("delivered"))
    def delivered(self, checkpoint: Checkpoint) -> str:
        missing = [visible(str(name)) for name in parts.as_list(checkpoint.undelivered)]
        if not missing:
            return _t("to all sinks")
        return _t("not yet to %(sinks)s") % {"sinks": ", ".join(missing)}

    @admin.display(description=_("removed and restored"))
    def exceptions(self, checkpoint: Checkpoint) -> SafeString | str:
        said = _said(checkpoint)
        if said is None or not (said.removed or said.restored):
            return "–"
        return parts.preformatted("\n".join(visible(str(each)) for each in _exceptions(said)))

    @admin.display(description=_("signed note"))
    def signed_note(self, checkpoint: Checkpoint) -> SafeString:
        return parts.preformatted(visible(str(checkpoint.note)))

    @admin.display(description=_("manifest"))
    def manifest_text(self, checkpoint: Checkpoint) -> SafeString:
        return parts.preformatted(visible(str(checkpoint.manifest)))


def _exceptions(said: Manifest) -> list[Any]:
    return [*said.removed, *said.restored]


def _said(checkpoint: Checkpoint) -> Manifest | None:
    try:
        return manifest.parse_manifest(str(checkpoint.manifest))
    except InvalidProof:
        return None
