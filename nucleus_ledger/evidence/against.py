"""Finds what a ledger is to be held against: notes that an auditor kept, or the sinks' newest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nucleus_ledger.conf import conf
from nucleus_ledger.core import checkpoint, note, signing
from nucleus_ledger.core.against import LOG, Evidence
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.manifestlog import ManifestLog, NewestManifest
from nucleus_ledger.core.note import Note, VerifierKey
from nucleus_ledger.core.transition import CheckpointRef
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.errors import (
    InvalidData,
    InvalidNote,
    InvalidProof,
    LedgerError,
    SinkFailed,
)
from nucleus_ledger.evidence import memory, signers, sinks, state, stored
from nucleus_ledger.evidence.sinks import StorageSink
from nucleus_ledger.routing import is_replica

logger = logging.getLogger("nucleus_ledger.evidence")


@dataclass(frozen=True, slots=True)
class Given:
    """A signed note to hold a ledger against; `sink` also holds the documents it is about."""

    label: str
    note: Note
    checkpoint: Checkpoint
    sink: StorageSink | None = None


def load(
    using: str,
    paths: Sequence[str],
    keys: Sequence[VerifierKey],
    witness_keys: Sequence[VerifierKey],
) -> Evidence:
    """Return the evidence of notes and of folders that a sink wrote; requires one or more.

    Raises `InvalidNote` and `InvalidData` for what no ledger can be held against: an unreadable
    file, a wrong signature, a checkpoint of another ledger or of no manifests.
    """
    given = [_given(using, Path(path)) for path in paths]
    for each in given:
        _check_is_ours(using, each)
    evidence = prepared()
    for each in given:
        _check_signatures(each, keys, evidence)
    newest = max(given, key=lambda each: each.checkpoint.size)
    witnessed = _witnesses(newest, witness_keys)
    if witness_keys:
        enough = len(witnessed) >= conf.witness_threshold
        evidence.witnessed = enough
        if not enough:
            evidence.warnings.append(
                f"{newest.label} has {len(witnessed)} cosignatures of known witnesses, and "
                f"WITNESS_THRESHOLD is {conf.witness_threshold}"
            )
    folder = next((each.sink for each in (newest, *given) if each.sink), None)
    _follow(using, evidence, given, folder)
    for each in given:
        names = [key.name for key in witnessed] if each is newest else []
        evidence.lines.append(_line(each.label, each.note, names))
    return evidence


def newest(using: str, *, whole: bool = False) -> Evidence | None:
    """Return the evidence of the newest checkpoint that a sink holds; None without sinks, or one.

    Of each stream only the newest recorded state is in it, unless the `whole` log is wanted: that
    costs a line for each state that was ever recorded, and tells when each entry was registered.
    What keeps it from being read stands in its `errors`.
    """
    if not conf.checkpoint_sinks:
        return None
    evidence = prepared()
    anchor = find_anchor(using, evidence)
    if anchor is None:
        return evidence if evidence.errors or evidence.warnings else None
    if _is_behind(using, evidence, anchor):
        return evidence
    if not settle(using, evidence, anchor):
        # The copies were changed, or are older: what the sink holds tells what is wrong with it.
        (sink,) = [
            each for each in sinks.readable(conf.origin_of(using)) if each.name == anchor.sink
        ]
        given = Given(anchor.sink, note.parse(anchor.note), checkpoint_of(anchor.note), sink)
        evidence.warnings += [f"{each}. Read from the sink instead" for each in evidence.errors]
        evidence.errors.clear()
        _follow(using, evidence, [given], sink)
    elif whole:
        _read_whole(using, evidence, checkpoint_of(anchor.note))
    return evidence


def _read_whole(using: str, evidence: Evidence, said: Checkpoint) -> None:
    """Put the whole log into evidence that has its newest manifest, from the database's copies."""
    try:
        log = stored.log(stored.documents(using, 0, said.size))
        if log.tree.root() != said.root:
            raise InvalidProof("the older manifests are not those that were signed")
    except InvalidProof as exc:
        evidence.warnings.append(
            f"the database's copies of older manifests cannot be used: {exc}. Timestamps of "
            f"entries that checkpoint {said.size} covers are not judged"
        )
        return
    evidence.log = log
    evidence.warnings.extend(log.notices)


@dataclass(frozen=True, slots=True)
class Anchor:
    """The newest checkpoint of the sinks and its manifest, as texts; JSON can say it."""

    sink: str
    note: str
    manifest: str
    witnesses: tuple[str, ...]


def find_anchor(using: str, evidence: Evidence) -> Anchor | None:
    """Read the newest checkpoint back from the sinks; None without sinks, or without one.

    What keeps it from being read is added to the evidence's `errors`, and logged.
    """
    try:
        origin = conf.origin_of(using)
        readable = sinks.readable(origin)
        if not readable:
            return None
        keys = conf.checkpoint_vkeys or signers.verifiers(signers.configured())
        remembered, trouble = memory.recall(readable, origin, keys)
        for each in trouble:
            logger.warning("a sink of checkpoints cannot be read: %s", one_line(each))
        evidence.warnings.extend(trouble)
        if remembered is None:
            _warn_of_empty_sinks(using, evidence)
            return None
        manifest = remembered.sink.manifest(remembered.size - 1)
        given = Given(remembered.sink.name, remembered.note, remembered.checkpoint)
        witnesses = tuple(key.name for key in _witnesses(given, conf.witness_vkeys))
        return Anchor(remembered.sink.name, str(remembered.note), manifest, witnesses)
    except LedgerError as exc:
        logger.warning("no checkpoint could be read: %s", one_line(exc))
        evidence.errors.append(f"no checkpoint could be read: {exc}")
        return None


def _warn_of_empty_sinks(using: str, evidence: Evidence) -> None:
    size = stored.size(using)
    if size:
        warning = (
            f"the sinks hold no checkpoint, and the database says that {size} were made: they are "
            "others than those, or were emptied"
        )
        logger.warning("%s", warning)
        evidence.warnings.append(warning)


def _is_behind(using: str, evidence: Evidence, anchor: Anchor) -> bool:
    """Whether a replica has not got as far as the checkpoint: that would look like a cut tail.

    Whoever has the checkpoint's own row has all entries that it covers.
    """
    size, wanted = stored.size(using), checkpoint_of(anchor.note).size
    if size >= wanted or not is_replica(using):
        return False
    evidence.errors.append(
        f"database {using!r} is a replica that has {size} checkpoints, and {anchor.sink} has "
        f"{wanted}: run again when it has caught up"
    )
    return True


def settle(using: str, evidence: Evidence, anchor: Anchor) -> bool:
    """Put what an anchor says of all streams into the evidence, from the database's copies.

    False where the copies do not lead to it; that stands in the evidence's `errors` then.
    """
    said = checkpoint_of(anchor.note)
    evidence.lines.append(_line(anchor.sink, note.parse(anchor.note), anchor.witnesses))
    evidence.witnessed = len(anchor.witnesses) >= conf.witness_threshold
    try:
        found = state.at(using, said.size, said.root, anchor.manifest)
    except InvalidProof as exc:
        evidence.errors.append(
            f"the database's copies do not lead to checkpoint {said.size} of {anchor.sink}: {exc}"
        )
        return False
    assert found.manifest is not None
    evidence.log = NewestManifest(found.manifest, found.heads)
    evidence.checkpoint = CheckpointRef(said.size, said.root.hex())
    evidence.root_at = partial(state.root_at, using, said.size, said.root)
    evidence.notes = (anchor.note, stored.note(using, said.size))
    evidence.warn_of_time(int(time.time() * 1000))
    return True


def checkpoint_of(text: str) -> Checkpoint:
    return checkpoint.parse(note.parse(text).text)


def prepared() -> Evidence:
    """Return evidence that holds nothing yet but what the settings say."""
    _depth, _size, skew = conf.entry_limits
    return Evidence(slack=skew)


def _given(using: str, path: Path) -> Given:
    sink = None
    try:
        if path.is_dir():
            inner = path / sinks.folder_of(conf.origin_of(using))
            sink = sinks.folder(inner if inner.is_dir() else path)
            size = sink.newest()
            if not size:
                raise InvalidData(f"{path} holds no checkpoint")
            text = sink.note(size)
        else:
            text = path.read_text("utf-8")
    except (OSError, UnicodeError, SinkFailed) as exc:
        raise InvalidData(f"{path} cannot be read: {exc}") from exc
    try:
        parsed = note.parse(text)
        return Given(str(path), parsed, checkpoint.parse(parsed.text), sink)
    except InvalidNote as exc:
        raise InvalidNote(f"{path}: {exc}") from exc


def _check_is_ours(using: str, given: Given) -> None:
    said = given.checkpoint
    if not any(said.origin.endswith(ledger) for ledger in conf.ledgers_of(using)):
        raise InvalidData(
            f"{given.label} is a checkpoint of {said.origin!r}, which is not one of this ledger "
            f"{conf.ledger_of(using)!r}"
        )
    if said.size == 0:
        raise InvalidData(f"{given.label} is a checkpoint of no manifests: it says nothing")


def _check_signatures(given: Given, keys: Sequence[VerifierKey], evidence: Evidence) -> None:
    if not keys:
        evidence.warnings.append(
            f"{given.label}: no vkey was given, so its signature was not checked: it counts for "
            "as much as the place where it was kept"
        )
        return
    try:
        signing.verify_log(given.note, keys)
    except InvalidNote as exc:
        raise InvalidNote(f"{given.label}: {exc}") from exc


def _witnesses(given: Given, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Return the witnesses that cosigned; a wrong cosignature makes the note worthless."""
    try:
        return [each.key for each in signing.cosignatures(given.note, keys)]
    except InvalidNote as exc:
        raise InvalidNote(f"{given.label}: {exc}") from exc


def _follow(
    using: str,
    evidence: Evidence,
    given: Sequence[Given],
    folder: StorageSink | None,
) -> None:
    """Read the log up to the largest size given, and hold it against each note on the way."""
    sizes: dict[int, list[Given]] = {}
    for each in given:
        sizes.setdefault(each.checkpoint.size, []).append(each)
    log = ManifestLog()
    try:
        for manifest, heads in _documents(using, folder, max(sizes), evidence):
            log.add(manifest, heads)
            for each in sizes.get(log.size, []):
                if each.checkpoint.root != log.tree.root():
                    evidence.findings.append(_fork(using, each, log))
    except InvalidProof as exc:
        if not evidence.findings:
            evidence.errors.append(f"the log of manifests cannot be followed: {exc}")
        return
    if evidence.findings:
        return
    if log.last and log.last.ledger not in conf.ledgers_of(using):
        evidence.errors.append(f"the manifests are of ledger {log.last.ledger!r}")
        return
    evidence.log = log
    evidence.checkpoint = CheckpointRef(log.size, log.tree.root().hex())
    evidence.root_at = log.root_at
    newest = max(given, key=lambda each: each.checkpoint.size)
    evidence.notes = (str(newest.note), stored.note(using, newest.checkpoint.size))
    evidence.warnings.extend(log.notices)
    evidence.warn_of_time(int(time.time() * 1000))


def _documents(
    using: str, folder: StorageSink | None, size: int, evidence: Evidence
) -> Iterator[tuple[str, list[str]]]:
    """Yield the manifests with their heads: from the folder as far as it has them."""
    if folder is None:
        yield from stored.documents(using, 0, size)
        return
    number = 0
    try:
        for number in range(size):
            yield folder.manifest(number), folder.heads(number)
    except SinkFailed as exc:
        evidence.warnings.append(f"{exc}: read from the database instead")
        yield from stored.documents(using, number, size)


def _fork(using: str, given: Given, log: ManifestLog) -> Finding:
    """Return the finding that the ledger's log is not the one that was signed, with both notes."""
    size = given.checkpoint.size
    return Finding(
        "checkpoint_mismatch",
        LOG,
        size - 1,
        None,
        (),
        {"root": given.checkpoint.root.hex(), "note": str(given.note)},
        {"root": log.tree.root().hex(), "note": stored.note(using, size)},
        f"the first {size} manifests are not those that {given.label} signs",
    )


def _line(label: str, signed: Note, witnesses: Sequence[str]) -> str:
    said = checkpoint.parse(signed.text)
    names = ", ".join(dict.fromkeys(each.name for each in signed.signatures))
    text = f"checkpoint {said.size} of {said.origin} ({label}), signatures of {names}"
    return f"{text}; witnessed by {', '.join(witnesses)}" if witnesses else text
