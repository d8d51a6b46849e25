"""`manage.py ledger_keygen --output FILE`: makes the key pair that checkpoints are signed with."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from nucleus_ledger.conf import conf
from nucleus_ledger.core import note, signing
from nucleus_ledger.errors import InvalidNote
from nucleus_ledger.evidence import signers
from nucleus_ledger.management.outcomes import LedgerCommand, failure
from nucleus_ledger.routing import ledger_alias


class Command(LedgerCommand):
    uses_database = False
    unknown = "no key was made"
    help = (
        "Make an Ed25519 key pair: the private key goes into a new file of mode 600, the public "
        "one (vkey) is printed. Give the vkey to everybody who is to verify checkpoints."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", required=True, metavar="FILE", help="for the private key")
        parser.add_argument("--name", help="the key's name; the origin of the checkpoints if none")

    def handle_ledger(self, *args: Any, output: str, name: str | None, **options: Any) -> None:
        name = name or conf.origin_of(ledger_alias())
        signer, verifier = signing.generate(name)
        try:
            note.parse_vkey(str(verifier))
        except InvalidNote as exc:
            raise failure(f"{exc}: choose another with --name") from exc
        signers.write(Path(output), signer)
        self.stdout.write(str(verifier))
