"""What the ledger's pages in the admin have in common: they show, and never write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin

from nucleus_ledger.console.addresses import Addresses

if TYPE_CHECKING:
    from django.http import HttpRequest

    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


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

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_list(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and str(match.url_name).endswith("_changelist")


def shows_payloads(shown: Any) -> bool:
    return getattr(shown, "shows_payloads", False)
