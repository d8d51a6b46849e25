"""Puts a bundle into an empty ledger, byte for byte."""

from __future__ import annotations

from pathlib import Path

from django.apps import apps
from django.db import transaction

from nucleus_ledger import appending
from nucleus_ledger.core.bundle import Header, Span
from nucleus_ledger.core.bundlecheck import Trust, check
from nucleus_ledger.core.bundlefile import read_lines
from nucleus_ledger.core.rebuilding import Window
from nucleus_ledger.core.report import Report
from nucleus_ledger.errors import IntegrityFailed, InvalidData


def import_bundle(
    using: str, path: Path, trust: Trust, *, chain_only: bool = False
) -> tuple[Header, Report]:
    """Insert all entries of a bundle, after a first reading that found nothing wrong with it.

    All or nothing. Raises `IntegrityFailed` for findings, and `InvalidData` where the ledger is not
    empty, the bundle holds a part of its streams, or its checkpoint was not checked, unless
    `chain_only` does without one.
    """
    header, first = check(read_lines(path), trust, label=str(path))
    _refuse(first, chain_only)
    if any(span.low for span in header.streams):
        raise InvalidData("the bundle begins in the middle of a stream: it cannot be imported")

    def insert(span: Span, window: Window) -> None:
        appending.restore(using, span.name, span.ledger, list(window.rows()))

    with transaction.atomic(using=using):
        streams = apps.get_model("nucleus_ledger", "Stream")._base_manager.using(using)
        if streams.exists():
            raise InvalidData("the ledger is not empty: a bundle is imported into an empty one")
        for span in header.streams:
            appending.restore(using, span.name, span.ledger, [])
        # Checked again as it goes in: the file may have been changed meanwhile.
        again, second = check(read_lines(path), trust, label=str(path), observe=insert)
        _refuse(second, chain_only)
        if again != header:
            raise InvalidData(f"{path} was changed while it was read")
    return header, second


def _refuse(report: Report, chain_only: bool) -> None:
    for finding in report.findings:
        raise IntegrityFailed(
            f"{finding.kind} in stream {finding.stream!r} at {finding.sequence}: {finding.message}"
        )
    if report.errors and not chain_only:
        raise InvalidData(f"{report.errors[0]}; --chain-only imports it all the same")
