"""Signals of the ledger's own; Entry and Stream also send Django's pre_save and post_save."""

from __future__ import annotations

from django.dispatch import Signal

# Sent with `report` and `using` after every verification, whatever its result: hook an alarm here.
verification_finished = Signal()
