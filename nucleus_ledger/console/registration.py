"""When an entry was registered, as the stored copies of checkpoints say, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q
from django.utils.translation import gettext as _t

from nucleus_ledger.conf import conf
from nucleus_ledger.console.parts import is_number, paragraphs
from nucleus_ledger.core.manifest import Manifest, parse_manifest
from nucleus_ledger.core.moments import lasting
from nucleus_ledger.errors import InvalidProof
from nucleus_ledger.evidence import stored

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

    from nucleus_ledger.models import Entry


def in_words(entry: Entry) -> SafeString | str:
    """Say between which checkpoints an entry was registered, and if it claims an earlier time.

    By the copies in the database, which nothing is held against here: a receipt proves it.
    """
    using = entry._state.db or DEFAULT_DB_ALIAS
    size = stored.size(using)
    if not size or not is_number(entry.sequence):
        return _t("There is no checkpoint: only its own timestamp says when it was appended.")
    name = entry.stream.name
    number = stored.first_covering(using, name, entry.sequence)
    covering = None if number is None else _manifest(using, number)
    earlier = _earlier(using, name, entry.sequence, size if number is None else number)
    said = [_bounds(earlier, covering)]
    if earlier and is_number(entry.timestamp):
        lag = earlier.milliseconds - entry.timestamp
        if lag > conf.entry_limits[2]:
            said.append(
                _t(
                    "It was registered late: its timestamp is %(lag)s earlier than the first of "
                    "these times. This is no sign of tampering."
                )
                % {"lag": lasting(lag)}
            )
    return paragraphs(said)


def _bounds(earlier: Manifest | None, covering: Manifest | None) -> str:
    if earlier and covering:
        return _t(
            "Between %(after)s and %(by)s, by the signer's clock: checkpoint %(size)s is the first "
            "to cover it. These are the copies in the database; a receipt proves it."
        ) % {"after": earlier.created_at, "by": covering.created_at, "size": covering.number + 1}
    if covering:
        return _t(
            "By %(by)s, by the signer's clock: checkpoint %(size)s covers it. This is the copy in "
            "the database; a receipt proves it."
        ) % {"by": covering.created_at, "size": covering.number + 1}
    if earlier:
        return _t(
            "After %(after)s, by the signer's clock: checkpoint %(size)s does not cover it, and no "
            "later one does yet."
        ) % {"after": earlier.created_at, "size": earlier.number + 1}
    return _t("The copies of the checkpoints in the database cannot be read.")


def _earlier(using: str, stream: str, sequence: int, number: int) -> Manifest | None:
    """Return the manifest before one, unless that covers the entry too: a restore may do so."""
    rows = stored.heads(using).filter(stream=stream, number__lt=number)
    rows = rows.filter(Q(until__isnull=True) | Q(until__gte=number))
    if not number or rows.filter(length__gt=sequence).exists():
        return None
    return _manifest(using, number - 1)


def _manifest(using: str, number: int) -> Manifest | None:
    rows = stored.checkpoints(using).filter(number=number).values_list("manifest", flat=True)
    try:
        return parse_manifest(str(rows.first()))
    except InvalidProof:
        return None
