"""Signatures of what verification stores: a row that somebody else wrote counts for nothing.

Made with the site's `SECRET_KEY`; a key of `SECRET_KEY_FALLBACKS` still holds. A signature says
that a process of this site wrote the row. It does not say that the row is the latest: whoever can
write the table can put an older one back (see docs/threat-model.md).
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.utils.crypto import salted_hmac

from nucleus_ledger.conf import conf
from nucleus_ledger.fields import shown
from nucleus_ledger.keyset import rows_in_order
from nucleus_ledger.routing import ledger_alias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nucleus_ledger.models import StreamStatus, Verification

_RUN = (
    "pk", "started_at", "finished_at", "origin", "user", "mode", "scope", "deep", "validated",
    "result", "assurance", "evidence_size", "evidence_root", "streams", "entries",
    "findings_total", "warnings", "notices",
)  # fmt: skip
# Not `verification`, which is null once the run is deleted; `run` has its key.
_STATUS = (
    "stream_id", "result", "assurance", "assured", "length", "head_hash", "verified_at", "full_at",
    "run", "base_length", "base_hash", "evidence_size", "evidence_root",
)  # fmt: skip
_RUN_SALT, _STATUS_SALT = "nucleus_ledger.verification", "nucleus_ledger.streamstatus"
# Of the oldest streams with entries: a stream may be made long before it gets its first one.
_FIRST_ENTRIES = """
SELECT e.stream_id, e.hash FROM (
  SELECT id FROM nucleus_ledger_stream WHERE length > 0 ORDER BY id LIMIT 20
) s
JOIN nucleus_ledger_entry e ON e.stream_id = s.id AND e.sequence = 0
"""


class _Seal:
    """Signs and checks rows of one kind. Made anew for each use, since settings may change."""

    def __init__(self, using: str, salt: str) -> None:
        secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        self._keys = [_key(salt, each) for each in secrets]
        # What was stored under a former id still holds.
        ledger = conf.ledger_of(using)
        self._ledgers = [ledger, *conf.ledgers_of(using) - {ledger}]

    def sign(self, values: Sequence[Any]) -> str:
        return _digest(self._keys[0], self._ledgers[0], values)

    def holds(self, values: Sequence[Any], signature: Any) -> bool:
        if not isinstance(signature, str) or not signature.isascii():
            return False
        return any(
            hmac.compare_digest(signature, _digest(key, ledger, values))
            for ledger in self._ledgers
            for key in self._keys
        )


@lru_cache(maxsize=16)
def _key(salt: str, secret: str | bytes) -> bytes:
    return salted_hmac(salt, "", secret, algorithm="sha256").digest()


def sign_run(using: str, run: Verification) -> None:
    """Sign a run that is about to be saved; requires its key and its final values."""
    first = next(iter(first_entries(using)), None)
    run.signature = _Seal(using, _RUN_SALT).sign([first, *_values(run, _RUN)])


def genuine_runs(using: str, runs: Iterable[Verification]) -> list[Verification]:
    """Return those of the finished runs that were stored by this site, for this very ledger.

    A run over no stream at all is of any ledger: it says nothing of one.
    """
    firsts, seal = first_entries(using), _Seal(using, _RUN_SALT)

    def holds(run: Verification) -> bool:
        values = _values(run, _RUN)
        possible = firsts if firsts and run.streams else [*firsts, None]
        return any(seal.holds([first, *values], run.signature) for first in possible)

    return [run for run in runs if holds(run)]


def sign_statuses(using: str, statuses: Iterable[StreamStatus]) -> None:
    """Sign statuses that are about to be saved; requires their final values."""
    seal = _Seal(using, _STATUS_SALT)
    for status in statuses:
        status.signature = seal.sign(_values(status, _STATUS))


def is_genuine(status: StreamStatus) -> bool:
    """Whether a status was stored by this site, for a stream with this key and this content."""
    seal = _Seal(status._state.db or ledger_alias(), _STATUS_SALT)
    return seal.holds(_values(status, _STATUS), status.signature)


def changed_statuses(using: str) -> list[int]:
    """Return the keys of the streams whose status is not genuine; red ones are left out.

    Reads all of them, which takes about a second for 100,000.
    """
    model, seal = apps.get_model("nucleus_ledger", "StreamStatus"), _Seal(using, _STATUS_SALT)
    rows = rows_in_order(
        model._base_manager.using(using).exclude(result="tampered"),
        ("stream_id",),
        (*_STATUS, "signature"),
    )
    # On SQLite a tampered key may be text, which is no stream's.
    return [row[0] for row in rows if type(row[0]) is int and not seal.holds(row[:-1], row[-1])]


def first_entries(using: str) -> list[str]:
    """Return the hashes of the first entries of a ledger's oldest streams, oldest first.

    Each of them tells the ledger from others of its id.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_FIRST_ENTRIES)
        rows = sorted(cursor.fetchall(), key=lambda row: row[0])
    return [shown(row[1]) for row in rows]


def _values(row: Any, names: Sequence[str]) -> list[Any]:
    return [getattr(row, name) for name in names]


def _digest(key: bytes, ledger: str, values: Sequence[Any]) -> str:
    """Return the signature of what a row says. Python's own way of writing values in ASCII has
    one text for one row, whatever somebody put into its columns, and is quick."""
    text = ascii((ledger, *values))
    return hmac.digest(key, text.encode(), "sha256").hex()
