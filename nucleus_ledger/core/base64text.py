"""Base64 as it may stand in signed texts: one way to write each value, and no other."""

from __future__ import annotations

import base64
import binascii


def encode(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes:
    """Return what a text says; raises `ValueError` unless `encode` gives the same text again."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if encode(data) != text:
        raise ValueError("not the one form of its base64")
    return data


def decimal(text: str) -> int:
    """Return a number >= 0 below 2^63 in ASCII digits without leading zeros; else `ValueError`."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise ValueError("not a decimal number without leading zeros")
    if len(text) > 19 or (number := int(text)) >= 1 << 63:
        raise ValueError("a number of 2^63 or more")
    return number
