"""What the signer remembers: the newest checkpoint, read back from the sinks and verified.

The database is not asked: whoever can write it could make the signer forget, or sign a second
history of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nucleus_ledger.core import checkpoint, note, signing
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.note import Note, VerifierKey
from nucleus_ledger.errors import CheckpointRefused, InvalidNote, SinkFailed
from nucleus_ledger.evidence.sinks import StorageSink


@dataclass(frozen=True, slots=True)
class Remembered:
    """A checkpoint with its note, who signed it, and the sink that has it."""

    note: Note
    checkpoint: Checkpoint
    signed_by: tuple[VerifierKey, ...]
    sink: StorageSink

    @property
    def size(self) -> int:
        return self.checkpoint.size


def recall(
    sinks: Sequence[StorageSink], origin: str, keys: Sequence[VerifierKey]
) -> tuple[Remembered | None, list[str]]:
    """Return the newest checkpoint that the sinks hold, and what is wrong with other sinks.

    None where all of them can be read and none has one. Raises `SinkFailed` where none can be
    read, and `CheckpointRefused` where one holds what no honest signer wrote.
    """
    found: list[Remembered] = []
    trouble: list[str] = []
    empty = 0
    for sink in sinks:
        try:
            size = sink.newest()
            if size:
                found.append(read(sink, size, origin, keys))
            else:
                empty += 1
        except SinkFailed as exc:
            trouble.append(str(exc))
    if not found:
        if trouble or not empty:
            raise SinkFailed(
                "no sink can be read back, so nothing is known of the checkpoint before: "
                f"{'; '.join(trouble) or 'CHECKPOINT_SINKS has no storage'}"
            )
        return None, []
    newest = max(found, key=lambda each: each.size)
    for other in found:
        if other is not newest:
            _check_agreement(newest, other)
    return newest, trouble


def read(sink: StorageSink, size: int, origin: str, keys: Sequence[VerifierKey]) -> Remembered:
    """Return a sink's checkpoint of a size; raises `SinkFailed` or `CheckpointRefused`."""
    text = sink.note(size)
    try:
        signed = note.parse(text)
        verified = signing.verify_log(signed, keys)
        said = checkpoint.parse(signed.text)
    except InvalidNote as exc:
        raise CheckpointRefused(f"{sink.name}: the note of size {size}: {exc}\n{text}") from exc
    if said.origin != origin or said.size != size:
        raise CheckpointRefused(
            f"{sink.name}: the note of size {size} is one of {said.origin!r} of size {said.size}"
        )
    return Remembered(signed, said, tuple(each.key for each in verified), sink)


def _check_agreement(newest: Remembered, other: Remembered) -> None:
    """Raise `CheckpointRefused` where two sinks hold different notes of one size."""
    try:
        same = newest.sink.note(other.size)
        parsed = note.parse(same)
    except (SinkFailed, InvalidNote) as exc:
        raise CheckpointRefused(
            f"{newest.sink.name} is at size {newest.size} and has no good note of size "
            f"{other.size}, which {other.sink.name} has: {exc}"
        ) from exc
    if parsed.text != other.note.text:
        raise CheckpointRefused(
            f"two checkpoints of one size: {newest.sink.name} holds\n{parsed}"
            f"and {other.sink.name} holds\n{other.note}"
        )
