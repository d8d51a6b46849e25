"""Checkpoints for code of the site: make the next one, and prove single entries by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nucleus_ledger.evidence import making, receipts
from nucleus_ledger.routing import ledger_alias

if TYPE_CHECKING:
    from nucleus_ledger.evidence.making import Made
    from nucleus_ledger.models import Entry


def make(using: str | None = None, *, init: bool = False, by: str = "") -> Made:
    """Make the next checkpoint, as `manage.py checkpoint_ledger` does; see `evidence.making`.

    Of the database that the router names for the ledger, where `using` names none.
    """
    return making.make(using or ledger_alias(), init=init, by=by)


def receipt(entry: Entry) -> str:
    """Return the receipt of an entry: a text that proves it to somebody who sees nothing else.

    Raises `NotFound` where no checkpoint has the entry yet, and `IntegrityFailed` where no proof
    of it holds.
    """
    return str(receipts.make(entry)[0])
