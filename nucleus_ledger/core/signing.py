"""Ed25519 signatures of notes (RFC 8032, C2SP signed-note and tlog-cosignature).

Needs the library `cryptography`, the extra `evidence`. Public keys are stricter than RFC 8032
asks: one of small order verifies what nobody signed, and one that is not written in its canonical
way is another text for the same key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nucleus_ledger.core.note import COSIGNATURE, ED25519, Note, Signature, SignerKey, VerifierKey
from nucleus_ledger.errors import ConfigurationError, InvalidNote

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

_PRIME = (1 << 255) - 19
_Y = (1 << 255) - 1  # the sign of x is the bit above
# The y of the eight points whose order divides 8 (RFC 7748 section 6 names their u).
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)
_SEED_BYTES, _SIGNATURE_BYTES, _TIME_BYTES = 32, 64, 8


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds, of a known key; `time`: a cosignature's, in POSIX seconds."""

    key: VerifierKey
    time: int | None = None


def generate(name: str) -> tuple[SignerKey, VerifierKey]:
    """Return a new key pair of that name."""
    seed = os.urandom(_SEED_BYTES)
    verifier = VerifierKey(name, ED25519, _public_of(seed))
    return SignerKey(name, verifier.key_id, seed), verifier


def verifier_of(signer: SignerKey) -> VerifierKey:
    """Return the public key of a private one; raises `InvalidNote` where its id is another's."""
    verifier = VerifierKey(signer.name, ED25519, _public_of(signer.seed))
    if verifier.key_id != signer.key_id:
        raise InvalidNote(f"the id of the private key of {signer.name!a} is not that of its bytes")
    return verifier


def sign(text: str, signers: Iterable[SignerKey]) -> Note:
    """Return the note of a text with one signature of each signer."""
    signatures = []
    for signer in signers:
        verifier_of(signer)
        data = _private(signer.seed).sign(text.encode())
        signatures.append(Signature(signer.name, signer.key_id, data))
    note = Note(text, tuple(signatures))
    str(note)  # refuses what could not be read again
    return note


def cosign(note: Note, signer: SignerKey, time: int) -> Signature:
    """Return a witness's signature of a checkpoint, seen at that POSIX second (cosignature/v1)."""
    verifier = VerifierKey(signer.name, COSIGNATURE, _public_of(signer.seed))
    data = _private(signer.seed).sign(_cosigned(note.text, time))
    return Signature(signer.name, verifier.key_id, time.to_bytes(_TIME_BYTES, "big") + data)


def verify(note: Note, keys: Iterable[VerifierKey]) -> list[Verified]:
    """Return the known keys that signed the note, in the order of `keys`.

    Signatures of other keys are passed over. Raises `InvalidNote` where a known key's does not
    hold, where none is of a known key, and for a key that must not be used.
    """
    known = {(key.name, key.key_id): key for key in keys}
    for key in known.values():
        check_public(key)
    found: dict[tuple[str, bytes], Verified] = {}
    for signature in note.signatures:
        place = (signature.name, signature.key_id)
        if place in known:
            found.setdefault(place, _verified(note.text, signature, known[place]))
    if not found:
        raise InvalidNote("no signature is of a known key")
    return [found[place] for place in known if place in found]


def verify_log(note: Note, keys: Iterable[VerifierKey]) -> list[Verified]:
    """Return the keys of the log that signed the note; raises `InvalidNote` as `verify` does.

    A witness says that a log only grew, and not that this is the log: its key never counts here.
    """
    return verify(note, [key for key in keys if key.kind != COSIGNATURE])


def cosignatures(note: Note, witnesses: Iterable[VerifierKey]) -> list[Verified]:
    """Return the known witnesses that cosigned the note, none of them perhaps.

    Raises `InvalidNote` where a cosignature of one of them does not hold.
    """
    names = {(each.name, each.key_id) for each in note.signatures}
    known = [
        key for key in witnesses if key.kind == COSIGNATURE and (key.name, key.key_id) in names
    ]
    return verify(note, known) if known else []


def check_public(key: VerifierKey) -> None:
    """Raise `InvalidNote` for a public key of small order, or not in its canonical form."""
    y = int.from_bytes(key.public, "little") & _Y
    if y >= _PRIME:
        raise InvalidNote(f"the public key of {key.name!a} is not in its canonical form")
    if y in _SMALL_ORDER:
        raise InvalidNote(f"the public key of {key.name!a} is of small order")


def _verified(text: str, signature: Signature, key: VerifierKey) -> Verified:
    message, data, time = text.encode(), signature.data, None
    if key.kind == COSIGNATURE:
        time = int.from_bytes(data[:_TIME_BYTES], "big")
        message, data = _cosigned(text, time), data[_TIME_BYTES:]
    library = _ed25519()
    try:
        if len(data) != _SIGNATURE_BYTES:
            raise ValueError
        library.Ed25519PublicKey.from_public_bytes(key.public).verify(data, message)
    except (ValueError, _invalid_signature()):
        raise InvalidNote(f"the signature of {key.name!a} does not hold") from None
    return Verified(key, time)


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _public_of(seed: bytes) -> bytes:
    public: bytes = _private(seed).public_key().public_bytes_raw()
    return public


def _private(seed: bytes) -> ed25519.Ed25519PrivateKey:
    key: ed25519.Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
    return key


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigurationError(
            "signatures need the library cryptography: pip install nucleus-ledger[evidence]"
        ) from None
    return ed25519


def _invalid_signature() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature

    return InvalidSignature
