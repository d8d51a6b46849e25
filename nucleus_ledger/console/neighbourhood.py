"""The chain itself around one entry: its neighbours as linked blocks, judged while one looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t

from nucleus_ledger import verification
from nucleus_ledger.console.addresses import Addresses, link
from nucleus_ledger.console.findings import explained
from nucleus_ledger.console.parts import paragraphs, short_hash
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.visible import visible
from nucleus_ledger.models import Entry, Stream

REACH = 2  # blocks on either side
_SHOWN_ID = 24
_BROKEN_LINKS = frozenset({"link_broken", "sequence_gap"})
# A link of a chain, whole or with a piece out of it; drawn in the colour of the text.
_LINK = SafeString(
    '<svg viewBox="0 0 44 20" aria-hidden="true"><rect x="2" y="5" width="22" height="10" rx="5"/>'
    '<rect x="20" y="5" width="22" height="10" rx="5"/></svg>'
)
_BROKEN = SafeString(
    '<svg viewBox="0 0 44 20" aria-hidden="true"><path d="M16 5H7a5 5 0 0 0 0 10h9'
    'M28 5h9a5 5 0 0 1 0 10h-9M18 16l8-12"/></svg>'
)


def draw(stream: Stream, sequence: int, addresses: Addresses) -> SafeString:
    """Return the blocks around a sequence, with a broken link or an edited block shown as such."""
    using = stream._state.db or DEFAULT_DB_ALIAS
    low = max(sequence - REACH, 0)
    entries = {
        entry.sequence: entry
        for entry in Entry.objects.using(using)
        .filter(stream_id=stream.pk, sequence__range=(low, sequence + REACH))
        .order_by("sequence")
        .values_list("sequence", "pk", "record_id", "prev_hash", named=True)
    }
    if not entries:
        return paragraphs([_t("There is no entry here.")])
    last = max(entries)
    judged = verification.judge_entries(using, stream.pk, low, last + 1) or []
    found: dict[Any, list[Finding]] = {}
    for finding in judged:
        found.setdefault(finding.sequence, []).append(finding)
    blocks = []
    for place in range(low, last + 1):
        here = found.get(place, [])
        if place and (place - 1 in entries or place == low):
            blocks.append(_link(any(each.kind in _BROKEN_LINKS for each in here)))
        elif place:
            blocks.append(_link(True, _t("nothing to link to")))
        entry = entries.get(place)
        address = addresses.entry(entry.pk) if entry else ""
        blocks.append(_block(place, entry, here, address, chosen=place == sequence))
    return format_html(
        '<ol class="ledger-chain" aria-label="{}">{}</ol>',
        _t("The chain around entry %(sequence)s, judged just now") % {"sequence": sequence},
        format_html_join("", "{}", ((block,) for block in blocks)),
    )


def steps(stream: Stream, sequence: int) -> SafeString:
    """Return links along the chain, from one neighbourhood to another."""
    last = max(stream.length - 1, 0)
    stride = 2 * REACH + 1
    places = [
        (_t("first"), 0),
        (_t("earlier"), max(sequence - stride, 0)),
        (_t("later"), min(sequence + stride, last)),
        (_t("head"), last),
    ]
    return format_html(
        '<p class="ledger-steps">{}</p>',
        format_html_join(
            " ",
            '<a href="?around={}">{} #{}</a>',
            ((place, words, place) for words, place in places if place != sequence),
        ),
    )


def _link(broken: bool, words: str = "") -> SafeString:
    words = words or (_t("the link is broken") if broken else _t("linked"))
    return format_html(
        '<li class="ledger-link{}">{}<span>{}</span></li>',
        " ledger-link--broken" if broken else "",
        _BROKEN if broken else _LINK,
        words,
    )


def _block(
    place: int, entry: Any, found: Iterable[Finding], address: str, *, chosen: bool
) -> SafeString:
    """Return one entry, or the place where one is missing."""
    if entry is None:
        return format_html(
            '<li class="ledger-block ledger-block--broken"><strong>#{}</strong> ✖ {}</li>',
            place,
            _t("missing"),
        )
    record = visible(str(entry.record_id))
    faults = [each for each in found if each.kind not in _BROKEN_LINKS]
    told = format_html_join(
        "", '<span class="ledger-fault">✖ {} {}</span>', ((f.kind, explained(f)) for f in faults)
    )
    return format_html(
        '<li class="ledger-block{}{}"{}>{} <span>{}</span>'
        "<span>{} {}</span><span>{} {}</span>{}</li>",
        " ledger-block--chosen" if chosen else "",
        " ledger-block--broken" if faults else "",
        SafeString(' aria-current="true"') if chosen else "",
        link(address, format_html("<strong>#{}</strong>", place)),
        record if len(record) <= _SHOWN_ID else f"{record[:_SHOWN_ID]}…",
        _t("hash"),
        short_hash(entry.pk),
        _t("previous"),
        short_hash(entry.prev_hash) or "–",
        told,
    )
