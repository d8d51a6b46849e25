"""Notices in the admin: what is no sign of tampering, and worth knowing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t

from nucleus_ledger.console.parts import as_list
from nucleus_ledger.core.moments import lasting
from nucleus_ledger.core.registration import REGISTERED_LATE
from nucleus_ledger.core.visible import visible

if TYPE_CHECKING:
    from nucleus_ledger.models import Verification

SHOWN = 100
_NUMBERS = ("first_sequence", "count", "greatest_lag_ms")


def read(stored: Any, stream: str | None = None) -> list[dict[str, Any]]:
    """Return the notices in a stored list, those of one stream or all; a tampered row holds any."""
    return [
        each
        for each in as_list(stored)
        if isinstance(each, dict)
        and each.get("kind") == REGISTERED_LATE
        and all(type(each.get(name)) is int for name in _NUMBERS)
        and stream in (None, each.get("stream"))
    ]


def of_runs(runs: Iterable[Verification], stream: str) -> list[dict[str, Any]]:
    """Return what runs say of a stream, without what another notice says too.

    Of several runs, since not every run reads all entries or holds all against checkpoints, and
    what was registered late stays so.
    """
    found = [notice for run in runs for notice in read(run.notices, stream)]
    found.sort(key=lambda each: (each["first_sequence"], -each["count"]))
    kept: list[dict[str, Any]] = []
    end = -1
    for notice in found:
        if (high := notice["first_sequence"] + notice["count"]) > end:
            kept.append(notice)
            end = high
    return kept


def listed(notices: Sequence[dict[str, Any]]) -> SafeString | str:
    """Return notices as a list, and how many are not shown."""
    if not notices:
        return "–"
    lines = [_line(each) for each in notices[:SHOWN]]
    if len(notices) > SHOWN:
        lines.append(_t("and %(count)s more") % {"count": len(notices) - SHOWN})
    return _items(lines)


def _items(lines: Iterable[str]) -> SafeString:
    items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
    return format_html('<ul class="ledger-notices">{}</ul>', items)


def _line(notice: dict[str, Any]) -> str:
    """Say in words what a notice says; times are the signer's."""
    words = {
        "stream": visible(str(notice.get("stream"))),
        "first": notice["first_sequence"],
        "count": notice["count"],
        "lag": lasting(notice["greatest_lag_ms"]),
        "after": visible(str(notice.get("registered_after"))),
        "by": visible(str(notice.get("registered_by"))),
    }
    if notice.get("registered_by") is None:
        return (
            _t(
                "%(stream)s: entries from #%(first)s on (%(count)s) were registered after "
                "%(after)s and claim times up to %(lag)s earlier. This is no sign of tampering."
            )
            % words
        )
    return (
        _t(
            "%(stream)s: entries from #%(first)s on (%(count)s) were registered between %(after)s "
            "and %(by)s and claim times up to %(lag)s earlier. This is no sign of tampering."
        )
        % words
    )
