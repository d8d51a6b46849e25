"""Every error the ledger raises, in one tree.

Errors of the database itself stay Django's (`django.db.Error` and its children), so that
ordinary retry code works; a broken chain found by verification is a finding, not an error.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Something the ledger refuses or cannot do.

    `index` is the position of the record it is about in a batch, `reason` the message without it.
    """

    index: int | None = None

    @property
    def reason(self) -> str:
        return super().__str__()

    def __str__(self) -> str:
        return self.reason if self.index is None else f"records[{self.index}]: {self.reason}"


class Database(LedgerError):
    """The place the ledger is to be stored in cannot be used."""


class NotFound(LedgerError):
    """There is no such entry or stream."""


class IntegrityFailed(LedgerError):
    """The chain is known to be broken, so the ledger does not go on as if it were whole."""


class InvalidData(LedgerError, ValueError):
    """What was handed in has the wrong shape or a value out of range."""


class Serialization(InvalidData):
    """A value has no canonical JSON form; the message names its path in the document."""


class Deserialization(LedgerError):
    """A text is not JSON that the ledger could have written."""


class InvalidProof(InvalidData):
    """A proof is malformed, or does not show what it was to show."""


class InvalidNote(InvalidData):
    """A signed note, a key or a checkpoint is malformed, or a signature of it is wrong."""


class CheckpointRefused(LedgerError):
    """No checkpoint can be made, because what was before it is not known, or is ahead."""


class SinkFailed(LedgerError):
    """A place where checkpoints are kept cannot be read, or did not take one."""


class WitnessRefused(LedgerError):
    """A witness did not cosign a checkpoint."""


class ConfigurationError(InvalidData):
    """A value in the settings cannot be used."""


class AppendOnlyViolation(LedgerError):
    """History would be changed: entries and streams can only be added to."""


class StreamConflict(LedgerError):
    """The stream is not as long as the caller expected."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(stream, expected, actual)
        self.stream, self.expected, self.actual = stream, expected, actual

    @property
    def reason(self) -> str:
        return f"stream {self.stream!r} has length {self.actual}, not {self.expected} as expected"


class DuplicateRecord(LedgerError):
    """The stream already holds a record of this id."""

    def __init__(self, stream: str, record_id: str, *, equal: bool) -> None:
        super().__init__(stream, record_id, equal)
        self.stream, self.record_id, self.equal = stream, record_id, equal

    def __reduce__(self) -> tuple[object, ...]:
        return _duplicate_record, (self.stream, self.record_id, self.equal)

    @property
    def reason(self) -> str:
        content = "the same" if self.equal else "different"
        return (
            f"stream {self.stream!r} already holds record {self.record_id!r}, "
            f"with {content} content"
        )


def _duplicate_record(stream: str, record_id: str, equal: bool) -> DuplicateRecord:
    return DuplicateRecord(stream, record_id, equal=equal)
