"""Findings as a person reads them: what the chain demands and what is stored, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Q
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import rowsource, verification
from nucleus_ledger.console.addresses import Addresses, link
from nucleus_ledger.console.parts import (
    hidden_payload,
    paragraphs,
    preformatted,
    table,
    whole_hash,
)
from nucleus_ledger.core import chain, hashing
from nucleus_ledger.core.difference import MISSING, differences
from nucleus_ledger.core.visible import visible, visible_json
from nucleus_ledger.models import Entry, Finding, Stream

if TYPE_CHECKING:
    from django.db.models import QuerySet

SHOWN_FINDINGS, SHOWN_DIFFERENCES = 200, 50
# The stored message is English, whoever reads it.
_KINDS = {
    "hash_mismatch": _("the stored hash is not that of the stored text"),
    "link_broken": _("the text does not follow the entry before it"),
    "head_mismatch": _("the stream's row, or what was verified before, says otherwise"),
    "field_mismatch": _("the text says otherwise than the columns %(fields)s"),
    "sequence_gap": _("entries are missing here"),
    "sequence_repeated": _("a sequence that was there before, or goes back"),
    "wrong_ledger": _("the entry belongs to another ledger"),
    "unknown_schema": _("the format tag is not one this verifier accepts"),
    "not_canonical": _("the text is not in the form of RFC 8785"),
    "undecodable": _("the text cannot be read as an entry"),
    "timestamp_out_of_order": _("the time goes back"),
    "missing_stream": _("entries stand here without a row of their stream"),
    "checkpoint_mismatch": _("the history is not the one that was signed"),
}


def checked_now(entry: Entry, addresses: Addresses, *, payloads: bool) -> SafeString:
    """Judge an entry and its link at this moment, and show what was computed beside what is stored.

    Requires a sequence that is a number.
    """
    using = entry._state.db or DEFAULT_DB_ALIAS
    found = verification.judge_entries(using, entry.stream_id, entry.sequence, entry.sequence + 1)
    if found is None:
        return paragraphs([_t("There is no row of its stream.")])
    text = str(entry.serialized)
    pairs: list[tuple[str, str | None, str | None]] = [
        (_t("hash of its text"), entry.hash, hashing.hash_text(text))
    ]
    if entry.sequence > 0:
        before = rowsource.read_hash(connections[using], entry.stream_id, entry.sequence - 1)
        pairs.append((_t("hash of the entry before it"), entry.prev_hash, before))
    rows = format_html_join(
        "",
        '<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>',
        (
            (what, whole_hash(stored) or "–", whole_hash(now) or "–", _mark(stored == now))
            for what, stored, now in pairs
        ),
    )
    hashes = table(("", _t("stored"), _t("computed now"), _t("equal")), rows)
    if found:
        return format_html("{}{}", hashes, table_of(using, found, addresses, payloads=payloads))
    place = (
        _t("it follows the entry before it")
        if entry.sequence
        else _t("it stands where a stream begins")
    )
    words = _t(
        "Read just now: its hash is that of its text, its columns say what the text says, and "
        "%(place)s. That says nothing of other entries, nor whether this one was written anew "
        "together with all after it."
    ) % {"place": place}
    return format_html("{}{}", hashes, paragraphs([words]))


def _mark(equal: bool) -> SafeString:
    shape, word = ("✔", _t("yes")) if equal else ("✖", _t("no"))
    return format_html('<span aria-hidden="true">{}</span> {}', shape, word)


def table_of_stored(
    findings: QuerySet[Finding], addresses: Addresses, *, payloads: bool
) -> SafeString | str:
    """Return stored findings with what the chain demands and what is stored, side by side."""
    rows = list(findings.order_by("pk")[: SHOWN_FINDINGS + 1])
    if not rows:
        return _t("none")
    return table_of(findings.db, rows, addresses, payloads=payloads)


def table_of(
    using: str,
    rows: Sequence[Finding | chain.Finding],
    addresses: Addresses,
    *,
    payloads: bool,
) -> SafeString:
    """Return a table of findings; parts of documents only where `payloads` may be shown."""
    shown = rows[:SHOWN_FINDINGS]
    keys = _entry_keys(using, shown)
    body = format_html_join(
        "",
        "<tr><td><strong>{}</strong> {}</td><td>{}</td><td>{}</td><td>{}</td></tr>{}",
        (
            (
                finding.kind,
                explained(finding),
                _place(finding, keys.get((finding.stream, finding.sequence)), addresses),
                *_evidence_of(finding, payloads),
                _differences(finding) if _may_show(finding, payloads) else "",
            )
            for finding in shown
        ),
    )
    more: SafeString | str = ""
    if len(rows) > SHOWN_FINDINGS:
        more = paragraphs([_t("The first %(n)s are shown.") % {"n": SHOWN_FINDINGS}])
    columns = (_t("Finding"), _t("Where"), _t("Expected"), _t("Actual"))
    return format_html('<div class="ledger-findings">{}{}</div>', table(columns, body), more)


def kinds() -> list[tuple[str, str]]:
    """Return each kind of finding, and what it means."""
    return [(kind, str(words) % {"fields": "payload, meta, …"}) for kind, words in _KINDS.items()]


def explained(finding: Finding | chain.Finding) -> str:
    """Say what a finding is, in the reader's language; as it was stored where its kind is new."""
    words = _KINDS.get(finding.kind)
    if words is None:
        return visible(finding.message)
    return str(words) % {"fields": ", ".join(map(str, _fields(finding)))}


def _differences(finding: Finding | chain.Finding) -> SafeString:
    """Return a row that tells where in its documents a field differs, or nothing."""
    if not isinstance(finding.expected, dict) or not isinstance(finding.actual, dict):
        return SafeString("")
    found = []
    for name in ("payload", "meta"):
        expected, actual = finding.expected.get(name), finding.actual.get(name)
        if isinstance(expected, (dict, list)) and isinstance(actual, (dict, list)):
            found.extend(differences(expected, actual, name))
    if not found:
        return SafeString("")
    lines = format_html_join(
        "",
        '<li><code>{}</code>: <del>{}</del> <span aria-hidden="true">→</span> <ins>{}</ins></li>',
        (
            (visible(path), _side(one), _side(other))
            for path, one, other in found[:SHOWN_DIFFERENCES]
        ),
    )
    more = len(found) - SHOWN_DIFFERENCES
    return format_html(
        '<tr class="ledger-differences"><td colspan="4">{}<ul>{}</ul>{}</td></tr>',
        _t("What differs, expected and actual:"),
        lines,
        paragraphs([_t(" and %(left)s more") % {"left": more}]) if more > 0 else "",
    )


def _side(value: Any) -> str:
    return _t("nothing") if value is MISSING else visible_json(value)


def in_short(findings: Sequence[Any], total: int) -> str:
    """Name the first findings of a stream in one line."""
    named = [
        finding.kind
        + (f" ({', '.join(finding.fields)})" if finding.fields else "")
        + ("" if finding.sequence is None else f" at #{finding.sequence}")
        for finding in findings[:3]
    ]
    left = total - len(named)
    return ", ".join(named) + (_t(" and %(left)s more") % {"left": left} if left > 0 else "")


def _place(finding: Finding | chain.Finding, key: str | None, addresses: Addresses) -> SafeString:
    place = visible(finding.stream)
    if finding.sequence is not None:
        place = f"{place} #{finding.sequence}"
    where = link("" if key is None else addresses.entry(key), place)
    record = visible(finding.record_id or "")
    return format_html("{}{}", where, format_html("<br>{}", record) if record else "")


def _entry_keys(
    using: str, findings: Sequence[Finding | chain.Finding]
) -> dict[tuple[str, Any], str]:
    """Return the keys of the entries that findings are about, in two queries."""
    places = {(found.stream, found.sequence) for found in findings if found.sequence is not None}
    named = Stream.objects.using(using).filter(name__in={stream for stream, _sequence in places})
    ids = {stream.name: stream.pk for stream in named}
    wanted = [
        Q(stream_id=ids[stream], sequence=sequence) for stream, sequence in places if stream in ids
    ]
    if not wanted:
        return {}
    names = {key: name for name, key in ids.items()}
    rows = Entry.objects.using(using).filter(reduce(or_, wanted))
    return {
        (names[stream], sequence): key
        for stream, sequence, key in rows.values_list("stream_id", "sequence", "pk")
    }


def _fields(finding: Finding | chain.Finding) -> Sequence[Any]:
    return finding.fields if isinstance(finding.fields, (list, tuple)) else ()


def _may_show(finding: Finding | chain.Finding, payloads: bool) -> bool:
    named = set(map(str, _fields(finding)))
    for side in (finding.expected, finding.actual):
        named.update(side if isinstance(side, dict) else ())
    return payloads or not {"payload", "meta"} & named


def _evidence_of(
    finding: Finding | chain.Finding, payloads: bool
) -> tuple[SafeString | str, SafeString | str]:
    if not _may_show(finding, payloads):
        return hidden_payload(), hidden_payload()
    return _evidence(finding.expected), _evidence(finding.actual)


def _evidence(value: Any) -> SafeString | str:
    if value is None:
        return "–"
    return preformatted(visible(value) if isinstance(value, str) else visible_json(value))
