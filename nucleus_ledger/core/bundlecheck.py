"""Checks a bundle with the walk that checks a database, and says no more than it looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nucleus_ledger.core import checkpoint, note, signing
from nucleus_ledger.core.against import LOG, Evidence
from nucleus_ledger.core.bundle import Header, Reader, Span
from nucleus_ledger.core.chain import Cursor, Finding, FindingsDigest, Head, Rules, judge_head, walk
from nucleus_ledger.core.manifestlog import Expectation, Follower, ManifestLog, mismatch
from nucleus_ledger.core.note import VerifierKey
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.registration import LateEntries
from nucleus_ledger.core.report import (
    Assurance,
    Report,
    StreamReport,
    with_late_entries,
)
from nucleus_ledger.core.transition import Result
from nucleus_ledger.errors import InvalidData, InvalidProof

Observe = Callable[[Span, Window], None]


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier brings along: keys, the ledgers it may be of, how many witnesses it wants.

    Without `ledgers` a bundle may be of any ledger. `slack` is as in `Expectation`.
    """

    keys: Sequence[VerifierKey] = ()
    witnesses: Sequence[VerifierKey] = ()
    threshold: int = 1
    ledgers: Set[str] | None = None
    slack: int = 300_000
    deep: bool = False

    def too_few(self) -> str:
        """Say that a note has fewer cosignatures than are wanted."""
        return f"fewer than {self.threshold} of the known witnesses cosigned the checkpoint"


def check(
    lines: Iterator[bytes],
    trust: Trust,
    *,
    label: str = "",
    observe: Observe | None = None,
    most: int = 1000,
) -> tuple[Header, Report]:
    """Read a bundle to its end and return its header and what was found.

    `observe` is handed the rows of each stream, before it is known that they are right. Raises
    `InvalidData` for what is no bundle or is damaged, and `InvalidNote` and `InvalidProof` for
    evidence that does not hold; nothing of it can be told then.
    """
    started = datetime.now(UTC).isoformat()
    reader = Reader(lines)
    header = reader.header()
    _check_ledgers(header, trust)
    evidence = _read_evidence(reader, header, trust)
    reports = []
    for span in header.streams:
        reports.append(_check_stream(reader, span, evidence, trust, observe, most))
    reader.end()
    reports.extend(map(_gone, evidence.findings))
    left_out = _left_out(header, evidence)
    evidence.warnings.extend(left_out)
    report = Report(
        mode="range" if left_out else "full",
        database=label,
        ledger=header.ledger,
        started_at=started,
        finished_at=datetime.now(UTC).isoformat(),
        streams=reports,
        guards={},
        deep=trust.deep,
        warnings=evidence.warnings,
        errors=evidence.errors,
        evidence=evidence.lines,
        unmet=[] if evidence.witnessed or not trust.witnesses else [trust.too_few()],
    )
    return header, report


def _check_ledgers(header: Header, trust: Trust) -> None:
    if trust.ledgers is None:
        return
    for ledger in (header.ledger, *(span.ledger for span in header.streams)):
        if ledger not in trust.ledgers:
            raise InvalidData(f"it is of ledger {ledger!r}, and not of {sorted(trust.ledgers)}")


def _read_evidence(reader: Reader, header: Header, trust: Trust) -> Evidence:
    evidence = Evidence(slack=trust.slack)
    if trust.ledgers is None:
        evidence.warnings.append(
            f"the ledger is not pinned: this may be any ledger that calls itself {header.ledger!r}"
        )
    if not header.checkpoint_size:
        evidence.errors.append(
            "there is no checkpoint in it: who wrote it may have written anything"
        )
        return evidence
    log = ManifestLog()
    for manifest, heads in reader.evidence(header):
        log.add(manifest, heads)
    signed = note.parse(reader.note())
    said = checkpoint.parse(signed.text)
    if said.size != log.size or said.root != log.tree.root():
        raise InvalidProof(f"the note of size {said.size} does not sign the {log.size} manifests")
    last = log.last.ledger if log.last else ""
    if last != header.ledger or not said.origin.endswith(header.ledger):
        raise InvalidProof(f"the checkpoint is of {said.origin!r} and ledger {last!r}")
    names = ", ".join(dict.fromkeys(each.name for each in signed.signatures))
    if not trust.keys:
        evidence.errors.append(
            f"no vkey was given: the checkpoint, with signatures of {names}, was not checked"
        )
        return evidence
    signing.verify_log(signed, trust.keys)
    evidence.log = log
    evidence.notes = (str(signed), None)
    evidence.warnings.extend(log.notices)
    evidence.warn_of_time(int(datetime.now(UTC).timestamp() * 1000))
    evidence.lines.append(f"checkpoint {said.size} of {said.origin}, signatures of {names}")
    _count_witnesses(signed, trust, evidence)
    return evidence


def _count_witnesses(signed: note.Note, trust: Trust, evidence: Evidence) -> None:
    found = len(signing.cosignatures(signed, trust.witnesses))
    evidence.witnessed = bool(trust.witnesses) and found >= trust.threshold
    if trust.witnesses:
        evidence.lines.append(f"{found} cosignatures of known witnesses")


def _check_stream(
    reader: Reader,
    span: Span,
    evidence: Evidence,
    trust: Trust,
    observe: Observe | None,
    most: int,
) -> StreamReport:
    rules = Rules(span.name, frozenset({span.ledger}), deep=trust.deep)
    cursor = Cursor(span.low, (span.prev_hash,))
    recorded = evidence.expectation(span.name)
    expected = _through(recorded, span.high)
    late = LateEntries(span.name, recorded, most) if recorded else None
    follower = Follower(span.name, expected) if expected and not span.low else None
    wrong: list[Finding] = []
    digest = FindingsDigest()
    last: list[str] = []

    def windows() -> Iterator[Window]:
        for window in reader.windows(span):
            yield window
            last[:] = [window.hash[-1]]
            if follower:
                follower.feed(window)
            elif expected:
                wrong.extend(_heads_that_differ(window, expected))
            if late:
                late.feed(window)
            if observe:
                observe(span, window)

    kept: list[Finding] = []

    def take(finding: Finding) -> None:
        digest.add(finding)
        if len(kept) < most:
            kept.append(finding)

    for finding in walk(windows(), cursor, rules):
        take(finding)
    if cursor.sequence != span.high:
        hash_ = last[0] if last else None
        head = Head(span.name, span.ledger, span.high, hash_, cursor.text_time)
        broken = judge_head(head, cursor, rules)
        if broken:
            take(broken)
    if follower:
        follower.conclude()
    for finding in (*wrong, *(follower.findings if follower else ())):
        take(finding)
    report = _report(span, cursor, kept, digest, evidence, follower)
    return with_late_entries(report, late, recorded)


def _through(expected: Expectation | None, length: int) -> Expectation | None:
    """Return what is said of the first `length` entries; what is behind is not in the bundle."""
    if expected is None:
        return None
    return replace(expected, marks=tuple(m for m in expected.marks if m.length <= length))


def _heads_that_differ(window: Window, expected: Expectation) -> Iterator[Finding]:
    """Hold a part of a stream against the recorded lengths that end in it."""
    for mark in expected.marks:
        if mark.head and mark.length - 1 in window.sequence:
            hash_ = window.hash[list(window.sequence).index(mark.length - 1)]
            if hash_ != mark.head.head_hash:
                yield mismatch(mark.head, mark.first, {"head_hash": hash_}, expected.notes)
                return


def _report(
    span: Span,
    cursor: Cursor,
    kept: Sequence[Finding],
    digest: FindingsDigest,
    evidence: Evidence,
    follower: Follower | None,
) -> StreamReport:
    count, checked = digest.count, cursor.checked
    result: Result = "unknown"
    if count:
        result = "tampered"
    elif checked:
        result = "intact_since" if span.low else "intact"
    assurance: Assurance = "chain"
    through = None
    if follower and follower.fits and follower.expectation.length:
        assurance = "witnessed" if evidence.witnessed else "checkpoint"
        through = follower.expectation.length - 1
    return StreamReport(
        name=span.name,
        length=span.high,
        head_hash=cursor.links[-1] if cursor.links else None,
        checked_from=span.low if checked else None,
        checked_to=cursor.sequence - 1 if checked else None,
        entries_checked=checked,
        findings=tuple(kept),
        findings_total=count,
        findings_digest=digest.hexdigest() if count else None,
        result=result,
        based_on="the entry before the part that is here" if span.low and checked else None,
        assurance=assurance,
        assured_through=through,
    )


def _gone(finding: Finding) -> StreamReport:
    return StreamReport(LOG, 0, None, None, None, 0, (finding,), 1, result="tampered")


def _left_out(header: Header, evidence: Evidence) -> list[str]:
    """Say what a bundle does not hold of the ledger, as far as its checkpoint tells."""
    said = [
        f"stream {span.name!r}: only the entries from {span.low} on are here"
        for span in header.streams
        if span.low
    ]
    spans = {span.name: span for span in header.streams}
    for name in sorted(evidence.names()):
        expected = evidence.expectation(name)
        recorded = expected.length if expected else 0
        if name not in spans:
            said.append(f"stream {name!r}, of {recorded} entries, is not here")
        elif spans[name].high < recorded:
            said.append(f"stream {name!r}: only {spans[name].high} of {recorded} entries are here")
    return said
