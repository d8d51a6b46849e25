"""Asks witnesses over HTTP to cosign a checkpoint (C2SP tlog-witness, tlog-cosignature)."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from nucleus_ledger.core import base64text, signing
from nucleus_ledger.core.note import COSIGNATURE, Note, Signature, VerifierKey
from nucleus_ledger.core.witness import SIZE_TYPE, format_request, parse_response
from nucleus_ledger.errors import InvalidNote, WitnessRefused
from nucleus_ledger.evidence.memory import Remembered

_SECONDS = 30
_MOST_BYTES = 100_000
_MEANINGS = {
    400: "the request is malformed",
    403: "it knows none of the keys that signed",
    404: "it does not know this log",
    409: "it has another size",
    422: "the proof does not lead from what it has to this checkpoint",
}

Prove = Callable[[int], list[bytes]]


class _Conflict(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def ask(
    url: str, signed: Note, prove: Prove, keys: Sequence[VerifierKey], before: Remembered | None
) -> list[Signature]:
    """Return the cosignatures of a witness, each checked against `keys`.

    `prove` returns the consistency proof from an older size. A witness that is at another size than
    the checkpoint before says at which, and is asked once more from there; one that is ahead of the
    checkpoint has seen another log, or a newer one. Raises `WitnessRefused`.
    """
    size = int(signed.text.split("\n")[1])
    old = before.size if before else 0
    try:
        body = _post(url, format_request(old, prove(old), signed))
    except _Conflict as conflict:
        if not 0 <= conflict.size <= size or conflict.size == old:
            raise WitnessRefused(
                f"409: it is at size {conflict.size}, and this checkpoint is of size {size}"
            ) from None
        try:
            body = _post(url, format_request(conflict.size, prove(conflict.size), signed))
        except _Conflict as again:
            raise WitnessRefused(f"409: it is at size {again.size} now") from None
    return _checked(signed, body, keys)


def _post(url: str, body: str) -> str:
    request = urllib.request.Request(
        f"{url.rstrip('/')}/add-checkpoint", body.encode(), {"Content-Type": "text/plain"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:
            data: bytes = response.read(_MOST_BYTES)
    except urllib.error.HTTPError as exc:
        with exc:
            text = exc.read(_MOST_BYTES).decode(errors="replace").strip()
            kind = exc.headers.get_content_type()
        if exc.code == 409 and kind == SIZE_TYPE:
            try:
                raise _Conflict(base64text.decimal(text)) from None
            except ValueError:
                pass
        meaning = _MEANINGS.get(exc.code, "it refused")
        raise WitnessRefused(f"{exc.code}: {meaning}: {text[:200]!a}") from None
    except (OSError, ValueError) as exc:
        raise WitnessRefused(f"cannot be reached: {exc}") from exc
    return data.decode(errors="replace")


def _checked(signed: Note, body: str, keys: Sequence[VerifierKey]) -> list[Signature]:
    try:
        found = parse_response(body)
        known = [key for key in keys if key.kind == COSIGNATURE]
        verified = signing.verify(Note(signed.text, tuple(found)), known)
    except InvalidNote as exc:
        raise WitnessRefused(f"its answer does not hold: {exc}") from exc
    good = {(each.key.name, each.key.key_id) for each in verified}
    return [each for each in found if (each.name, each.key_id) in good]
