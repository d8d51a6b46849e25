"""Tells everybody who listens what a verification came to: the log, and receivers of the signal.

A log that somebody watches needs no code of the site: tampering is an ERROR below the logger
`nucleus_ledger`, whoever or whatever started the run.
"""

from __future__ import annotations

import logging
from collections import Counter

from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.report import Report
from nucleus_ledger.core.visible import one_line
from nucleus_ledger.signals import verification_finished

logger = logging.getLogger("nucleus_ledger.verification")

_SHOWN, _NAME = 3, 200  # findings, and characters of a name


def announce(report: Report, using: str) -> None:
    """Log tampering, and send `verification_finished`; requires that the run is stored."""
    if report.result == "tampered":
        logger.error("%s", _in_words(report))
    verification_finished.send_robust(sender=Report, report=report, using=using)


def place(finding: Finding) -> str:
    """Return in a few words what was found and where."""
    name = one_line(repr(finding.stream), _NAME)
    where = "" if finding.sequence is None else f" at #{finding.sequence}"
    return f"stream {name}{where}: {finding.kind}"


def _in_words(report: Report) -> str:
    kinds = Counter(finding.kind for finding in report.findings)
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    places = "; ".join(map(place, report.findings[:_SHOWN]))
    broken = sum(1 for stream in report.streams if stream.result == "tampered")
    more = report.findings_total - len(report.findings[:_SHOWN])
    run = "a run that is not stored"
    if report.verification is not None:
        run = f"verification {report.verification}"
    return (
        f"TAMPERING in ledger {one_line(repr(report.ledger), _NAME)}, database "
        f"{report.database!r}: {report.findings_total} finding(s) in {broken} stream(s) ({counts}) "
        f"by {run}: {places}{f'; and {more} more' if more > 0 else ''}"
    )
