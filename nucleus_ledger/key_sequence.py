"""The sequence that gives streams their keys, which a restore of data only leaves behind."""

from __future__ import annotations

from typing import Any

from nucleus_ledger.errors import Database

_NAME = "SELECT pg_get_serial_sequence('nucleus_ledger_stream', 'id')"
# The key that the refused insert drew: no other session draws it, whatever the sequence is at now.
_DRAWN = """
SELECT currval(%s), EXISTS (SELECT 1 FROM nucleus_ledger_stream WHERE id = currval(%s)),
       (SELECT MAX(id) FROM nucleus_ledger_stream)
"""


def refuse_clash(cursor: Any, vendor: str, name: str) -> None:
    """Raise `Database` where a new stream could not be made because its key is taken.

    Requires that this transaction has just tried to insert it. SQLite goes on from the greatest
    key by itself.
    """
    if vendor != "postgresql":
        return
    cursor.execute(_NAME)
    (sequence,) = cursor.fetchone()
    if sequence is None:  # somebody took it away: then the insert has said so
        return
    cursor.execute(_DRAWN, [sequence, sequence])
    drawn, taken, greatest = cursor.fetchone()
    if taken:
        raise Database(
            f"stream {name!r} cannot be made: the sequence {sequence} is at {drawn}, and there are "
            f"streams with keys up to {greatest}. A restore of data only leaves a sequence behind. "
            "Reset it: `manage.py sqlsequencereset nucleus_ledger | manage.py dbshell`"
        )
