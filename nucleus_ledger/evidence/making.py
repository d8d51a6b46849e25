"""Makes a checkpoint: reads what is new, and signs only what goes on from the one before.

What was before is known from the sinks (`memory`). The database's own copies serve to spare
reading everything again, and each is held against the signed root before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import IntegrityError, connections, transaction

from nucleus_ledger import appending, clocks, rowsource
from nucleus_ledger.conf import KEYS, RESTORES, conf
from nucleus_ledger.core import signing
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.manifest import Manifest, time_text
from nucleus_ledger.core.note import SignerKey
from nucleus_ledger.core.record import Record
from nucleus_ledger.core.tile import Tiler
from nucleus_ledger.errors import CheckpointRefused, InvalidData, SinkFailed
from nucleus_ledger.evidence import delivering, memory, signers, sinks, stored, trees
from nucleus_ledger.evidence.comparing import Following, compare, compare_all
from nucleus_ledger.evidence.growing import Grown
from nucleus_ledger.evidence.memory import Remembered
from nucleus_ledger.evidence.state import State, recall

if TYPE_CHECKING:
    from nucleus_ledger.models import Checkpoint as StoredCheckpoint

logger = logging.getLogger("nucleus_ledger.checkpoints")


@dataclass(slots=True)
class Made:
    """What came of an attempt. `number` is None where nothing was new; `failures` are of sinks
    and witnesses, which are tried again."""

    origin: str
    size: int
    number: int | None = None
    note: str = ""
    streams: int = 0
    entries: int = 0
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def make(
    using: str,
    *,
    init: bool = False,
    accept_restore: str | None = None,
    witnesses: Sequence[str] | None = None,
    by: str = "",
) -> Made:
    """Make the next checkpoint of a database's ledger and hand it to the sinks and witnesses.

    Raises `IntegrityFailed` where the ledger is not the one of the checkpoint before, grown;
    `SinkFailed` and `CheckpointRefused` where that cannot be known, or the sinks are ahead of the
    database, or there is no checkpoint before; `InvalidData` for `init` where there is one;
    `ConfigurationError` without keys or sinks. Nothing is signed then. `accept_restore` is the
    reason why what is missing is honestly gone.
    """
    if accept_restore is not None and not accept_restore.strip():
        raise InvalidData("the reason for a restore is empty")
    origin = conf.origin_of(using)
    keys = signers.configured()
    trusted = signers.trusted(signers.verifiers(keys))
    outlets = sinks.configured(origin)
    failures = delivering.retry(using, origin, outlets, trusted)
    remembered, warnings = memory.recall(sinks.readable(origin), origin, trusted)
    _check_beginning(using, remembered, init, warnings)
    before = recall(using, remembered, restoring=accept_restore is not None)
    if remembered:
        failures += delivering.catch_up(using, origin, outlets, remembered)
    made = Made(origin, before.log.size, warnings=warnings, failures=failures)
    _record_keys(using, remembered, keys, by)
    if accept_restore is not None:
        _record_restore(using, before.log.size, accept_restore, by)
    started = datetime.now(UTC)
    if before.manifest:
        ahead = clocks.checkpoint_ahead(before.log.size, before.manifest.milliseconds)
        made.warnings += [ahead] if ahead else []
    streams = rowsource.read_heads(connections[using])
    following = (
        compare(using, before, streams)
        if accept_restore is None
        else compare_all(using, before, streams, accept_restore)
    )
    if remembered and not (following.grown or following.removed or following.restored):
        return made
    checkpoint = _store(using, origin, before, following, started, keys, outlets)
    made.number, made.size = checkpoint.number, checkpoint.number + 1
    made.streams, made.entries = len(following.grown), following.entries
    urls = conf.checkpoint_witnesses if witnesses is None else witnesses
    made.failures += delivering.cosign(using, checkpoint, urls, remembered)
    made.failures += delivering.deliver(using, origin, checkpoint, outlets)
    made.note = checkpoint.note
    logger.info("checkpoint %s of %s: %s entries", made.size, origin, made.entries)
    return made


def _check_beginning(
    using: str, remembered: Remembered | None, init: bool, trouble: Sequence[str]
) -> None:
    if init:
        if remembered:
            raise InvalidData(
                f"{remembered.sink.name} holds a checkpoint of {remembered.checkpoint.origin!r} "
                f"already (size {remembered.size}): a log begins once"
            )
        if stored.size(using):
            raise CheckpointRefused(
                f"the database has {stored.size(using)} checkpoints of a log that no sink knows"
            )
        if trouble:
            raise SinkFailed(f"a log begins with all sinks in reach: {'; '.join(trouble)}")
    elif remembered is None:
        raise CheckpointRefused(
            "no sink holds a checkpoint of this log: --init makes the first one. If there was one "
            "before, find out what became of it"
        )


def _record_keys(
    using: str,
    remembered: Remembered | None,
    keys: Sequence[SignerKey],
    by: str,
) -> None:
    """Put it on record when other keys sign than before: an entry, below the next checkpoint."""
    now = signers.verifiers(keys)
    before = list(remembered.signed_by) if remembered else []
    if set(now) == set(before):
        return
    size = remembered.size if remembered else 0
    payload = {
        "type": "signing_keys_changed",
        "origin": conf.origin_of(using),
        "size": size,
        "before": sorted(map(str, before)),
        "now": sorted(map(str, now)),
    }
    ids = "-".join(sorted(key.key_id.hex() for key in now))
    record = Record(KEYS, payload, f"keys-{size}-{ids}"[:200], meta={"by": by} if by else None)
    appending.append_records([record], using=using, reserved=True, idempotent=True)


def _record_restore(using: str, number: int, reason: str, by: str) -> None:
    payload = {"type": "restore_accepted", "manifest": number, "reason": reason, "by": by}
    appending.append_records([Record(RESTORES, payload)], using=using, reserved=True)


def _store(
    using: str,
    origin: str,
    before: State,
    following: Following,
    started: datetime,
    keys: Sequence[SignerKey],
    outlets: Sequence[sinks.Sink],
) -> StoredCheckpoint:
    """Store the manifest and its note. The number is taken before anything is signed."""
    number, tree = before.log.size, before.tree
    gone = [each.stream for each in following.removed]
    for name in gone:
        tree.remove(before.heads[name].key)
    for grown in following.grown:
        tree.put(grown.head.key, grown.head.leaf)
    manifest = Manifest(
        conf.ledger_of(using),
        number,
        max(time_text(started), before.manifest.created_at if before.manifest else ""),
        len(tree),
        tree.root().hex(),
        tuple(following.removed),
        tuple(following.restored),
    )
    log = Tiler(number, before.log.hashes)
    log.append(manifest.leaf)
    changed = [(each.head, each.tiler.hashes) for each in following.grown]
    try:
        with transaction.atomic(using=using):
            checkpoint = stored.store(
                using,
                number,
                str(manifest),
                log.hashes,
                changed,
                gone,
            )
            _grow_tiles(using, log, [*following.grown, *following.same])
            for same in following.same:
                stored.refill(using, same.head.stream, same.tiler.hashes)
            signed = signing.sign(str(Checkpoint(origin, log.size, log.root())), keys)
            checkpoint.note = str(signed)
            checkpoint.undelivered = [sink.name for sink in outlets]
            checkpoint.save(using=using)
    except IntegrityError as exc:
        raise InvalidData(
            f"another process is making checkpoint {number + 1}: nothing was signed here"
        ) from exc
    return checkpoint


def _grow_tiles(using: str, log: Tiler, grown: Sequence[Grown]) -> None:
    trees.grow(using, trees.LOG, log)
    for each in grown:
        if each.whole:
            trees.replace(using, each.key, each.tiler)
        else:
            trees.grow(using, each.key, each.tiler)
