"""For sites that have django-filter: how a FilterSet filters by a hash.

    filter_overrides = {HashField: {"filter_class": HashFilter}}

in its `Meta` is the one line. Nothing of the package imports this module.
"""

from __future__ import annotations

from typing import Any

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _
from django_filters import CharFilter

_PREFIXES = ("startswith", "istartswith")


class HashFilter(CharFilter):  # type: ignore[misc]
    """Filter by 64 hex digits, or by the first of them; anything else is an invalid form."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        digits = "{1,64}" if self.lookup_expr in _PREFIXES else "{64}"
        message = _("Enter hex digits: all 64 of a hash, or its first ones.")
        validator = RegexValidator(f"^[0-9a-fA-F]{digits}\\Z", message)
        self.extra.setdefault("validators", [validator])
