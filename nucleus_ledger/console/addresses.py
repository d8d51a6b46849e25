"""The addresses of the ledger's pages within one admin site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t


@dataclass(frozen=True, slots=True)
class Addresses:
    """The ledger's pages in the admin site whose `name` this is.

    An address is empty where the site has no such page: a site may register some models only.
    """

    site: str

    def of(self, page: str, *arguments: Any) -> str:
        """Return the address of a page by the name of its URL pattern."""
        try:
            return reverse(f"admin:{page}", args=arguments, current_app=self.site)
        except NoReverseMatch:
            return ""

    def index(self) -> str:
        return self.of("app_list", "nucleus_ledger") or self.of("index")

    def verification(self, key: Any) -> str:
        return self.of("nucleus_ledger_verification_change", key)

    def streams(self) -> str:
        return self.of("nucleus_ledger_stream_changelist")

    def stream(self, key: Any) -> str:
        return self.of("nucleus_ledger_stream_change", quote(key))

    def entry(self, key: str) -> str:
        return self.of("nucleus_ledger_entry_change", quote(key))

    def entries(self, stream_id: Any) -> str:
        """Return the address of the list of one stream's entries."""
        address = self.of("nucleus_ledger_entry_changelist")
        return f"{address}?{urlencode({'stream__id__exact': stream_id})}" if address else ""

    def verification_link(self, key: Any) -> SafeString:
        return link(self.verification(key), _t("Verification %(key)s") % {"key": key})


def link(address: str, text: Any) -> SafeString:
    """Return a link, or the text alone where there is no such page."""
    if not address:
        return format_html("{}", text)
    return format_html('<a href="{}">{}</a>', address, text)
