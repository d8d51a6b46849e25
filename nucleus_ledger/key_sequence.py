"""The sequence that gives streams their keys, which a restore of data only leaves behind."""

from __future__ import annotations

from typing import Any

from nucleus_ledger.errors import Database

_POSITION = "SELECT pg_get_serial_sequence('nucleus_ledger_stream', 'id')"
_STATE = "SELECT last_value, (SELECT MAX(id) FROM nucleus_ledger_stream) FROM {}"


def refuse_clash(cursor: Any, vendor: str, name: str) -> None:
    """Raise `Database` where a new stream could not be made because its key is taken.

    SQLite goes on from the greatest key by itself.
    """
    if vendor != "postgresql":
        return
    cursor.execute(_POSITION)
    (sequence,) = cursor.fetchone()
    if sequence is None:  # somebody took it away: then the insert has said so
        return
    cursor.execute(_STATE.format(sequence))
    last, greatest = cursor.fetchone()
    if greatest is not None and last <= greatest:
        raise Database(
            f"stream {name!r} cannot be made: the sequence {sequence} is at {last}, and there are "
            f"streams with keys up to {greatest}. A restore of data only leaves a sequence behind. "
            "Reset it: `manage.py sqlsequencereset nucleus_ledger | manage.py dbshell`"
        )
