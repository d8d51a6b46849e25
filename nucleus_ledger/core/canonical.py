"""Canonical JSON (RFC 8785, JCS): what may go in, the one text for it, and what comes back.

rfc8785 is the judge. orjson carries the documents for which it provably writes the same bytes.
"""

from __future__ import annotations

import json
import marshal
import math
import re
import secrets
import string
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NoReturn

import rfc8785

from nucleus_ledger.core.plain import MAX_SAFE_INTEGER, Convert, JSONValue, plain
from nucleus_ledger.errors import Deserialization, Serialization

try:
    import orjson
except ImportError:  # an offline verifier needs no more than rfc8785
    orjson = None  # type: ignore[assignment]

# Stands between documents that are read together. Nobody can have put it into one of them.
_SEPARATOR = "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))
_BETWEEN = f',"{_SEPARATOR}",'
# Numbers that orjson may write otherwise than ECMAScript does (RFC 8785 section 3.2.2.3): with an
# exponent, a fraction of zero, a tiny value, or more digits than are exact. They are looked for in
# the shape of a text: every digit a 0, every bracket, comma or sign a colon.
_SHAPE = bytes.maketrans(b"123456789,[]{}-+", b"000000000:::::::")
_EXPONENT = re.compile(rb":0+(?:\.0+)?e")
_LONG_NUMBER = b":" + 16 * b"0"
_ZERO_FRACTION = re.compile(rb"([0-9])\.0(?=[,}\]])")
_ODD_FRACTION = re.compile(rb"\.0(?:[,}\]]|0000)")
_ORJSON_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    if orjson is not None
    else 0
)
# Keys are sorted by UTF-16 code units (section 3.2.3); bytes of UTF-8 sort the same way unless a
# character beyond U+FFFF is there.
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = 16 * b"0"
# A number of a jsonb's print: after a space or a bracket, all digits there, no exponent. One of
# less than 16 characters is exact in a float, and a float's shortest form (RFC 8785) has its value.
_PRINTED = bytes.maketrans(b"123456789.[ -", b"0000000000:::")
_LONG_PRINTED = re.compile(r"[ \[](-?[0-9.]{16,})(?=[,}\]])")


def text_of(
    value: object, *, path: str = "payload", max_depth: int = 64, convert: Convert | None = None
) -> str:
    """Return `dumps(plain(value, …))`, in one step where orjson provably writes that."""
    data = _fast_text(value)
    if data is not None and _is_shallow(data, max_depth):
        return data.decode()
    return dumps(plain(value, path=path, max_depth=max_depth, convert=convert))


def texts_of(values: Sequence[object], *, max_depth: int = 64) -> list[str] | None:
    """Return `text_of` each value, printed in one go; None where `text_of` is to be asked."""
    if not values:
        return []
    between: list[object] = [_SEPARATOR] * (2 * len(values) - 1)
    between[::2] = values
    data = _fast_text(between)
    if data is None:
        return None
    texts = data[1:-1].split(_BETWEEN.encode())
    if not all(_is_shallow(text, max_depth) for text in texts):
        return None
    return [text.decode() for text in texts]


def quote(text: str) -> str:
    """Return the RFC 8785 text of a string (section 3.2.2.2)."""
    return dumps(text) if orjson is None else orjson.dumps(text).decode()


def dumps(value: JSONValue) -> str:
    """Return the RFC 8785 text of a plain value; raises `Serialization` if it has none."""
    text = _fast_dumps(value)
    return _rfc8785(value).decode() if text is None else text.decode()


def escape_each(values: Sequence[Any]) -> Sequence[str] | None:
    """Return what RFC 8785 writes between the quotes of each string (section 3.2.2.2).

    None if one of them is no string, or has no form.
    """
    if set(map(type, values)) != {str}:
        return None
    try:
        # Escaping only ever adds characters: the same text means that nothing was escaped.
        if orjson is not None and orjson.dumps(values).decode() == '["' + '","'.join(values) + '"]':
            return values
        return [dumps(value)[1:-1] for value in values]
    except (Serialization, TypeError):
        return None


def reprint_each(texts: Sequence[Any], *, jsonb: bool = False) -> Sequence[str] | None:
    """Return the RFC 8785 form of each JSON text; None if one is no JSON text, or has no form.

    With `jsonb` the texts are prints of a jsonb, and None too if a number of one has not exactly
    the value of its RFC 8785 form. Without it, what is returned is equal where all are in form.
    """
    try:
        joined = f"[{_BETWEEN.join(texts)}]"
        if jsonb and not _holds_exact_numbers(joined):
            return None
        if orjson is not None:
            values = orjson.loads(joined)
            if _are_apart(values, len(texts)):
                # No NaN comes out of a text, so what orjson writes as null was null.
                data = orjson.dumps(values, option=_ORJSON_OPTIONS)
                if _writes_alike(data):
                    printed = data.decode()
                    return texts if printed == joined else printed[1:-1].split(_BETWEEN)
        return [dumps(loads(text)) for text in texts]
    except (Serialization, Deserialization, ValueError, TypeError):
        return None


def loads(text: str | bytes) -> JSONValue:
    """Return the value of a JSON text, the same on every road: the ledger's one decoder.

    JSON has one number type, so an integer beyond ±(2^53-1) comes back as a float. Raises
    `Deserialization` for what is no JSON, and for NaN, infinities and lone surrogates.
    """
    if orjson is not None:
        try:
            data = text.encode() if isinstance(text, str) else text
            if not _holds(data.translate(_DIGITS), _LONG_INTEGER):
                return orjson.loads(data)
        except ValueError:
            pass  # too deep for it, or a lone surrogate: the other road has the final word
    return _loads_with_json(text)


def loads_exactly(text: str) -> JSONValue:
    """Return `loads`, but a Decimal, which is `same` as nothing, for a number that it would round.

    Not rounded is a number that has the value of its RFC 8785 form, as `0.10` has and
    `0.1000000000000000001` has not.
    """
    return _loads_with_json(text, exactly=True)


def loads_each(texts: Sequence[str]) -> list[JSONValue]:
    """Return `loads` of each text, read in one go where that is the same."""
    if orjson is not None and len(texts) > 1:
        try:
            data = f"[{_BETWEEN.join(texts)}]".encode()
            if not _holds(data.translate(_DIGITS), _LONG_INTEGER):
                values: list[JSONValue] = orjson.loads(data)
                if _are_apart(values, len(texts)):
                    return values[::2]
        except ValueError:
            pass  # the other road says of which text
    return list(map(loads, texts))


def same(a: JSONValue, b: JSONValue) -> bool:
    """Whether two values are the same JSON: numbers by value; true is not 1, null is not 0."""
    pairs = [(a, b)]  # a stack of its own: `loads` accepts more depth than Python may have left
    while pairs:
        a, b = pairs.pop()
        kind, other = type(a), type(b)
        if kind is not other:
            if {kind, other} != {int, float} or a != b:
                return False
        elif kind is dict:
            if a.keys() != b.keys():
                return False
            pairs.extend((value, b[key]) for key, value in a.items())
        elif kind is list:
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def is_canonical(text: str | bytes, value: JSONValue, *, deep: bool = False) -> bool:
    """Whether `text` is the RFC 8785 form of `value`; requires value == loads(text).

    `deep` asks rfc8785 also where the fast serializer provably writes the same.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        fast = None if deep else _fast_dumps(value)
        return data == (_rfc8785(value) if fast is None else fast)
    except Serialization:
        return False


def _are_apart(values: Sequence[JSONValue], count: int) -> bool:
    """Whether texts that were read together are one value each.

    They are where all separators come back in their places, since no text can have one in it.
    """
    return len(values) == 2 * count - 1 and set(values[1::2]) <= {_SEPARATOR}


def _fast_dumps(value: JSONValue) -> bytes | None:
    """Return orjson's bytes where they are those of RFC 8785, otherwise None."""
    data = _orjson_dumps(value)
    if data is None or not _writes_alike(data):
        return None
    # It writes NaN and infinities as null, where the judge refuses them.
    return None if _holds(data, b"null") and not _is_finite(value) else data


def _orjson_dumps(value: Any) -> bytes | None:
    """Return orjson's bytes of a value made of Python's own types alone, or None.

    orjson converts types that have no rule here, and writes a Fragment as it is, valid or not.
    Its options pass subclasses through to an error, but not Fragment, Enum and UUID. marshal
    looks at every value and key, and refuses all that are not exactly of a built-in type, at
    C's speed. What both take is dict, list, tuple, str, int, float, bool and None.
    """
    if orjson is None:
        return None
    try:
        data = orjson.dumps(value, option=_ORJSON_OPTIONS)
        marshal.dumps(value)
    except (orjson.JSONEncodeError, ValueError):
        return None
    return data


def _fast_text(value: object) -> bytes | None:
    """Return orjson's bytes of a value that has not been through `plain`, or None.

    Of the types that get through here only tuples need converting, which orjson does as `plain`
    does. How deep the value is nested is not looked at.
    """
    data = _orjson_dumps(value)
    if data is None:
        return None
    if 0x2E in data and _holds(data, b".0"):
        data = _without_zero_fractions(data)
    if 0x5C in data and _holds(data, b"\\u0000"):  # `plain` refuses U+0000
        return None
    if not _writes_alike(data):
        return None
    return None if _holds(data, b"null") and not _is_finite(value) else data


def _without_zero_fractions(data: bytes) -> bytes:
    """Write whole floats as RFC 8785 does, which they are: 12.0 is 12."""
    if _holds(data, b"-0.0"):
        return data
    whole = _ZERO_FRACTION.sub(rb"\1", data)
    # It may have met with something that looks like a number inside a string.
    return whole if orjson.loads(whole) == orjson.loads(data) else data


def _is_shallow(data: bytes, max_depth: int) -> bool:
    """Whether a text cannot be nested deeper than that; brackets inside strings count too."""
    return data.count(b"{") + data.count(b"[") <= max_depth


def _writes_alike(data: bytes) -> bool:
    """Whether what orjson wrote is provably what RFC 8785 writes; NaN and infinities apart."""
    if data[0] not in b'{["':
        return False
    shape = data.translate(_SHAPE)
    if _holds(shape, _LONG_NUMBER) or (_holds(shape, b"0e") and _EXPONENT.search(shape)):
        return False
    if 0x2E in data and _holds(data, b".0") and _ODD_FRACTION.search(data):
        return False
    return data.isascii() or not _ASTRAL.search(data)


def _holds(data: bytes, part: bytes) -> bool:
    """Whether bytes hold others: what `in` says, which first tries whether `part` is a number.

    One byte, given as a number to `in`, is found faster still.
    """
    return data.find(part) >= 0


def _is_finite(value: Any) -> bool:
    """Whether no number in a value is NaN or infinite; False too where that is not known."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        return all(map(_is_finite, value.values()))
    if kind is list or kind is tuple:
        return all(map(_is_finite, value))
    return kind is str or kind is int or kind is bool or value is None


def _rfc8785(value: JSONValue) -> bytes:
    try:
        return rfc8785.dumps(value)
    # A lone surrogate in a key and deep nesting leave rfc8785 0.1.4 under foreign names.
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as exc:
        raise Serialization(f"no canonical form: {type(exc).__name__}: {exc}") from exc


def _holds_exact_numbers(printed: str) -> bool:
    """Whether every number in a print of jsonb has exactly the value of its RFC 8785 form.

    What looks like a number inside a string is judged as one: False may say too little.
    """
    if not _holds(printed.encode().translate(_PRINTED), _LONG_NUMBER):
        return True
    numbers = _LONG_PRINTED.findall(printed)
    together = f"[{','.join(numbers)}]"
    # As appends have written them, nearly always: what comes out as it went in needs no Decimal.
    if orjson is not None:
        data = orjson.dumps(orjson.loads(together))
        if data.decode() == together and _writes_alike(data):
            return True
    return all(map(_is_exact, numbers))


def _is_exact(token: str) -> bool:
    return Decimal(token) == Decimal(repr(float(token)))


def _loads_with_json(text: str | bytes, *, exactly: bool = False) -> JSONValue:
    try:
        if isinstance(text, bytes):
            text = text.decode()
        if "\\u" in text or not text.isascii():
            text.encode()
        value = json.loads(
            text,
            parse_int=_exact_integer if exactly else _integer,
            parse_float=_exact_float if exactly else _float,
            parse_constant=_no_constant,
        )
        if "\\u" in text:
            _refuse_surrogates(value)
        return value
    except (ValueError, RecursionError) as exc:
        reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise Deserialization(reason) from exc


def _integer(token: str) -> int | float:
    if len(token) > 17 or not -MAX_SAFE_INTEGER <= int(token) <= MAX_SAFE_INTEGER:
        return _float(token)
    return int(token)


def _float(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError(f"the number {token[:40]} is too large")
    return value


def _exact_integer(token: str) -> int | float | Decimal:
    value = _integer(token)
    return value if type(value) is int or _is_exact(token) else Decimal(token)


def _exact_float(token: str) -> float | Decimal:
    value = _float(token)
    return value if _is_exact(token) else Decimal(token)


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON")


def _refuse_surrogates(value: JSONValue) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _refuse_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)
