"""What a checkpoint commits to: the heads of all streams, and the manifest over them, as texts.

    stream head = RFC 8785 text of {"schema": "nucleus-ledger/stream-head/v1", "ledger", "stream",
                  "length", "head_hash", "root", "timestamp"}
    manifest    = RFC 8785 text of {"schema": "nucleus-ledger/manifest/v1", "ledger", "number",
                  "created_at", "streams", "streams_root", "removed", "restored"}

Parsers are exact inverses: a text counts only if writing what it says gives the same text again.
A later format gets a new tag in `schema`; what these two say never changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from nucleus_ledger.core import canonical
from nucleus_ledger.core.merkle import EMPTY_ROOT, CompactRange, fold, leaf_hash, root_of
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.record import is_label
from nucleus_ledger.errors import Deserialization, InvalidProof

STREAM_HEAD_SCHEMA = "nucleus-ledger/stream-head/v1"
MANIFEST_SCHEMA = "nucleus-ledger/manifest/v1"
_HASH = re.compile("[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_CHUNK = 256
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class StreamHead:
    """A stream at one length: its last entry's hash and time, and the root over all its entries.

    `root` is the RFC 6962 root whose leaves are the entries' hashes (32 bytes each), in hex digits.
    An empty stream has no `head_hash` and no `timestamp`, and the root of the empty tree.
    """

    ledger: str
    stream: str
    length: int
    head_hash: str | None
    root: str
    timestamp: int | None

    def __str__(self) -> str:
        return canonical.dumps({"schema": STREAM_HEAD_SCHEMA, **asdict(self)})

    @property
    def key(self) -> bytes:
        """What heads are ordered by below `streams_root`: the SHA-256 of the stream's name."""
        return key_of(self.stream)

    @property
    def leaf(self) -> bytes:
        return leaf_hash(str(self).encode())


@dataclass(frozen=True, slots=True)
class Removed:
    """A stream that the ledger before had at that length, and that an owner says is gone."""

    stream: str
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A stream that an owner put back: of `length` entries only `kept` are known to be the same."""

    stream: str
    length: int
    kept: int
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All streams of a ledger at one moment. `number` counts from 0, without gaps.

    `created_at` is a time in UTC with milliseconds (RFC 3339), read before the heads were;
    `streams` is how many heads stand below `streams_root`.
    """

    ledger: str
    number: int
    created_at: str
    streams: int
    streams_root: str
    removed: tuple[Removed, ...] = ()
    restored: tuple[Restored, ...] = ()

    def __str__(self) -> str:
        return canonical.dumps(
            {
                "schema": MANIFEST_SCHEMA,
                "ledger": self.ledger,
                "number": self.number,
                "created_at": self.created_at,
                "streams": self.streams,
                "streams_root": self.streams_root,
                "removed": [asdict(each) for each in self.removed],
                "restored": [asdict(each) for each in self.restored],
            }
        )

    @property
    def leaf(self) -> bytes:
        return leaf_hash(str(self).encode())

    @property
    def milliseconds(self) -> int:
        """`created_at` as a timestamp of the ledger."""
        return (datetime.fromisoformat(self.created_at) - _EPOCH) // timedelta(milliseconds=1)


def key_of(stream: str) -> bytes:
    return sha256(stream.encode()).digest()


def time_text(moment: datetime) -> str:
    """Return a moment as `created_at` says it; requires one with an offset."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of_milliseconds(milliseconds: int) -> str:
    """Return a timestamp of the ledger as `created_at` says times; requires a year up to 9999."""
    return time_text(_EPOCH + timedelta(milliseconds=milliseconds))


def parse_stream_head(text: str) -> StreamHead:
    """Read the text of a stream head; raises `InvalidProof`."""
    said = _object(text, STREAM_HEAD_SCHEMA)
    try:
        head = StreamHead(**said)
    except TypeError:
        raise InvalidProof("a stream head has other members than it should") from None
    empty = head.length == 0
    good = (
        is_label(head.ledger)
        and is_label(head.stream)
        and _is_count(head.length)
        and _is_hash(head.root)
        and (head.head_hash is None if empty else _is_hash(head.head_hash))
        and (head.timestamp is None if empty else _is_count(head.timestamp))
        and (not empty or head.root == EMPTY_ROOT.hex())
    )
    _check_form(head, text, good, "a stream head")
    return head


def parse_manifest(text: str) -> Manifest:
    """Read the text of a manifest; raises `InvalidProof`."""
    said = _object(text, MANIFEST_SCHEMA)
    try:
        said["removed"] = tuple(Removed(**each) for each in said["removed"])
        said["restored"] = tuple(Restored(**each) for each in said["restored"])
        manifest = Manifest(**said)
    except (TypeError, KeyError):
        raise InvalidProof("a manifest has other members than it should") from None
    good = (
        is_label(manifest.ledger)
        and _is_count(manifest.number)
        and _is_count(manifest.streams)
        and _is_hash(manifest.streams_root)
        and _is_time(manifest.created_at)
        and all(map(_is_exception, manifest.removed))
        and all(map(_is_exception, manifest.restored))
        and all(_is_count(each.kept) and each.kept <= each.length for each in manifest.restored)
    )
    _check_form(manifest, text, good, "a manifest")
    return manifest


class StreamsTree:
    """The tree over stream heads, ascending by the SHA-256 of the name.

    Holds a hash for each stream. A root costs what changed since the last one, by 256 heads.
    """

    def __init__(self) -> None:
        self._leaves: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._chunks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: bytes, leaf: bytes) -> None:
        """Put the head of a stream into its place, or another one in its stead."""
        place = bisect_left(self._keys, key)
        if key in self._leaves:
            self._chunks.pop(place // _CHUNK, None)
        else:
            insort(self._keys, key)
            self._forget(place)
        self._leaves[key] = leaf

    def remove(self, key: bytes) -> None:
        place = self.index(key)
        del self._keys[place], self._leaves[key]
        self._forget(place)

    def index(self, key: bytes) -> int:
        """Return the place of a stream among the leaves; requires that it is there."""
        return bisect_left(self._keys, key)

    def leaves(self, low: int, high: int) -> list[bytes]:
        return [self._leaves[key] for key in self._keys[low:high]]

    def root(self) -> bytes:
        whole = CompactRange()
        full = len(self._keys) // _CHUNK
        for number in range(full):
            if number not in self._chunks:
                start = number * _CHUNK
                self._chunks[number] = root_of(self.leaves(start, start + _CHUNK))
            whole.append(self._chunks[number])
        rest = CompactRange()
        for leaf in self.leaves(full * _CHUNK, len(self._keys)):
            rest.append(leaf)
        # Both are perfect subtrees, the largest first: together they are those of all leaves.
        hashes = [*whole.hashes, *rest.hashes]
        return fold(hashes) if hashes else EMPTY_ROOT

    def _forget(self, place: int) -> None:
        """Drop what was reckoned of the chunks from a place on, where everything moved."""
        first = place // _CHUNK
        self._chunks = {number: root for number, root in self._chunks.items() if number < first}


def _object(text: str, schema: str) -> dict[str, Any]:
    try:
        said = canonical.loads(text)
    except Deserialization as exc:
        raise InvalidProof(f"not JSON: {exc}") from None
    if not isinstance(said, dict) or said.pop("schema", None) != schema:
        raise InvalidProof(f"not a document of {schema}")
    return said


def _check_form(found: object, text: str, good: bool, what: str) -> None:
    if not good:
        raise InvalidProof(f"{what} has a value of another kind or out of range: {text[:200]!a}")
    if str(found) != text:
        raise InvalidProof(f"{what} is not written in its one form: {text[:200]!a}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SAFE_INTEGER


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not value.isascii() or not _TIME.fullmatch(value):
        return False
    try:
        return datetime.fromisoformat(value) >= _EPOCH
    except ValueError:
        return False


def _is_exception(each: Removed | Restored) -> bool:
    return is_label(each.stream) and _is_count(each.length) and type(each.reason) is str
