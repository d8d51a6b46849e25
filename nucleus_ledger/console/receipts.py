"""The receipt of an entry in the admin: checked by the browser, and to be downloaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _t

from nucleus_ledger import checkpoints
from nucleus_ledger.conf import conf
from nucleus_ledger.console.addresses import Addresses
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import LedgerError
from nucleus_ledger.evidence import signers
from nucleus_ledger.models import Entry

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

PAGE, FILE = "nucleus_ledger_entry_receipt", "nucleus_ledger_entry_receipt_file"


def page(request: HttpRequest, site: AdminSite, key: str) -> HttpResponse:
    """Show the receipt of the entry of that hash, or say why there is none."""
    entry = _entry(request, key)
    addresses = Addresses(site.name)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": _t("Receipt"),
        "entry": entry,
        "index_url": addresses.index(),
        "entry_url": addresses.entry(entry.pk),
    }
    try:
        context |= {
            "receipt": checkpoints.receipt(entry),
            "vkeys": "\n".join(map(str, _keys())),
            "ledger": entry.stream.ledger,
            "skew": str(conf.entry_limits[2]),  # as text: no thousands are to be set apart
            "download_url": addresses.of(FILE, entry.pk),
        }
    except LedgerError as exc:
        context["why_not"] = visible(str(exc))
    request.current_app = site.name
    return TemplateResponse(request, "admin/nucleus_ledger/entry/receipt.html", context)


def download(request: HttpRequest, key: str) -> HttpResponse:
    entry = _entry(request, key)
    try:
        text = checkpoints.receipt(entry)
    except LedgerError as exc:
        raise Http404(visible(str(exc))) from exc
    response = HttpResponse(text, content_type="application/json")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{entry.stream.name}-{entry.sequence}")
    response["Content-Disposition"] = f'attachment; filename="receipt-{name}.json"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _entry(request: HttpRequest, key: str) -> Entry:
    """Return the entry; a receipt holds all of its text, so it is for those who may see that."""
    may = ("nucleus_ledger.view_entry", "nucleus_ledger.view_payload")
    if not request.user.has_perms(may):
        raise PermissionDenied
    entry: Entry | None = Entry.objects.select_related("stream").filter(pk=unquote(key)).first()
    if entry is None:
        raise Http404
    return entry


def _keys() -> list[Any]:
    log = conf.checkpoint_vkeys or signers.verifiers(signers.configured())
    return [*log, *conf.witness_vkeys]
