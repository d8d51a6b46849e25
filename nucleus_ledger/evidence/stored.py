"""The copies of manifests and stream heads in the database. What they say counts for nothing
until the root over them is the one of a signed note."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Q

from nucleus_ledger.core.manifest import StreamHead
from nucleus_ledger.core.manifestlog import ManifestLog
from nucleus_ledger.core.merkle import HASH_BYTES
from nucleus_ledger.errors import InvalidProof
from nucleus_ledger.keyset import rows_in_order

if TYPE_CHECKING:
    from nucleus_ledger.models import Checkpoint

_AT_ONCE = 500
BEYOND_ALL = (1 << 63) - 1
_MOST_SHOWN = 10_000  # characters of a note: a tampered row may hold anything


def size(using: str) -> int:
    """Return the size of the log as far as the database has it."""
    newest = checkpoints(using).order_by("-number").values_list("number", flat=True).first()
    return 0 if newest is None else int(newest) + 1


def checkpoints(using: str) -> Any:
    # On SQLite a tampered row may have text for its number, which sorts after all numbers.
    return _model("Checkpoint")._base_manager.using(using).filter(number__lte=BEYOND_ALL)


def heads(using: str) -> Any:
    return _model("RecordedHead")._base_manager.using(using)


def tiles(using: str) -> Any:
    return _model("HashTile")._base_manager.using(using)


def entries(using: str) -> Any:
    return _model("Entry")._base_manager.using(using)


def note(using: str, size: int) -> str | None:
    """Return the note of that size as the database has it, for a finding to show."""
    found = checkpoints(using).filter(number=size - 1).values_list("note", flat=True).first()
    return None if found is None else str(found)[:_MOST_SHOWN]


def entries_of(using: str, stream: str) -> Any:
    """Return a query set of a stream's entries, by its key and not by a join.

    For a join PostgreSQL would read the entries of all streams.
    """
    streams = _model("Stream")._base_manager.using(using).filter(name=stream)
    return entries(using).filter(stream_id__in=list(streams.values_list("pk", flat=True)))


def documents(using: str, start: int, stop: int) -> Iterator[tuple[str, list[str]]]:
    """Yield manifests from `start` up to `stop`, each with the heads that are new in it.

    Raises `InvalidProof` where one is missing.
    """
    manifests = checkpoints(using).filter(number__gte=start, number__lt=stop)
    rows = heads(using).filter(number__gte=start, number__lt=stop)
    changed = groupby(
        rows_in_order(rows, ("number", "stream"), ("number", "text")), key=itemgetter(0)
    )
    ahead = next(changed, None)
    expected = start
    for number, manifest in rows_in_order(manifests, ("number",), ("number", "manifest")):
        if number != expected:
            break
        texts: list[str] = []
        if ahead is not None and ahead[0] == number:
            texts = [as_text(text) for _number, text in ahead[1]]
            ahead = next(changed, None)
        yield as_text(manifest), texts
        expected += 1
    if expected < stop:
        raise InvalidProof(f"the database does not have manifest {expected}")


def log(pairs: Iterable[tuple[str, Sequence[str]]]) -> ManifestLog:
    """Return the log that documents make; raises `InvalidProof`."""
    found = ManifestLog()
    for manifest, texts in pairs:
        found.add(manifest, texts)
    return found


def heads_at(using: str, number: int) -> dict[str, tuple[str, list[bytes]]]:
    """Return each stream's head as a manifest has it, and its frontier, by the stream's name.

    Of the newest manifest they are found by an index, of an older one by reading all heads.
    """
    current = heads(using).filter(until__isnull=True)
    found = _by_stream(current)
    # Asked afterwards: another signer may have stored the next manifest while this one read.
    if heads(using).filter(number__gt=number).exists():
        standing = Q(until__isnull=True) | Q(until__gt=number)
        found = _by_stream(heads(using).filter(standing, number__lte=number))
    return found


def _by_stream(rows: Any) -> dict[str, tuple[str, list[bytes]]]:
    return {
        as_text(stream): (as_text(text), split(as_bytes(frontier)))
        for stream, text, frontier in rows_in_order(
            rows, ("stream", "number"), ("stream", "text", "frontier")
        )
    }


def first_covering(using: str, stream: str, sequence: int) -> int | None:
    """Return the first manifest that covers an entry, as the copies say; None without one.

    After a restore it may be one whose head no longer holds.
    """
    rows = heads(using).filter(stream=stream, length__gt=sequence).order_by("length", "number")
    number: int | None = rows.values_list("number", flat=True).first()
    return number


def store(
    using: str,
    number: int,
    manifest: str,
    frontier: Sequence[bytes],
    changed: Iterable[tuple[StreamHead, Sequence[bytes]]],
    gone: Iterable[str] = (),
) -> Checkpoint:
    """Store a manifest, with (head, frontier) of the streams new in it; in a transaction.

    Raises `IntegrityError` where another process stores one of that number.
    """
    checkpoint: Checkpoint = checkpoints(using).create(
        number=number, manifest=manifest, note="", frontier=b"".join(frontier)
    )
    rows = [
        _model("RecordedHead")(
            number=number,
            stream=head.stream,
            length=head.length,
            text=str(head),
            frontier=b"".join(hashes),
        )
        for head, hashes in changed
    ]
    names = [*(row.stream for row in rows), *gone]
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        heads(using).filter(until__isnull=True, stream__in=part).update(until=number)
    heads(using).bulk_create(rows, batch_size=_AT_ONCE)
    return checkpoint


def refill(using: str, stream: str, frontier: Sequence[bytes]) -> None:
    """Store the frontier of a stream's newest head, where it was lost."""
    current = heads(using).filter(until__isnull=True, stream=stream)
    current.update(frontier=b"".join(frontier))


def as_text(value: object) -> str:
    """Return what a column of text holds; raises `InvalidProof` where it is no text."""
    if type(value) is not str:
        raise InvalidProof(f"a copy in the database is no text but {type(value).__name__}")
    return value


def as_bytes(value: object) -> bytes:
    """Return what a column of bytes holds; raises `InvalidProof` where there is something else."""
    if not isinstance(value, (bytes, memoryview)):
        raise InvalidProof(f"a copy in the database is no bytes but {type(value).__name__}")
    return bytes(value)


def as_hash(digits: object) -> bytes:
    """Return the bytes of an entry's hash; raises `InvalidProof` where its column holds none."""
    try:
        value = bytes.fromhex(as_text(digits))
    except ValueError:
        value = b""
    if len(value) != HASH_BYTES:
        raise InvalidProof("an entry in the database has no hash")
    return value


def split(hashes: bytes) -> list[bytes]:
    """Cut neighbouring hashes apart; raises `InvalidProof` where they are no whole hashes."""
    if len(hashes) % HASH_BYTES:
        raise InvalidProof("hashes in the database are cut off")
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def _model(name: str) -> Any:
    return apps.get_model("nucleus_ledger", name)
