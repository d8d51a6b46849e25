"""Compares the streams with the checkpoint before: what is new, and whether it goes on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nucleus_ledger import acknowledgements, stored_breaks
from nucleus_ledger.conf import conf
from nucleus_ledger.core.manifest import Removed, Restored, StreamHead
from nucleus_ledger.core.tile import Tiler
from nucleus_ledger.errors import IntegrityFailed, InvalidData
from nucleus_ledger.evidence import growing, stored
from nucleus_ledger.evidence.growing import Grown
from nucleus_ledger.evidence.state import State
from nucleus_ledger.rowsource import StoredStream


@dataclass(slots=True)
class Following:
    """What the next manifest is to say; `same` are streams that were read again for their trees."""

    grown: list[Grown] = field(default_factory=list)
    same: list[Grown] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    restored: list[Restored] = field(default_factory=list)
    entries: int = 0


def compare(using: str, state: State, streams: Sequence[StoredStream]) -> Following:
    """Return what is new; raises `IntegrityFailed` with all that is not as it was."""
    found, wrong = Following(), _known_to_be_broken(using)
    acknowledged = acknowledgements.read_all(using)
    names = {each.head.stream for each in streams}
    wrong.extend(
        f"stream {name!r}, with {head.length} entries at the checkpoint before, is gone"
        for name, head in state.heads.items()
        if name not in names
    )
    for each in streams:
        before = state.heads.get(each.head.stream)
        trouble = _trouble(using, each, before)
        if trouble:
            wrong.append(trouble)
        elif before is None or each.head.length > before.length:
            try:
                if before is None or not before.length:
                    settled = acknowledged.get(each.head.stream, ())
                    grown, _kept = growing.read_whole(using, each, settled, [])
                else:
                    grown = growing.read_new(using, each, before, _tiler(state, before))
            except IntegrityFailed as exc:
                wrong.append(str(exc))
                continue
            found.grown.append(grown)
            found.entries += grown.head.length - (before.length if before else 0)
    if wrong:
        raise IntegrityFailed(
            f"nothing is signed, because the ledger does not go on from the checkpoint before: "
            f"{'; '.join(wrong)}"
        )
    return found


def _trouble(using: str, each: StoredStream, before: StreamHead | None) -> str:
    head = each.head
    name = f"stream {head.stream!r}"
    if each.id is None or type(head.length) is not int:
        return f"{name} has a row that no append writes"
    if head.ledger not in conf.ledgers_of(using) or (before and before.ledger != head.ledger):
        return f"{name} belongs to ledger {head.ledger!r}"
    if before is None:
        return ""
    if head.length < before.length:
        return f"{name} has {head.length} entries and had {before.length}"
    if head.length == before.length and head.head_hash != before.head_hash:
        return f"{name} ends with entry {head.head_hash} and ended with {before.head_hash}"
    return ""


def _tiler(state: State, before: StreamHead) -> Tiler:
    tiler = Tiler(before.length, state.frontiers[before.stream])
    if tiler.root().hex() != before.root:
        raise IntegrityFailed(
            f"stream {before.stream!r}: what is stored of its tree does not lead to its root"
        )
    return tiler


def _known_to_be_broken(using: str) -> list[str]:
    return [
        f"stream {each.stream!r} is known to be broken: see verification {each.known.run}"
        for each in stored_breaks.known_breaks(using)
    ]


def compare_all(
    using: str, state: State, streams: Sequence[StoredStream], reason: str
) -> Following:
    """Read every stream in full, and return what is new, gone, or only partly there."""
    log = stored.log(stored.documents(using, 0, state.log.size))
    acknowledged = acknowledgements.read_all(using)
    found = Following()
    names = {each.head.stream for each in streams}
    found.removed = [
        Removed(name, head.length, reason)
        for name, head in sorted(state.heads.items())
        if name not in names
    ]
    for each in streams:
        head, before = each.head, state.heads.get(each.head.stream)
        if each.id is None or type(head.length) is not int:
            raise IntegrityFailed(_trouble(using, each, None))
        grown, kept = growing.read_whole(
            using, each, acknowledged.get(head.stream, ()), log.kept(head.stream)
        )
        if before and kept < before.length:
            found.restored.append(Restored(head.stream, before.length, kept, reason))
        if before is None or grown.head != before or kept < before.length:
            found.grown.append(grown)
            found.entries += head.length
        else:
            found.same.append(grown)
    if not found.removed and not found.restored and not state.refetched:
        raise InvalidData("there is nothing to accept: every stream goes on from what it was")
    return found
