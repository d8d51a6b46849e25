"""Signed notes (C2SP signed-note) and their keys, as texts: parsers and writers, exact inverses.

Nothing is signed or verified here; `signing` does that, with a library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from nucleus_ledger.core import base64text
from nucleus_ledger.errors import InvalidNote

ED25519, COSIGNATURE = 0x01, 0x04  # types of keys
MOST_SIGNATURES, MOST_BYTES = 100, 1_000_000
_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/=]+)")
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a note: who signed, the 4 bytes that tell the key, and what was signed."""

    name: str
    key_id: bytes
    data: bytes

    def __str__(self) -> str:
        return f"— {self.name} {base64text.encode(self.key_id + self.data)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the note; raises `InvalidNote` where `parse` would not read it again."""
        _check_text(self.text)
        if not self.signatures:
            raise InvalidNote("a note has no signature")
        for signature in self.signatures:
            _check_name(signature.name)
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name that it signs under; written as a vkey."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, kind, public key)."""
        return sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        key = base64text.encode(bytes([self.kind]) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{key}"


@dataclass(frozen=True, slots=True, repr=False)
class SignerKey:
    """A private key: the 32 bytes that an Ed25519 key is made from (RFC 8032 section 5.1.5)."""

    name: str
    key_id: bytes
    seed: bytes

    def __str__(self) -> str:
        key = base64text.encode(bytes([ED25519]) + self.seed)
        return f"{_PRIVATE}{self.name}+{self.key_id.hex()}+{key}"

    def __repr__(self) -> str:
        return f"<SignerKey {self.name}+{self.key_id.hex()}>"  # and not the key


def parse(data: str | bytes) -> Note:
    """Read a note; raises `InvalidNote`."""
    text = _decoded(data)
    body, blank, below = text.rpartition("\n\n")
    if not blank or not below:
        raise InvalidNote("no signatures stand below a blank line")
    if not below.endswith("\n"):
        raise InvalidNote("the last line has no newline")
    lines = below[:-1].split("\n")  # not splitlines: U+2028 is no newline
    if len(lines) > MOST_SIGNATURES:
        raise InvalidNote(f"more than {MOST_SIGNATURES} signatures")
    note = Note(f"{body}\n", tuple(map(parse_signature, lines)))
    _check_text(note.text)
    return note


def parse_signature(line: str) -> Signature:
    """Read one signature line without its newline; raises `InvalidNote`."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise InvalidNote(f"not a line of a signature: {line[:100]!a}")
    name, encoded = match.groups()
    _check_name(name)
    try:
        data = base64text.decode(encoded)
    except ValueError as exc:
        raise InvalidNote(f"the signature of {name!a} is {exc}") from None
    if len(data) < 5:
        raise InvalidNote(f"the signature of {name!a} is too short")
    return Signature(name, data[:4], data[4:])


def parse_vkey(text: str) -> VerifierKey:
    """Read `name+id+key`; raises `InvalidNote`, also where the id is not that of name and key."""
    name, key_id, data = _key_parts(text)
    if len(data) != 33 or data[0] not in (ED25519, COSIGNATURE):
        raise InvalidNote(f"the key of {name!a} is not an Ed25519 key")
    key = VerifierKey(name, data[0], data[1:])
    if key.key_id != key_id:
        raise InvalidNote(f"the id of the key of {name!a} is not that of its name and bytes")
    return key


def parse_signer(text: str) -> SignerKey:
    """Read `PRIVATE+KEY+name+id+key`; raises `InvalidNote`, which never holds the key."""
    if not text.startswith(_PRIVATE):
        raise InvalidNote("not a private key of a signed note")
    name, key_id, data = _key_parts(text.removeprefix(_PRIVATE))
    if len(data) != 33 or data[0] != ED25519:
        raise InvalidNote(f"the private key of {name!a} is not an Ed25519 key")
    return SignerKey(name, key_id, data[1:])


def _key_parts(text: str) -> tuple[str, bytes, bytes]:
    name, plus, rest = text.partition("+")
    digits, second, encoded = rest.partition("+")
    if not plus or not second or not re.fullmatch("[0-9a-f]{8}", digits):
        raise InvalidNote("not a key: name+8 hex digits+base64")
    _check_name(name)
    try:
        return name, bytes.fromhex(digits), base64text.decode(encoded)
    except ValueError as exc:
        raise InvalidNote(f"the key of {name!a} is {exc}") from None


def _decoded(data: str | bytes) -> str:
    try:
        text = data.decode() if isinstance(data, bytes) else data
        size = len(data) if isinstance(data, bytes) else len(data.encode())
    except UnicodeError:
        raise InvalidNote("the note is not UTF-8") from None
    if size > MOST_BYTES:
        raise InvalidNote(f"the note is longer than {MOST_BYTES} bytes")
    return text


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise InvalidNote("the text does not end in a newline")
    if any(char < " " and char != "\n" for char in text):
        raise InvalidNote("the text has a control character")


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise InvalidNote(f"not the name of a key: {name[:100]!a}")
