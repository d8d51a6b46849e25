"""Evidence that a verification holds a ledger against: checkpoints, and the log they sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nucleus_ledger.core.chain import Finding
from nucleus_ledger.core.manifestlog import (
    Expectation,
    ManifestLog,
    NewestManifest,
    Notes,
    mismatch,
)
from nucleus_ledger.core.moments import moment
from nucleus_ledger.core.transition import CheckpointRef

LOG = "nucleus.checkpoints"  # the name that findings about the log itself bear


def _unknown(_size: int) -> str | None:
    return None


@dataclass(slots=True)
class Evidence:
    """What manifests below a signed root say, or why that is not known.

    `lines` say what was held against what; `findings` are of the log itself; `errors` keep a
    verification from being told. `checkpoint` is the newest signed root that `log` leads to, and
    `root_at` gives the root of that log at a smaller size, None where it is not known. `slack` and
    `notes` are as in `Expectation`.
    """

    log: ManifestLog | NewestManifest | None = None
    checkpoint: CheckpointRef | None = None
    root_at: Callable[[int], str | None] = _unknown
    witnessed: bool = False
    slack: int = 0
    notes: Notes | None = None
    lines: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def expectation(self, stream: str) -> Expectation | None:
        if self.log is None:
            return None
        return Expectation(
            self.log.marks(stream),
            self.slack,
            self.log.complete,
            self.witnessed,
            self.notes,
        )

    def made(self) -> int | None:
        """Return when the newest manifest was made, in ms since 1970; None where there is none."""
        newest = self.log.last if self.log else None
        return newest.milliseconds if newest else None

    def warn_of_time(self, now: int) -> None:
        """Warn of a newest checkpoint that is dated ahead of `now` (ms) by more than the slack."""
        made = self.made()
        if made is not None and made > now + self.slack:
            self.warnings.append(
                f"the newest checkpoint is dated ahead of now, {moment(made)}: the signer's clock "
                "was fast, or the clock here is slow. Times of registration are those of the "
                "signer's clock"
            )

    def covers(self, needed: CheckpointRef) -> bool:
        """Whether the log of this evidence is the one, or goes on from the one, of a checkpoint."""
        if self.log is None or self.checkpoint is None or needed.size > self.checkpoint.size:
            return False
        if needed.size == self.checkpoint.size:
            return needed == self.checkpoint
        return self.root_at(needed.size) == needed.root

    def names(self) -> set[str]:
        """Return the streams that the newest manifest has."""
        return set(self.log.heads) if self.log else set()

    def missing(self, there: Iterable[str]) -> list[Finding]:
        """Return a finding for each stream that checkpoints have, and that is not there."""
        if self.log is None:
            return []
        gone = sorted(self.names() - set(there))
        return [
            mismatch(
                self.log.heads[name], self.log.marks(name)[-1].first, {"length": None}, self.notes
            )
            for name in gone
        ]
