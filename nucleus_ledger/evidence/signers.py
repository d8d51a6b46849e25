"""The keys of a ledger: private ones from files or the environment, never from the database."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from nucleus_ledger.conf import conf
from nucleus_ledger.core import note, signing
from nucleus_ledger.core.note import SignerKey, VerifierKey
from nucleus_ledger.errors import ConfigurationError, InvalidData, InvalidNote

VARIABLE = "NUCLEUS_LEDGER_SIGNING_KEY"


def configured() -> list[SignerKey]:
    """Return the private keys of `CHECKPOINT_KEY_FILES` and of the environment.

    Raises `ConfigurationError` where there is none, or one cannot be read or used.
    """
    signers = [read(Path(path)) for path in conf.checkpoint_key_files]
    if os.environ.get(VARIABLE):
        signers.append(_parsed(os.environ[VARIABLE], VARIABLE))
    if not signers:
        raise ConfigurationError(
            f"there is no signing key: set CHECKPOINT_KEY_FILES, or {VARIABLE} in the environment; "
            "`manage.py ledger_keygen` makes one"
        )
    return signers


def read(path: Path) -> SignerKey:
    """Read a private key; raises `ConfigurationError`, also where others may read the file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as exc:
        raise ConfigurationError(f"the key file {path} cannot be read: {exc}") from exc
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(
            f"the key file {path} has mode {mode:o}, so others may read it: chmod 600 {path}"
        )
    return _parsed(text, str(path))


def write(path: Path, signer: SignerKey) -> None:
    """Write a private key into a new file of mode 600; raises `InvalidData` if there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidData(f"{path} exists: a key is never written over another") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{signer}\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def trusted(extra: Iterable[VerifierKey] = ()) -> list[VerifierKey]:
    """Return the public keys whose checkpoints count: those of the settings, and `extra`."""
    return list(dict.fromkeys([*conf.checkpoint_vkeys, *extra]))


def verifiers(signers: Sequence[SignerKey]) -> list[VerifierKey]:
    return [signing.verifier_of(signer) for signer in signers]


def _parsed(text: str, where: str) -> SignerKey:
    try:
        signer = note.parse_signer(text.strip())
        signing.verifier_of(signer)
    except InvalidNote as exc:
        raise ConfigurationError(f"{where}: {exc}") from None
    return signer
