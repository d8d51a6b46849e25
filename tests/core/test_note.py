"""Signed notes, their keys and signatures: published ones, one's own, and everything near them."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_ledger.core import note as notes
from nucleus_ledger.core import signing
from nucleus_ledger.core.note import COSIGNATURE, ED25519, Note, Signature, SignerKey, VerifierKey
from nucleus_ledger.errors import InvalidNote

# The key and the note of the example in Go's package note.
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)
NOTE = f"{TEXT}\n{LINE}"
# The example of the specification.
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ON"
    "ncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
OTHER_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"


def verified(note: str | bytes, *vkeys: str) -> list[str]:
    found = signing.verify(notes.parse(note), map(notes.parse_vkey, vkeys))
    return [each.key.name for each in found]


def test_published_notes_verify() -> None:
    assert verified(NOTE, VKEY) == ["PeterNeumann"]
    assert verified(NOTE.encode(), VKEY) == ["PeterNeumann"]
    assert verified(EXAMPLE, EXAMPLE_VKEY) == ["example.com/foo"]
    assert verified(NOTE, OTHER_VKEY, VKEY) == ["PeterNeumann"]


def test_signing_gives_the_published_bytes() -> None:
    assert str(signing.sign(TEXT, [notes.parse_signer(SKEY)])) == NOTE


def test_texts_are_read_and_written_alike() -> None:
    assert str(notes.parse(NOTE)) == NOTE
    assert str(notes.parse_vkey(VKEY)) == VKEY
    assert str(notes.parse_signer(SKEY)) == SKEY
    assert str(signing.verifier_of(notes.parse_signer(SKEY))) == VKEY


def test_a_private_key_does_not_show_itself() -> None:
    key = notes.parse_signer(SKEY)
    assert SKEY[-20:] not in repr(key)
    assert key.seed.hex() not in repr(key)
    with pytest.raises(InvalidNote) as caught:
        notes.parse_signer(SKEY[:-1])
    assert SKEY[-20:-1] not in str(caught.value)


@pytest.mark.parametrize(
    ("note", "complaint"),
    [
        (TEXT, "no signatures"),
        (f"{TEXT}\n", "no signatures"),
        (NOTE[:-1], "newline"),
        (f"\x01{NOTE}", "control character"),
        (f"a\tb\n{NOTE}", "control character"),
        (f"a\r\n{NOTE}", "control character"),
        (NOTE.replace("PeterNeumann", "Bad Name"), "not a line of a signature"),
        (NOTE.replace("PeterNeumann", "Bad\u00a0Name"), "not the name of a key"),
        (NOTE.replace("PeterNeumann", "a+b"), "not the name of a key"),
        (NOTE + "Unexpected line.\n", "not a line of a signature"),
        (NOTE.replace("— ", "- "), "not a line of a signature"),
        (NOTE.replace("— ", "—  "), "not a line of a signature"),
        (NOTE.replace("JnAM=", "JnAN="), "not the one form"),
        (NOTE.replace("x08go/", "x08g*/"), "not a line of a signature"),
        (f"{TEXT}\n— PeterNeumann x08go\n", "not base64"),
        (f"{TEXT}\n— PeterNeumann x08gow==\n", "too short"),
        (f"{TEXT}\n{LINE * 101}", "more than 100"),
        (f"{'x' * 1_000_000}\n{NOTE}", "longer than"),
        (b"\xff" + NOTE.encode(), "not UTF-8"),
        ("\ud800" + NOTE, "not UTF-8"),
        ("", "no signatures"),
    ],
)
def test_what_is_no_note_is_refused(note: str | bytes, complaint: str) -> None:
    with pytest.raises(InvalidNote, match=complaint):
        notes.parse(note)


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\x0b"])
def test_only_a_newline_ends_a_line(end: str) -> None:
    """`str.splitlines` would take these for newlines."""
    text = f"one{end}two\n"
    if end < " ":
        with pytest.raises(InvalidNote):
            signing.sign(text, [notes.parse_signer(SKEY)])
    else:
        assert verified(str(signing.sign(text, [notes.parse_signer(SKEY)])), VKEY)


def test_the_last_blank_line_ends_the_text() -> None:
    text = "one\n\n— PeterNeumann x08gowAA\n\ntwo\n"
    note = signing.sign(text, [notes.parse_signer(SKEY)])
    assert notes.parse(str(note)) == note
    assert notes.parse(str(note)).text == text


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("answer", "bnswer"),
        NOTE.replace("x08go/Z", "x08go/a"),
        NOTE + LINE.replace("x08go/Z", "x08go/a"),  # one good, and one that is not
        f"{TEXT}\n— PeterNeumann {base64.b64encode(bytes.fromhex('c74f20a3') + b'x').decode()}\n",
    ],
)
def test_a_known_key_whose_signature_does_not_hold_refuses_the_note(note: str) -> None:
    with pytest.raises(InvalidNote, match="does not hold"):
        verified(note, VKEY)


def test_some_known_key_must_have_signed() -> None:
    with pytest.raises(InvalidNote, match="no signature is of a known key"):
        verified(NOTE, EXAMPLE_VKEY)
    with pytest.raises(InvalidNote, match="no signature is of a known key"):
        verified(NOTE)


def test_every_change_of_a_byte_and_every_cut_is_refused() -> None:
    data = NOTE.encode()
    for place in range(len(data)):
        for other in (data[place] ^ 1, data[place] ^ 0x20):
            changed = data[:place] + bytes([other]) + data[place + 1 :]
            with pytest.raises(InvalidNote):
                verified(changed, VKEY)
        with pytest.raises(InvalidNote):
            verified(data[:place], VKEY)


@pytest.mark.parametrize(
    ("vkey", "complaint"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "."),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "not an Ed25519"),
        (VKEY.replace("c74f20a3", "c74f20a4"), "not that of its name"),
        (VKEY.replace("Peter", "Paul"), "not that of its name"),
        (VKEY.replace("c74f20a3", "C74F20A3"), "not a key"),
        (VKEY + "=", "base64"),
        ("PeterNeumann", "not a key"),
        ("+c74f20a3+AR", "not the name"),
        ("", "not a key"),
    ],
)
def test_what_is_no_key_is_refused(vkey: str, complaint: str) -> None:
    with pytest.raises(InvalidNote, match=complaint):
        notes.parse_vkey(vkey)


def order_of(y: int, sign: int) -> int:
    """The order of a point of the curve, if that is 8 at most: by adding it to itself."""
    prime = (1 << 255) - 19
    d = -121665 * pow(121666, -1, prime) % prime
    u, v = (y * y - 1) % prime, (d * y * y + 1) % prime
    x = u * v**3 * pow(u * pow(v, 7, prime), (prime - 5) // 8, prime) % prime
    if (v * x * x - u) % prime:
        x = x * pow(2, (prime - 1) // 4, prime) % prime
    assert (v * x * x - u) % prime == 0
    if x % 2 != sign:
        x = -x % prime
    point, times = (x, y), 1
    while point != (0, 1):
        (a, b), times = point, times + 1
        product = d * a * x * b * y
        point = (
            (a * y + b * x) * pow(1 + product, -1, prime) % prime,
            (b * y + a * x) * pow(1 - product, -1, prime) % prime,
        )
        assert times <= 8
    return times


def test_keys_of_small_order_are_refused() -> None:
    orders = set()
    for y in signing._SMALL_ORDER:
        for sign in (0, 1):
            orders.add(order_of(y, sign))
            public = (y | sign << 255).to_bytes(32, "little")
            with pytest.raises(InvalidNote, match="small order"):
                signing.check_public(VerifierKey("x", ED25519, public))
    assert orders == {1, 2, 4, 8}
    assert len(signing._SMALL_ORDER) == 5  # with the sign of x these are all eight points


@pytest.mark.parametrize("y", [(1 << 255) - 19 + extra for extra in (0, 1, 3, 18)])
def test_keys_that_are_not_canonical_are_refused(y: int) -> None:
    for sign in (0, 1):
        key = VerifierKey("x", ED25519, (y | sign << 255).to_bytes(32, "little"))
        note = Note("x\n", (Signature("x", key.key_id, bytes(64)),))
        with pytest.raises(InvalidNote, match="not in its canonical form"):
            signing.verify(note, [key])


def test_a_small_order_key_would_verify_what_nobody_signed() -> None:
    """Why such keys are refused: with the identity as key, all-zero proof of anything."""
    key = VerifierKey("x", ED25519, (1).to_bytes(32, "little"))
    signature = (1).to_bytes(32, "little") + bytes(32)
    with pytest.raises(InvalidNote, match="small order"):
        signing.verify(Note("any\n", (Signature("x", key.key_id, signature),)), [key])


def test_cosignatures() -> None:
    signer, _verifier = signing.generate("witness.example/w1")
    witness = replace(signing.verifier_of(signer), kind=COSIGNATURE)
    log, log_key = signing.generate("example.com/log")
    note = signing.sign("example.com/log\n1\nabc\n", [log])
    cosigned = replace(
        note, signatures=(*note.signatures, signing.cosign(note, signer, 1_700_000_000))
    )
    again = notes.parse(str(cosigned))
    assert len(again.signatures[1].data) == 72
    found = signing.verify(again, [log_key, notes.parse_vkey(str(witness))])
    assert [(each.key.name, each.time) for each in found] == [
        ("example.com/log", None),
        ("witness.example/w1", 1_700_000_000),
    ]
    later = replace(again.signatures[1], data=b"\0" * 8 + again.signatures[1].data[8:])
    with pytest.raises(InvalidNote, match="does not hold"):
        signing.verify(Note(again.text, (later,)), [witness])
    with pytest.raises(InvalidNote, match="does not hold"):
        signing.verify(Note(again.text, (replace(later, data=b"short"),)), [witness])


def test_a_signer_whose_id_is_anothers_does_not_sign() -> None:
    key = notes.parse_signer(SKEY)
    with pytest.raises(InvalidNote, match="not that of its bytes"):
        signing.sign(TEXT, [SignerKey(key.name, b"\0\0\0\0", key.seed)])


@given(st.text(max_size=40), st.integers(1, 3))
def test_what_was_written_is_read_again(text: str, count: int) -> None:
    signatures = tuple(Signature(f"key-{n}", bytes([n] * 4), b"x" * n) for n in range(1, count + 1))
    note = Note(f"{text}\n", signatures)
    try:
        written = str(note)
        written.encode()
    except (InvalidNote, UnicodeEncodeError):
        assert any(char < " " and char != "\n" for char in text) or not text.isprintable()
        return
    assert notes.parse(written) == note
