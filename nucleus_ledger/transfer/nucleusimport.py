"""Carries the records of a reference engine's ledger over, all of them or none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction

from nucleus_ledger import appending
from nucleus_ledger.conf import IMPORTS, RESERVED_PREFIX
from nucleus_ledger.core import canonical, nucleusrule
from nucleus_ledger.core.hashing import hash_text
from nucleus_ledger.core.nucleusrule import NucleusRecord
from nucleus_ledger.core.plain import plain
from nucleus_ledger.core.record import Record, check_shape
from nucleus_ledger.errors import IntegrityFailed, InvalidData
from nucleus_ledger.evidence import stored
from nucleus_ledger.transfer.nucleusfile import JudgedRow, RowFinding, judge

TYPE, FLOATS = "nucleus_imported", "nucleus_floats"
_AT_ONCE = 500
_KEPT = 100  # findings shown; all are counted
_CHUNK = 1 << 20


@dataclass(slots=True)
class Judged:
    """What a file holds, and what is wrong with it.

    `floats`: records with whole numbers that are floats there (1.0), which are noted beside them;
    `differing`: records whose old hash cannot be had from the new entry even so (-0.0).
    """

    sha256: str
    records: int = 0
    streams: Counter[str] = field(default_factory=Counter)
    findings: list[RowFinding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    fatal: int = 0
    ties: int = 0
    floats: int = 0
    differing: int = 0
    latest_hash: Any = None


def judge_file(path: Path) -> Judged:
    """Read a whole file and return what was found; raises `InvalidData` where it is none."""
    found = Judged(sha256_of(path))
    times: dict[str, int] = {}
    for row in judge(path):
        found.records += 1
        found.ties += row.tie
        found.latest_hash = row.hash
        findings = [*row.findings, *_ours(row, times)]
        found.kinds.update(finding.kind for finding in findings)
        found.fatal += sum(finding.fatal for finding in findings)
        found.findings.extend(findings[: _KEPT - len(found.findings)])
        if row.record:
            found.streams[row.record.stream] += 1
            found.floats += bool(_floats(row.record))
            found.differing += not _recomputable(row.record)
    return found


def import_file(
    using: str, path: Path, *, accept_findings: bool = False, by: str = ""
) -> tuple[Judged, Any]:
    """Append every record of a file with its id, time, payload and meta, and an entry about it.

    All or nothing, after a first reading. Raises `IntegrityFailed` for findings, of which
    `accept_findings` takes those that leave the record itself in no doubt, and `InvalidData` for a
    file that is empty, was changed meanwhile, or was imported before.
    """
    found = judge_file(path)
    if found.fatal or (found.findings and not accept_findings):
        raise IntegrityFailed(
            f"nothing was imported: {sum(found.kinds.values())} findings, the first: "
            f"{found.findings[0]}"
        )
    if not found.records:
        raise InvalidData(f"{path} holds no record")
    with transaction.atomic(using=using):
        _refuse_twice(using, found.sha256)
        spans = _append_all(using, path, found.sha256)
        if sha256_of(path) != found.sha256:
            raise InvalidData(f"{path} was changed while it was imported")
        payload = {
            "type": TYPE,
            "file": path.name,
            "sha256": found.sha256,
            "records": found.records,
            "streams": spans,
            "latest_hash": found.latest_hash,
            "findings": dict(found.kinds),
            "equal_times": found.ties,
            "floats": found.floats,
            "hash_differs": found.differing,
            "by": by,
        }
        (entry,) = appending.append_records([Record(IMPORTS, payload)], using=using, reserved=True)
    return found, entry


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
    except OSError as exc:
        raise InvalidData(f"{path} cannot be read: {exc}") from exc
    return digest.hexdigest()


def old_hash(entry: Any, floats: list[str]) -> str:
    """Return the hash that a record had there, from its text here and its noted floats."""
    said = nucleusrule.loads(entry.serialized)
    names = ("id", "meta", "payload", "stream", "timestamp")
    document = {name: said[name] for name in names if name in said}
    return hash_text(nucleusrule.dumps(nucleusrule.with_floats(document, floats)))


def _ours(row: JudgedRow, times: dict[str, int]) -> Iterator[RowFinding]:
    """Yield what keeps a record from being an entry here."""
    record = row.record
    if record is None:
        return
    try:
        check_shape(_as_record(record))
        plain(record.payload)
        plain(record.meta, path="meta")
        if record.stream.startswith(RESERVED_PREFIX):
            raise InvalidData(f"streams named {RESERVED_PREFIX}… are the ledger's own")
        if record.timestamp < times.get(record.stream, 0):
            raise InvalidData(f"its time is before another's of stream {record.stream!r}")
    except InvalidData as exc:
        yield RowFinding(row.row, "not_importable", str(exc), fatal=True)
    times[record.stream] = max(record.timestamp, times.get(record.stream, 0))


def _document(record: NucleusRecord) -> dict[str, Any]:
    document = {"payload": record.payload}
    return document if record.meta is None else {**document, "meta": record.meta}


def _floats(record: NucleusRecord) -> list[str]:
    return nucleusrule.whole_floats(_document(record))


def _recomputable(record: NucleusRecord) -> bool:
    """Whether the old text comes out of what we store, with the floats that are noted beside."""
    document = _document(record)
    try:
        again = nucleusrule.loads(canonical.dumps(document))
    except InvalidData:
        return False
    again = nucleusrule.with_floats(again, _floats(record))
    return nucleusrule.dumps(again) == nucleusrule.dumps(document)


def _as_record(record: NucleusRecord) -> Record:
    return Record(record.stream, record.payload, record.id, record.timestamp, record.meta)


def _refuse_twice(using: str, sha256: str) -> None:
    imports = stored.entries_of(using, IMPORTS)
    before = imports.filter(payload__sha256=sha256, payload__type=TYPE).first()
    if before is not None:
        raise InvalidData(f"this file was imported before: entry {before.sequence} of {IMPORTS}")


def _append_all(using: str, path: Path, sha256: str) -> dict[str, dict[str, int]]:
    """Append all records, and return which sequences they got, both ends included."""
    spans: dict[str, dict[str, int]] = {}
    rows = (row.record for row in judge(path) if row.record)
    while batch := list(islice(rows, _AT_ONCE)):
        for entry in appending.append_records(list(map(_as_record, batch)), using=using):
            span = spans.setdefault(
                entry.stream.name, {"from": entry.sequence, "to": entry.sequence}
            )
            span["to"] = entry.sequence
        noted = [[each.stream, each.id, places] for each in batch if (places := _floats(each))]
        if noted:
            payload = {"type": FLOATS, "sha256": sha256, "records": noted}
            appending.append_records([Record(IMPORTS, payload)], using=using, reserved=True)
    return spans
