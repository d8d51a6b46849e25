"""What the ledger's pages in the admin have in common: they show, and never write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.template.response import SimpleTemplateResponse
from django.utils.translation import gettext as _t

from nucleus_ledger.console.addresses import Addresses

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


logger = logging.getLogger("nucleus_ledger.console")


class ReadOnlyAdmin(_ModelAdmin):
    """Lets those look who may, and nobody write."""

    show_full_result_count = False

    class Media:
        css: ClassVar = {"all": ["nucleus_ledger/admin.css"]}

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.admin_site.name)

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the object, which knows whether payloads may be shown to who asked for it."""
        found = super().get_object(request, *args, **kwargs)
        if found is not None:
            found.shows_payloads = request.user.has_perm("nucleus_ledger.view_payload")
        return found

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return _shown(lambda: super(ReadOnlyAdmin, self).changelist_view(request, extra_context))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return _shown(lambda: super(ReadOnlyAdmin, self).changeform_view(request, *args, **kwargs))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _shown(view: Callable[[], HttpResponse]) -> HttpResponse:
    """Return the page with all its text, or a page that says why there is none.

    A tampered column may hold what no code foresaw, and who looks then needs to know what to do.
    """
    try:
        response = view()
        if isinstance(response, SimpleTemplateResponse):
            response.render()
    except (Http404, PermissionDenied, SuspiciousOperation):
        raise
    except Exception as exc:
        logger.exception("a page of the ledger could not be shown")
        context = {"title": _t("This page cannot be shown"), "error": type(exc).__name__}
        return SimpleTemplateResponse("admin/nucleus_ledger/unshown.html", context)
    return response


def is_list(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and str(match.url_name).endswith("_changelist")


def shows_payloads(shown: Any) -> bool:
    return getattr(shown, "shows_payloads", False)
