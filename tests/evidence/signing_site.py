"""A ledger whose checkpoints are signed and kept, in one call, and what an auditor does with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleus_ledger import verification
from nucleus_ledger.core import checkpoint, note, signing
from nucleus_ledger.core.note import SignerKey, VerifierKey
from nucleus_ledger.core.report import Report
from nucleus_ledger.evidence import against, making, signers, sinks

ORIGIN = "example.com/persistent-ledger"


@dataclass
class SigningSite:
    """The settings of a site that signs, with a key file and a folder outside the database."""

    alias: str
    folder: Path
    settings: Any
    signer: SignerKey
    vkey: VerifierKey

    @classmethod
    def build(cls, alias: str, folder: Path, settings: Any) -> SigningSite:
        signer, vkey = signing.generate(ORIGIN)
        signers.write(folder / "key", signer)
        settings.STORAGES = {
            **settings.STORAGES,
            "evidence": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(folder / "evidence")},
            },
        }
        site = cls(alias, folder, settings, signer, vkey)
        site.configure(
            CHECKPOINT_ORIGIN=ORIGIN,
            CHECKPOINT_KEY_FILES=[str(folder / "key")],
            CHECKPOINT_VKEYS=[str(vkey)],
            CHECKPOINT_SINKS=["storage:evidence"],
        )
        return site

    def configure(self, **options: Any) -> None:
        self.settings.NUCLEUS_LEDGER = {**self.settings.NUCLEUS_LEDGER, **options}

    @property
    def log(self) -> Path:
        return self.folder / "evidence" / sinks.folder_of(ORIGIN)

    def make(self, **options: Any) -> making.Made:
        return making.make(self.alias, **options)

    def note(self, size: int | None = None) -> Path:
        """The file of a checkpoint's note, the newest if no size is given."""
        size = size or sinks.folder(self.log).newest()
        digits = f"{size:09}"
        return self.log / "checkpoints" / digits[:3] / digits[3:6] / f"{digits[6:]}.txt"

    def kept(self) -> Path:
        """A copy of the newest note, all that an auditor has in hand."""
        copy = self.folder / "kept.txt"
        copy.write_text(self.note().read_text("utf-8"), "utf-8")
        return copy

    def said(self, size: int | None = None) -> checkpoint.Checkpoint:
        return checkpoint.parse(note.parse(self.note(size).read_text("utf-8")).text)

    def verify(self, *paths: Path, witnesses: Any = (), **options: Any) -> Report:
        """Verify, against what was kept where there is something."""
        evidence = None
        if paths:
            evidence = against.load(self.alias, list(map(str, paths)), [self.vkey], witnesses)
        return verification.verify(self.alias, evidence=evidence, store=False, **options)
