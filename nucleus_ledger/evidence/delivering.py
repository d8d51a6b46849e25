"""Hands checkpoints out: to witnesses for their cosignatures, and to the sinks.

What fails is told and tried again by the next run; a checkpoint is committed before it leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nucleus_ledger.conf import conf
from nucleus_ledger.core import merkle, note, signing
from nucleus_ledger.core.note import VerifierKey
from nucleus_ledger.errors import InvalidNote, InvalidProof, LedgerError
from nucleus_ledger.evidence import stored, trees, witnesses
from nucleus_ledger.evidence.memory import Remembered
from nucleus_ledger.evidence.sinks import Issue, Sink, StorageSink

if TYPE_CHECKING:
    from nucleus_ledger.models import Checkpoint

logger = logging.getLogger("nucleus_ledger.checkpoints")


def deliver(using: str, origin: str, checkpoint: Checkpoint, sinks: Sequence[Sink]) -> list[str]:
    """Hand a checkpoint to those sinks that have not got it; return what failed."""
    failures = []
    heads = stored.heads(using).filter(number=checkpoint.number).order_by("stream")
    issue = Issue(
        origin,
        checkpoint.number,
        checkpoint.manifest,
        tuple(heads.values_list("text", flat=True)),
        checkpoint.note,
    )
    if not isinstance(checkpoint.undelivered, list):  # edited: then it is handed to all of them
        checkpoint.undelivered = [sink.name for sink in sinks]
    for sink in sinks:
        if sink.name not in checkpoint.undelivered:
            continue
        try:
            sink.put(issue)
        except LedgerError as exc:
            failures.append(f"{sink.name} did not take checkpoint {checkpoint.number + 1}: {exc}")
            logger.error("%s", failures[-1])
        else:
            checkpoint.undelivered = [n for n in checkpoint.undelivered if n != sink.name]
            checkpoint.save(using=using, update_fields=["undelivered"])
    return failures


def retry(using: str, origin: str, sinks: Sequence[Sink], keys: Sequence[VerifierKey]) -> list[str]:
    """Hand out what earlier runs could not, oldest first; return what failed again.

    What is not signed by a known key is not ours: it is left, and the comparison with the sinks
    says what is wrong. A storage that was emptied is not filled again: what it held is lost, and
    with it the only word that the database cannot forge.
    """
    failures = []
    size = stored.size(using)
    for checkpoint in stored.checkpoints(using).exclude(undelivered=[]).order_by("number"):
        try:
            signing.verify(note.parse(checkpoint.note), keys)
        except InvalidNote as exc:
            failures.append(f"checkpoint {checkpoint.number + 1} in the database: {exc}")
            continue
        ready = [sink for sink in sinks if _takes(sink, checkpoint.number, size)]
        failures += deliver(using, origin, checkpoint, ready)
    return failures


def catch_up(using: str, origin: str, sinks: Sequence[Sink], remembered: Remembered) -> list[str]:
    """Bring storages that are behind to where the newest is; return what failed.

    All manifests of the database are held against `remembered` first: it may be years of them, of
    which the signer looks at the last only.
    """
    failures: list[str] = []
    known = b""
    for sink in sinks:
        if not isinstance(sink, StorageSink) or sink.name == remembered.sink.name:
            continue
        try:
            newest = sink.newest()
        except LedgerError:
            continue  # told where the checkpoint before was looked for
        if newest >= remembered.size:
            continue
        known = known or _root_of_copies(using, remembered.size)
        if known != remembered.checkpoint.root:
            failures.append(f"{sink.name} gets nothing: the manifests here are not those signed")
            continue
        for checkpoint in stored.checkpoints(using).filter(number__gte=newest).order_by("number"):
            waiting = checkpoint.undelivered
            if isinstance(waiting, list) and sink.name not in waiting:
                checkpoint.undelivered = [*waiting, sink.name]
            failures += deliver(using, origin, checkpoint, [sink])
    return failures


def _root_of_copies(using: str, size: int) -> bytes:
    """Return the root over the database's manifests; empty where they do not fit together."""
    try:
        return stored.log(stored.documents(using, 0, size)).tree.root()
    except InvalidProof:
        return b""


def _takes(sink: Sink, number: int, size: int) -> bool:
    """Whether a storage holds what comes before a checkpoint, as far as there was anything."""
    if not isinstance(sink, StorageSink):
        return True
    try:
        return size == 1 or max(number, 1) <= sink.newest()
    except LedgerError:
        return False


def cosign(
    using: str, checkpoint: Checkpoint, urls: Sequence[str], before: Remembered | None
) -> list[str]:
    """Ask witnesses for their cosignatures, and add those that hold to the note."""
    failures: list[str] = []
    keys = conf.witness_vkeys
    for url in urls:
        parsed = note.parse(checkpoint.note)
        try:
            added = witnesses.ask(url, parsed, _proof(using, checkpoint.number + 1), keys, before)
        except LedgerError as exc:
            failures.append(f"witness {url}: {exc}")
            logger.error("%s", failures[-1])
            continue
        known = {(each.name, each.key_id) for each in parsed.signatures}
        new = [each for each in added if (each.name, each.key_id) not in known]
        checkpoint.note = str(note.Note(parsed.text, (*parsed.signatures, *new)))
        checkpoint.save(using=using, update_fields=["note"])
    return failures


def _proof(using: str, new: int) -> witnesses.Prove:
    def prove(old: int) -> list[bytes]:
        if old in (0, new):
            return []
        nodes = merkle.consistency_nodes(old, new)
        return trees.proof(using, trees.LOG, nodes, trees.manifest_leaves(using))

    return prove
