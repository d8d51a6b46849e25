"""Breaks that earlier runs stored: which stand, and what a run makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db.models import Exists, Max, OuterRef

from nucleus_ledger.core.against import LOG
from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.report import StreamReport
from nucleus_ledger.core.transition import (
    SOME,
    CheckpointRef,
    Known,
    Mode,
    Outcome,
    StatusResult,
    Transition,
    Why,
    decide,
    includes,
)
from nucleus_ledger.row_signatures import genuine_runs, is_genuine

if TYPE_CHECKING:
    from nucleus_ledger.core.against import Evidence
    from nucleus_ledger.models import StreamStatus, Verification

_AT_ONCE = 500
_LOOKED_AT = 20
_NEWEST = 1 << 62  # the key of a run that is not stored: it is later than all that are


@dataclass(frozen=True, slots=True)
class KnownBreak:
    """A stream that is known to be broken, and the run that found it."""

    stream: str
    known: Known


def rows(using: str, stream_ids: Iterable[int]) -> dict[int, StreamStatus]:
    """Return the stored statuses by stream key, as they stand there."""
    model = apps.get_model("nucleus_ledger", "StreamStatus")
    keys, found = list(stream_ids), {}
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        for status in model._base_manager.using(using).filter(stream_id__in=part):
            found[status.stream_id] = status
    return found


def last_found(using: str) -> dict[str, int]:
    """Return the key of the last run that stored a finding in a stream, by the stream's name.

    A finding of a run that is not there was put there by somebody else, under any key.
    """
    model = apps.get_model("nucleus_ledger", "Finding")
    runs = apps.get_model("nucleus_ledger", "Verification")._base_manager.using(using)
    there = Exists(runs.filter(pk=OuterRef("verification_id")))
    found = model._base_manager.using(using).filter(there).order_by().values_list("stream")
    return dict(found.annotate(Max("verification_id")))


def as_known(status: StreamStatus | None) -> Known | None:
    """Return what a status row says; of a row that somebody else wrote only that it is red.

    A run that is gone takes its place in the order with it: keys may begin anew after that.
    """
    if status is None:
        return None
    if is_genuine(status):
        evidence = None
        if status.evidence_size is not None:
            evidence = CheckpointRef(status.evidence_size, status.evidence_root)
        result, ordered = cast("StatusResult", status.result), status.verification_id is not None
        return Known(result, status.run, status.length, evidence, ordered)
    if status.result == "tampered":
        run = status.run if type(status.run) is int and 0 <= status.run <= MAX_SAFE_INTEGER else 0
        return Known("tampered", run, 0, SOME, ordered=False)
    return None


def known_of(
    using: str, name: str, status: StreamStatus | None, found: Mapping[str, int]
) -> Known | None:
    """Return what is known of a stream, from its status and from the findings in it.

    A run that finds something leaves a status no older than itself. Where the status is older, or
    gone, somebody put an earlier one back or deleted it: the break stands. Findings of a run that
    this site did not store say nothing against a status that it did store. No status is kept of a
    stream that was missing, so there a later run tells, as in `loose_reports`.
    """
    known, run = as_known(status), found.get(name)
    if run is None or (known and (known.result == "tampered" or known.run >= run)):
        return known
    genuine = _newest_genuine(using, name, known.run if known else None)
    if genuine is None:
        if known is not None:
            return known
        if status is not None:
            later = type(status.run) is int and status.run > run
            if status.result == "acknowledged" or later:
                return None  # not relied on, but by another key of the site it may be true
    found_by = genuine or run
    needed = _evidence_of(using, found_by, name)
    if status is None and needed is not None and _was_lifted(using, found_by, needed):
        return None  # it was missing then, its loss was accepted, and it began again
    length = known.length if known else 0
    return Known("tampered", found_by, length, needed, ordered=genuine is not None)


def _newest_genuine(using: str, name: str, after: int | None) -> int | None:
    """Return the newest run of this site that stored a finding in a stream, if it is later."""
    model = apps.get_model("nucleus_ledger", "Verification")
    runs = model._base_manager.using(using).filter(findings__stream=name).distinct()
    if after is not None:
        runs = runs.filter(pk__gt=after)
    found = genuine_runs(using, runs.order_by("-pk"))
    return found[0].pk if found else None


def known_breaks(using: str) -> list[KnownBreak]:
    """Return the streams that are known to be broken, by key."""
    model = apps.get_model("nucleus_ledger", "Stream")._base_manager.using(using)
    found = last_found(using)
    red = model.filter(status__result="tampered").values_list("pk", "name")
    named = [
        pair
        for start in range(0, len(found), _AT_ONCE)
        for pair in model.filter(name__in=list(found)[start : start + _AT_ONCE]).values_list(
            "pk", "name"
        )
    ]
    names = dict([*red, *named])
    stored = rows(using, names)
    breaks = []
    for key, name in sorted(names.items()):
        known = known_of(using, name, stored.get(key), found)
        if known is not None and known.result == "tampered":
            breaks.append(KnownBreak(name, known))
    return breaks


def stored_findings(
    using: str, run: Any, stream: str | None = None, *, most: int | None = None
) -> list[Finding]:
    """Return what the verification of that key found, in one stream or in all."""
    model = apps.get_model("nucleus_ledger", "Finding")
    found = model._base_manager.using(using).filter(verification_id=run)
    if stream is not None:
        found = found.filter(stream=stream)
    return [
        Finding(
            row.kind,
            row.stream,
            row.sequence,
            row.record_id,
            tuple(row.fields),
            row.expected,
            row.actual,
            row.message,
        )
        for row in found.order_by("pk")[:most]
    ]


def reports_of(using: str, run: int) -> list[StreamReport]:
    """Return what a run found as far as its findings tell, where nothing else of it can be read."""
    found: dict[str, list[Finding]] = {}
    for finding in stored_findings(using, run):
        found.setdefault(finding.stream, []).append(finding)
    return [
        StreamReport(
            name=name,
            length=0,
            head_hash=None,
            checked_from=None,
            checked_to=None,
            entries_checked=0,
            findings=tuple(findings),
            findings_total=len(findings),
            result="tampered",
        )
        for name, findings in found.items()
    ]


def outcome_of(report: StreamReport, mode: Mode, run: int, known: Known | None) -> Outcome:
    """Return what a report says of a stream, for `core.transition`."""
    return Outcome(
        run=run,
        mode=mode,
        result=report.result,
        length=report.length if type(report.length) is int else 0,
        whole=not report.checked_from,
        held=report.held,
        covers=report.covers,
        evident=report.evident,
        on_record=known is not None and known.run in report.on_record,
    )


def with_stored_break(
    using: str,
    report: StreamReport,
    mode: Mode,
    run: Verification | None,
    known: Known | None,
    evidence: Evidence | None,
    warnings: list[str],
) -> StreamReport:
    """Return what a run says of a stream of which a break is stored: it hides none.

    A break that the run does not lift stands in its report, with what was found then.
    """
    if known is None or known.result == "intact":
        return report
    if known.evidence and evidence and evidence.covers(known.evidence):
        report = replace(report, covers=known.evidence)
    outcome = outcome_of(report, mode, run.pk if run else _NEWEST, known)
    transition = decide(known, outcome)
    if transition.result == report.result:
        if transition.result == "tampered" and not includes(known, outcome):
            warnings.append(_message(report, known, transition))
        return report
    warnings.append(_message(report, known, transition))
    findings = tuple(stored_findings(using, known.run, report.name))
    return replace(
        report,
        result=transition.result,
        findings=findings,
        findings_total=max(len(findings), 1),
        standing=None if transition.stored else known,
    )


def loose_reports(
    using: str,
    reported: Collection[str],
    scope: Collection[str] | None,
    mode: Mode,
    evidence: Evidence | None,
    warnings: list[str],
) -> list[StreamReport]:
    """Return what stands of streams without a row, and of the log: no status is kept of those.

    Earlier runs missed them by a checkpoint. As with any break, only a full run held against as
    much lifts that. Whether a stream is missing every run that is held against as much has asked
    again, so it says no more than it found. `reported` are the streams that the run itself says
    something of.
    """
    model = apps.get_model("nucleus_ledger", "Finding")
    found = model._base_manager.using(using).filter(kind="checkpoint_mismatch").order_by()
    reports = []
    for name, run in found.values_list("stream").annotate(Max("verification_id")):
        if name in reported or (scope is not None and name not in scope):
            continue
        needed = _evidence_of(using, run, name) or SOME
        covered = evidence is not None and (
            evidence.covers(needed) or (needed == SOME and evidence.checkpoint is not None)
        )
        if (covered and (mode == "full" or name != LOG)) or _was_lifted(using, run, needed):
            continue
        known = Known("tampered", run, 0, needed)
        report = StreamReport(name, 0, None, None, None, 0, standing=known)
        warnings.append(_message(report, known, Transition("tampered", False, "evidence")))
        findings = tuple(stored_findings(using, run, name))
        reports.append(
            replace(report, result="tampered", findings=findings, findings_total=len(findings))
        )
    return sorted(reports, key=lambda report: report.name)


def _was_lifted(using: str, run: int, needed: CheckpointRef) -> bool:
    """Whether a later run over all streams, held against as much, ended without a finding.

    One that found something else may have stopped there (`fail_fast`), before it came to this.
    """
    model = apps.get_model("nucleus_ledger", "Verification")
    later = model._base_manager.using(using).filter(
        pk__gt=run, mode="full", evidence_size__gte=needed.size, finished_at__isnull=False
    )
    found = later.filter(result__in=("intact", "acknowledged")).order_by("-pk")
    return bool(genuine_runs(using, [each for each in found[:_LOOKED_AT] if each.scope is None]))


def _evidence_of(using: str, run: int, stream: str) -> CheckpointRef | None:
    """Return the checkpoint that a run found a stream's break by, if it was one."""
    kinds = {finding.kind for finding in stored_findings(using, run, stream)}
    if "checkpoint_mismatch" not in kinds:
        return None
    model = apps.get_model("nucleus_ledger", "Verification")
    for stored in genuine_runs(using, model._base_manager.using(using).filter(pk=run)):
        if stored.evidence_size is not None:
            return CheckpointRef(stored.evidence_size, stored.evidence_root)
    return SOME


_WHY: dict[Why, str] = {
    "mode": "only a full verification can lift that",
    "length": "it had more entries then: put back what is missing",
    "order": "it began later than this one",
    "unread": "nothing of it was read now",
}


def _message(report: StreamReport, known: Known, transition: Transition) -> str:
    why = _WHY.get(transition.why) or _needed(known.evidence)
    word = "broken" if known.result == "tampered" else "broken, which was acknowledged"
    message = f"stream {report.name!r}: verification {known.run} found it {word}; {why}"
    if known.result == "acknowledged" or report.name == LOG:
        return message
    if report.key is None:  # an acknowledgement is bound to the stream's row
        return (
            f"{message}. Or, where the stream is gone for good: manage.py checkpoint_ledger "
            "--accept-restore REASON, and verify again"
        )
    return f"{message}. Or put it on record: manage.py acknowledge_findings"


def _needed(evidence: CheckpointRef | None) -> str:
    if evidence is None or not evidence.size:
        return (
            "what found it is not known any more, so only a full verification against a checkpoint "
            "can lift that (--against)"
        )
    return (
        f"it was held against checkpoint {evidence.size} (root {evidence.root}), so only a full "
        "verification against that or a newer one of the same log can lift that (--against)"
    )
