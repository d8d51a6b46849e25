"""Random tampering by somebody who writes the database, knows the format and has the code.

Raw SQL through the plain drivers. A `Random` makes every choice, so that a seed tells the whole
case; rows are addressed by their place in the table. What the database refuses is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from nucleus_ledger import guards
from tests.oracle import jcs
from tests.oracle.ledgers import COPIES, FORMER, LEDGER, OPINIONS, SCARRED, Subject

Document = dict[str, Any]
Row = dict[str, Any]
HISTORY = ("entry", "stream")
_JSON = {
    "payload", "meta", "scope", "warnings", "fields", "expected", "actual", "undelivered"
}  # fmt: skip
_TIMES = {"started_at", "finished_at", "lease_until", "verified_at", "full_at"}
_WORDS = [
    "intact", "tampered", "acknowledged", "intact_since", "running", "unknown", "full",
    "incremental", "startup", "command", "admin", "api", "chain", "checkpoint", "witnessed",
    "head_mismatch", "steps:x", "startup", LEDGER, FORMER, "payments", "nucleus.checkpoints",
]  # fmt: skip
_TEXTS = ["", " ", "x", "null", "0", "a\tb", "ü", "\u202e", "x" * 300, "a\x85b", "payments-1", "{}"]
_NUMBERS = [0, 1, -1, 2, 7, 279, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 4102444800000]
_DEEP = "[" * 980 + "]" * 980
_DOCUMENTS = [
    "null", " null", "{}", "[]", '{"n":1}', '{"n": 1}', '"text"', "0", "true", "", "{",
    '{"amount":1,"amount":100}', '{"n":0.0,"amount":1e2}', '{"n":100.00000000000000001}',
    '{"n":9007199254740993}', '["\\ud800"]', '{"a":"\\u0000"}', "NaN", "1e400", _DEEP,
    '{"type":"findings_acknowledged","stream":[1],"length":"x"}',
]  # fmt: skip
_MOMENTS = ["2100-01-01 00:00:00+00:00", "1970-01-01 00:00:00+00:00", "2026-11-20 12:00:00+00:00"]


class Refused(Exception):
    """What the database, or the state it is in, does not admit."""


class Tampering:
    """One go at a database: the guards are taken away, and stand again when it is done.

    `bare`: constraints are taken away too, and not all of them can stand again.
    """

    def __init__(self, subject: Subject, random: Random, *, bare: bool) -> None:
        self.subject, self.random, self.bare = subject, random, bare
        self.sqlite = subject.kind == "sqlite"
        self.connection = subject.open()
        self.address = "rowid" if self.sqlite else "ctid"
        self.done: list[str] = []

    def run(self, most: int = 3) -> list[str]:
        """Tamper in one to `most` ways, and return what was done."""
        for statement in guards.undo_statements(self.subject.kind):
            self.sql(statement)
        schema = self._lower()
        for _ in range(self.random.randint(1, most)):
            self.once(self.random.choices(WAYS, WEIGHTS)[0])
        self._raise(schema)
        for statement in guards.statements(self.subject.kind):
            self.sql(statement)
        self.connection.close()
        return self.done

    def once(self, way: Callable[[Tampering], str]) -> None:
        try:
            self.done.append(f"{way.__name__}: {way(self)}")
        except Refused as exc:
            self.done.append(f"{way.__name__} refused: {exc}")

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        if self.sqlite:
            statement = statement.replace("%s", "?")
            cursor.execute(statement, parameters)
            return cursor.fetchall()
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def attempt(self, statement: str, *parameters: Any) -> None:
        """Run a statement that may be refused."""
        try:
            self.sql(statement, *parameters)
        except Exception as exc:
            if not type(exc).__module__.startswith(("sqlite3", "psycopg")) and not isinstance(
                exc, (OverflowError, UnicodeError)
            ):
                raise
            raise Refused(f"{type(exc).__name__} {exc}"[:200]) from None

    def rows(self, table: str, where: str = "", *parameters: Any) -> list[Row]:
        """Return the rows as the driver gives them, each with its `at`."""
        columns = self.columns(table)
        listed = ", ".join(f'"{name}"' for name in columns)
        found = self.sql(
            f"SELECT {self.address}, {listed} FROM nucleus_ledger_{table} {where} "
            f"ORDER BY {self.address}",
            *parameters,
        )
        return [dict(zip(["at", *columns], row, strict=True)) for row in found]

    def columns(self, table: str) -> list[str]:
        if self.sqlite:
            found = self.sql(f"SELECT name FROM pragma_table_info('nucleus_ledger_{table}')")
            return [row[0] for row in found]
        found = self.sql(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
            "ORDER BY ordinal_position",
            f"nucleus_ledger_{table}",
        )
        return [row[0] for row in found]

    def pick(self, items: Sequence[Any]) -> Any:
        if not items:
            raise Refused("nothing to choose from")
        return self.random.choice(items)

    def set(self, table: str, at: Any, **columns: Any) -> None:
        for name in columns:
            self.attempt(
                f'UPDATE nucleus_ledger_{table} SET "{name}" = {self.cast(table, name)} '
                f"WHERE {self.address} = %s",
                columns[name], at,
            )  # fmt: skip
            if not self.sqlite:  # a row that is written stands elsewhere then
                return

    def cast(self, table: str, column: str) -> str:
        if self.sqlite:
            return "%s"
        found = self.sql(
            "SELECT udt_name FROM information_schema.columns WHERE table_name = %s "
            "AND column_name = %s",
            f"nucleus_ledger_{table}", column,
        )  # fmt: skip
        return f"%s::{found[0][0]}"

    def insert(self, table: str, row: Row) -> None:
        row = {name: self.adapted(value) for name, value in row.items() if name != "at"}
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(self.cast(table, name) for name in row)
        self.attempt(
            f"INSERT INTO nucleus_ledger_{table} ({names}) VALUES ({places})", *row.values()
        )

    def adapted(self, value: Any) -> Any:
        """Return what the driver takes for what it gave."""
        if self.sqlite:
            return value
        return json.dumps(value) if isinstance(value, (dict, list)) else value

    def value(self, table: str, column: str) -> Any:
        """Return a value for a column: of any kind on SQLite, of its own on PostgreSQL."""
        random = self.random
        pools: list[list[Any]] = [_DOCUMENTS if column in _JSON else [None]]
        if column in _TIMES:
            pools += [_MOMENTS] * 2
        if "hash" in column or column == "frontier":
            pools += [[b"\0" * 32, random.randbytes(32), random.randbytes(64), b""]]
        pools += [_WORDS, _NUMBERS, _TEXTS]
        if self.sqlite:
            pools += [[b"", b"\xff", b"null", b"x" * 32, 1.5, -0.0, float("inf"), _DEEP], [None]]
        return random.choice(random.choice(pools))

    def _lower(self) -> Any:
        """Take away what refuses rows that no honest writer writes."""
        if self.sqlite:
            self.sql("PRAGMA foreign_keys = OFF")
            if not self.bare:
                return None
            if self.random.random() < 0.4:
                return self._rebuild()
            self.sql("PRAGMA ignore_check_constraints = ON")
            self.sql("PRAGMA writable_schema = ON")
            kept = self.sql(
                "SELECT name, sql FROM sqlite_master "
                "WHERE type = 'table' AND name LIKE 'nucleus_ledger_%'"
            )
            self._write_schema(
                (name, re.sub(r"(?<! IS) NOT NULL", "", text)) for name, text in kept
            )
            return kept
        self.sql("SET session_replication_role = replica")
        if not self.bare:
            return None
        found = self.sql(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
            "FROM pg_constraint WHERE conrelid::regclass::text LIKE 'nucleus_ledger_%' "
            "AND contype IN ('c', 'u', 'f')"
        )
        for table, name, _definition in found:
            self.sql(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE")
        for table in HISTORY:
            self.sql(f"ALTER TABLE nucleus_ledger_{table} DROP CONSTRAINT "
                     f"nucleus_ledger_{table}_pkey CASCADE")  # fmt: skip
            for column in self.columns(table):
                if (table, column) != ("stream", "id"):  # an identity cannot be null
                    self.sql(f'ALTER TABLE nucleus_ledger_{table} ALTER "{column}" DROP NOT NULL')
        return found

    def _rebuild(self) -> None:
        """Put look-alike tables in place of those of history: same rows, no constraint at all."""
        for table in HISTORY:
            name = f"nucleus_ledger_{table}"
            self.sql(f"CREATE TABLE bare AS SELECT * FROM {name}")
            self.sql(f"DROP TABLE {name}")
            self.sql(f"ALTER TABLE bare RENAME TO {name}")
        self.done.append("constraints gone for good")

    def _raise(self, schema: Any) -> None:
        """Make constraints stand again, as far as the rows let them."""
        if self.sqlite:
            if schema:
                self._write_schema(schema)
            return
        for table, name, definition in schema or ():
            try:
                self.attempt(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
            except Refused:
                self.done.append(f"{name} gone for good")
        if schema:
            self._keys_again()

    def _keys_again(self) -> None:
        for table, column in (("entry", "hash"), ("stream", "id")):
            try:
                self.attempt(f"ALTER TABLE nucleus_ledger_{table} ADD PRIMARY KEY ({column})")
            except Refused:
                self.done.append(f"key of {table} gone for good")

    def _write_schema(self, tables: Iterable[tuple[str, str]]) -> None:
        for name, text in tables:
            self.sql("UPDATE sqlite_master SET sql = %s WHERE type = 'table' AND name = %s",
                     text, name)  # fmt: skip
        version = self.sql("PRAGMA schema_version")[0][0]
        self.sql(f"PRAGMA schema_version = {version + 1}")
        self.connection.close()
        self.connection = self.subject.open()
        self.sql("PRAGMA foreign_keys = OFF")
        self.sql("PRAGMA ignore_check_constraints = ON")
        self.sql("PRAGMA writable_schema = ON")

    # What is known of a stream, and how to write one anew.

    def stream(self, *, entries: bool = True) -> Row:
        """Choose a stream, one with entries unless told otherwise."""
        found = [row for row in self.rows("stream") if isinstance(row["length"], int)]
        return self.pick([row for row in found if row["length"] > 0 or not entries])

    def chain(self, stream: Row) -> list[Row]:
        found = self.rows("entry", "WHERE stream_id = %s", stream["id"])
        return sorted(found, key=lambda row: _in_order(row["sequence"]))

    def document(self, row: Row) -> Document:
        text = row["serialized"]
        try:
            document = jcs.read(text)
        except (jcs.NotJSON, UnicodeDecodeError, TypeError):
            raise Refused("the text was tampered with already") from None
        if not isinstance(document, dict):
            raise Refused("the text was tampered with already")
        return document

    def write_text(
        self, row: Row, text: str, *, hashed: bool = True, columns: bool = True
    ) -> bytes:
        """Give an entry another text; `columns` and hash follow it where wanted."""
        data = text.encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(data).digest()
        changed: Row = {"serialized": self.as_text(data)}
        if columns:
            changed.update(self.columns_of(text))
        if hashed:
            changed["hash"] = digest
        self.update_entry(row, changed)
        return digest

    def columns_of(self, text: str) -> Row:
        try:
            said = jcs.read(text)
        except jcs.NotJSON:
            return {}
        if not isinstance(said, dict):
            return {}
        link = said.get("prev_hash")
        columns: Row = {}
        if "payload" in said:
            columns["payload"] = jcs.write(said["payload"])
        columns["meta"] = jcs.write(said["meta"]) if said.get("meta") is not None else None
        columns["record_id"], columns["timestamp"] = said.get("id"), said.get("timestamp")
        with suppress(ValueError, TypeError):
            columns["prev_hash"] = None if link is None else bytes.fromhex(link)
        return columns

    def update_entry(self, row: Row, changed: Row) -> None:
        names = ", ".join(f'"{name}" = {self.cast("entry", name)}' for name in changed)
        self.attempt(
            f"UPDATE nucleus_ledger_entry SET {names} WHERE {self.address} = %s",
            *changed.values(), row["at"],
        )  # fmt: skip

    def as_text(self, data: bytes) -> Any:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Refused("text that is no UTF-8") from None

    def rewrite(
        self, stream: Row, documents: Sequence[Document], low: int, *, head: bool = True
    ) -> None:
        """Put documents in place of a stream's entries from `low` on, all hashes and links made
        right; the head too where wanted."""
        before = self.chain(stream)[:low]
        link = before[-1]["hash"] if before else None
        self.attempt(
            "DELETE FROM nucleus_ledger_entry WHERE stream_id = %s AND sequence >= %s",
            stream["id"], low,
        )  # fmt: skip
        time = before[-1]["timestamp"] if before else None
        for place, each in enumerate(documents, low):
            document = {
                **each, "sequence": place, "prev_hash": link.hex() if link else None,
            }  # fmt: skip
            text = jcs.write(document)
            digest = hashlib.sha256(text.encode()).digest()
            self.insert("entry", {
                "hash": digest, "stream_id": stream["id"], "sequence": place,
                **self.columns_of(text), "prev_hash": link, "serialized": text,
            })  # fmt: skip
            link, time = digest, document.get("timestamp")
        if head:
            self.set_head(stream, low + len(documents), link, time)

    def set_head(self, stream: Row, length: int, digest: Any, time: Any) -> None:
        self.attempt(
            f"UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s "
            f"WHERE {self.address} = (SELECT {self.address} FROM nucleus_ledger_stream "
            "WHERE id = %s LIMIT 1)",
            length, digest, time, stream["id"],
        )  # fmt: skip


# The ways. Each does one thing and says what.


def edit_column(t: Tampering) -> str:
    return _edit(t, "entry")


def edit_stream(t: Tampering) -> str:
    return _edit(t, "stream")


def edit_opinion(t: Tampering) -> str:
    return _edit(t, t.pick(OPINIONS))


def edit_copy(t: Tampering) -> str:
    return _edit(t, t.pick(COPIES))


def edit_own_stream(t: Tampering) -> str:
    """Edit what the ledger's own streams hold: keys, incidents, imports."""
    own = [row["id"] for row in t.rows("stream") if _text(row["name"]).startswith("nucleus.")]
    row = t.pick([row for row in t.rows("entry") if row["stream_id"] in own])
    column = t.pick(["payload", "serialized", "hash", "meta", "record_id", "sequence"])
    value = t.value("entry", column)
    t.set("entry", row["at"], **{column: value})
    return f"{column} = {value!r:.80}"


def edit_by_form(t: Tampering) -> str:
    """The same value in another form, or one that looks like it."""
    row = t.pick(t.rows("entry"))
    column = t.pick(["payload", "meta", "record_id", "serialized", "sequence", "timestamp"])
    forms = _FORMS_SQLITE if t.sqlite else _FORMS_POSTGRESQL
    form = t.pick([form for form in forms if form[0] in (column, "*")])[1]
    t.attempt(
        f"UPDATE nucleus_ledger_entry SET {column} = {form.format(column)} "
        f"WHERE {t.address} = %s", row["at"],
    )  # fmt: skip
    return f"{column} = {form.format(column)}"


_FORMS_SQLITE = [
    ("*", "CAST({0} AS BLOB)"),
    ("*", "CAST({0} AS TEXT)"),
    ("*", "CAST({0} AS TEXT) || ' '"),
    ("*", "{0} || char(0)"),
    ("*", "CAST(x'ff80' AS TEXT)"),
    ("*", "CAST(CAST({0} AS BLOB) || x'ff' AS TEXT)"),
    ("*", "UPPER({0})"),
    ("*", "{0} + 0.5"),
    ("payload", "' ' || {0}"),
    ("payload", "REPLACE({0}, ':', ': ')"),
    ("payload", "REPLACE({0}, '{{', '{{\"n\":7,')"),
    ("payload", "REPLACE({0}, '100', '100.0')"),
    ("payload", "REPLACE({0}, '100', '1e2')"),
    ("payload", "REPLACE({0}, 'amount', '\\u0061mount')"),
    ("meta", "' null'"),
    ("meta", "CAST('null' AS BLOB)"),
    ("meta", "'{{}}'"),
    ("serialized", "{0} || char(10)"),
]
_FORMS_POSTGRESQL = [
    ("payload", "REPLACE({0}::text, '100', '100.0')::jsonb"),
    ("payload", "REPLACE({0}::text, '100', '100.00000000000000001')::jsonb"),
    ("payload", "REPLACE({0}::text, '100', '1e2')::jsonb"),
    ("payload", "REPLACE({0}::text, '100', 'true')::jsonb"),
    ("payload", "REPLACE({0}::text, 'null', '0')::jsonb"),
    ("payload", "jsonb_build_array({0})"),
    ("payload", "{0} || '{{\"x\":-0.0}}'::jsonb"),
    ("payload", "REPLACE({0}::text, '.5', '.50000000000000001')::jsonb"),
    ("meta", "'null'::jsonb"),
    ("meta", "'{{}}'::jsonb"),
    ("meta", "REPLACE({0}::text, '0.1', '0.1000000000000000055511151231257827')::jsonb"),
    ("record_id", "{0} || ' '"),
    ("record_id", "UPPER({0})"),
    ("serialized", "{0} || E'\\n'"),
    ("serialized", "REPLACE({0}, ':', ': ')"),
    ("sequence", "{0} + 1000"),
    ("sequence", "-{0}"),
    ("timestamp", "{0} + 1"),
]


def swap_column(t: Tampering) -> str:
    table = t.pick([*HISTORY, *OPINIONS, *COPIES])
    rows = t.rows(table)
    one, other = t.pick(rows), t.pick(rows)
    column = t.pick(t.columns(table))
    value = t.adapted(other[column])
    t.set(table, one["at"], **{column: value})
    return f"{table}.{column} from another row"


def swap_entries(t: Tampering) -> str:
    """Let two entries of a stream change places, or all but their places."""
    rows = t.chain(t.stream())
    one, other = t.pick(rows), t.pick(rows)
    for row, place in ((one, -(2**40)), (other, one["sequence"]), (one, other["sequence"])):
        found = t.rows("entry", "WHERE hash = %s", row["hash"])
        t.set("entry", t.pick(found)["at"], sequence=place)
    return f"{one['sequence']} and {other['sequence']}"


def delete_rows(t: Tampering) -> str:
    table = t.pick([*HISTORY, "entry", *OPINIONS, *COPIES])
    rows = t.rows(table)
    if not rows:
        raise Refused("nothing there")
    count = t.pick([1, 1, 1, 2, len(rows)])
    start = t.pick(range(len(rows)))
    gone = rows[start : start + count]
    for row in gone:
        t.attempt(f"DELETE FROM nucleus_ledger_{table} WHERE {t.address} = %s", row["at"])
    return f"{len(gone)} of {table} from {start}"


def duplicate_row(t: Tampering) -> str:
    table = t.pick([*HISTORY, *OPINIONS, *COPIES])
    row = dict(t.pick(t.rows(table)))
    changed = {}
    for column in t.random.sample(t.columns(table), t.random.randint(0, 3)):
        changed[column] = t.value(table, column)
    t.insert(table, {**row, **changed})
    return f"{table} with {changed!r:.200}"


def edit_text(t: Tampering) -> str:
    """Change what a text says; hash, columns, links and head follow or do not."""
    stream = t.stream()
    rows = t.chain(stream)
    place = t.pick(range(len(rows)))
    document = t.document(rows[place])
    name, change = t.pick(CHANGES)
    text = change(t.random, dict(document))
    columns, hashed, linked = (t.random.random() < 0.7 for _ in range(3))
    digest = t.write_text(rows[place], text, hashed=hashed, columns=columns)
    if hashed and linked:
        later = [t.document(row) for row in rows[place + 1 :]]
        if later:
            t.rewrite(stream, later, place + 1)
        else:
            t.set_head(stream, stream["length"], digest, _time_of(text))
    return f"{name} at {place}, columns {columns}, hashed {hashed}, linked {linked}"


def _time_of(text: str) -> Any:
    try:
        return jcs.read(text).get("timestamp")
    except (jcs.NotJSON, AttributeError):
        return None


def _changed(**members: Any) -> Callable[[Random, Document], str]:
    return lambda random, document: jcs.write({**document, **members})


def _without(name: str) -> Callable[[Random, Document], str]:
    return lambda random, document: jcs.write(
        {key: value for key, value in document.items() if key != name}
    )


def _raw(change: Callable[[str], str]) -> Callable[[Random, Document], str]:
    return lambda random, document: change(jcs.write(document))


CHANGES: list[tuple[str, Callable[[Random, Document], str]]] = [
    ("payload", _changed(payload={"n": 1000})),
    ("payload list", _changed(payload=[1, None])),
    ("payload text", _changed(payload="text")),
    ("payload null", _changed(payload=None)),
    ("payload big", _changed(payload={"n": 2.0**53, "m": 1e300, "k": -1e-7})),
    ("payload deep", _changed(payload=json.loads("[" * 200 + "]" * 200))),
    ("payload long", _changed(payload={"x": "y" * 300_000})),
    ("meta empty", _changed(meta={})),
    ("meta null", _changed(meta=None)),
    ("meta list", _changed(meta=[])),
    ("meta gone", _without("meta")),
    *(
        (f"timestamp {value!r}", _changed(timestamp=value))
        for value in (0, -5, 1, 1000.5, "1000", None, True, 2**53, 1e300)
    ),
    ("timestamp later", lambda random, d: jcs.write({**d, "timestamp": d["timestamp"] + 1})),
    *(
        (f"id {value!r:.10}", _changed(id=value))
        for value in ("", "x" * 201, "x" * 200, "a\x00b", "a\tb", "a\x85b", 1, None, "payments-1")
    ),
    *((f"ledger {value!r}", _changed(ledger=value)) for value in (FORMER, LEDGER, "other", 1, "")),
    *((f"schema {v!r}", _changed(schema=v)) for v in ("nucleus-ledger/v2", "", None, [])),
    *((f"stream {v!r:.10}", _changed(stream=v)) for v in ("consents", "", "x" * 201, 5, "\x07")),
    *((f"sequence {v!r}", _changed(sequence=v)) for v in (0, 1, -1, 1.5, "1", None, 2**53)),
    *((f"prev {v!r:.10}", _changed(prev_hash=v)) for v in (None, "00" * 32, "x", 1, "AB" * 32)),
    ("extra member", _changed(extra=1)),
    ("payload gone", _without("payload")),
    ("id gone", _without("id")),
    ("space", _raw(lambda text: text.replace(":", ": ", 1))),
    ("newline", _raw(lambda text: text + "\n")),
    ("mark", _raw(lambda text: "\ufeff" + text)),
    ("escape", _raw(lambda text: text.replace("payload", "p\\u0061yload"))),
    ("twice", _raw(lambda text: text.replace("{", '{"id":"other",', 1))),
    ("two floats", _raw(lambda text: text.replace('"sequence":', '"sequence":0.0e1'))),
    ("fraction", _raw(lambda text: text.replace(',"stream"', '.0,"stream"'))),
    ("not JSON", _raw(lambda text: text[:-1])),
    ("NaN", _raw(lambda text: text.replace("100", "NaN"))),
    ("surrogate", _raw(lambda text: text.replace('"payload":', '"payload":["\\ud800"],"p":'))),
    ("huge", _raw(lambda text: text.replace("100", "1e400"))),
    ("a list", _raw(lambda text: f"[{text}]")),
    ("brackets", _raw(lambda text: _DEEP)),
    ("nothing", _raw(lambda text: " ")),
]


def rewrite_suffix(t: Tampering) -> str:
    """Another history from somewhere on, whole by itself: only what was signed tells."""
    stream = t.stream()
    rows = t.chain(stream)
    low = t.pick(range(len(rows)))
    documents = [t.document(row) for row in rows[low:]]
    what = t.pick(["edited", "one left out", "one put in", "turned round", "the same"])
    if what == "edited":
        documents[0] = {**documents[0], "payload": {"n": 1000}}
    elif what == "one left out":
        del documents[0]
    elif what == "one put in":
        documents.insert(0, {**documents[0], "id": "put in"})
    elif what == "turned round":
        times = [document.get("timestamp") for document in documents]
        documents.reverse()
        documents = [{**d, "timestamp": each} for d, each in zip(documents, times, strict=True)]
    t.rewrite(stream, documents, low, head=t.random.random() < 0.8)
    return f"{_text(stream['name'])} from {low}, {what}"


def cut_tail(t: Tampering) -> str:
    stream = t.stream()
    rows = t.chain(stream)
    keep = t.pick(range(len(rows)))
    t.attempt(
        "DELETE FROM nucleus_ledger_entry WHERE stream_id = %s AND sequence >= %s",
        stream["id"], keep,
    )  # fmt: skip
    last = rows[keep - 1] if keep else {"hash": None, "timestamp": None}
    t.set_head(stream, keep, last["hash"], last["timestamp"])
    return f"{_text(stream['name'])} to {keep}"


def move_entries(t: Tampering) -> str:
    """Carry entries into another stream, or to one that is not there."""
    rows = t.chain(t.stream())
    target = t.pick([t.stream(entries=False)["id"], 999, -1, 2**62])
    start = t.pick(range(len(rows)))
    for row in rows[start : start + t.pick([1, 1, 3, len(rows)])]:
        t.set("entry", row["at"], stream_id=target)
    return f"from {start} to {target}"


def exchange_streams(t: Tampering) -> str:
    """Let two streams take each other's rows: keys, names, or heads."""
    one, other = t.stream(entries=False), t.stream(entries=False)
    columns = t.pick([["name"], ["length", "head_hash", "head_timestamp"], ["ledger"]])
    for column in columns:
        t.set("stream", one["at"], **{column: None if t.bare else t.value("stream", column)})
    for column in columns:
        found = [row for row in t.rows("stream") if row["id"] == one["id"]]
        t.set("stream", t.pick(found)["at"], **{column: other[column]})
    return f"{columns} of {_text(one['name'])} from {_text(other['name'])}"


def forge_statuses(t: Tampering) -> str:
    """All green, as of now, of tomorrow or of 2100."""
    moment = t.pick(_MOMENTS)
    t.attempt("DELETE FROM nucleus_ledger_streamstatus")
    for stream in t.rows("stream"):
        t.insert("streamstatus", {
            **_like(t, "streamstatus"), "stream_id": stream["id"],
            "result": t.pick(["intact", "intact", "tampered", "acknowledged"]),
            "length": stream["length"], "head_hash": stream["head_hash"],
            "verified_at": moment, "full_at": moment, "verification_id": None,
        })  # fmt: skip
    return f"statuses of {moment}"


def forge_run(t: Tampering) -> str:
    moment, origin = t.pick(_MOMENTS), t.pick(["startup", "command", "admin"])
    key = max([0, *(row["id"] for row in t.rows("verification") if isinstance(row["id"], int))])
    if not isinstance(key, int) or key >= 2**62:
        raise Refused("keys are used up")
    lease = t.pick([None, "startup", "steps:" + "0" * 40])
    t.insert("verification", {
        **_like(t, "verification"), "id": key + 1, "started_at": moment, "finished_at": moment,
        "origin": origin, "mode": "full", "scope": None, "deep": True, "validated": True,
        "result": t.pick(["intact", "running"]), "entries": 353, "streams": 7,
        "findings_total": 0, "warnings": "[]", "lease": lease,
        "lease_until": moment if lease else None, "user": "",
    })  # fmt: skip
    return f"{origin} of {moment}, lease {lease}"


def replay_opinions(t: Tampering) -> str:
    """Put back what the site itself stored at an earlier time."""
    old = t.pick(t.subject.snapshots)
    t.attempt("DELETE FROM nucleus_ledger_streamstatus")
    for row in old["streamstatus"]:
        t.insert("streamstatus", row)
    return "statuses of an earlier time"


def forge_incident(t: Tampering) -> str:
    """Write an acknowledgement into the ledger's own stream, its members of any type."""
    payload = {
        "type": t.pick(["findings_acknowledged", "findings_acknowledged", ["x"], None]),
        "stream": t.pick(["payments", SCARRED, "", 5, None, ["payments"], {"a": 1}]),
        "ledger": t.pick([LEDGER, None, 5]),
        "length": t.pick([300, 8, 0, -1, "8", None, 2.5, 2.0**53, [1]]),
        "head_hash": t.pick(["00" * 32, None, 5, "x"]),
        "head_timestamp": t.pick([1, None, "x", 2.5, [1]]),
        "beyond": t.pick([False, True, "x", None]),
        "digest": t.pick(["00" * 32, None, 5, ["x"]]),
        "reason": "forged",
    }
    for name in t.random.sample(sorted(payload), t.random.choice([0, 0, 1])):
        del payload[name]
    return _append_own(t, "nucleus.incidents", payload)


def forge_import(t: Tampering) -> str:
    streams = t.pick([
        {"payments": {"from": 0, "to": 299}}, {"payments": {"from": "x", "to": None}}, [], "x",
        {"payments": 5}, {"payments": {"from": 1.5, "to": 2.0**53}},
    ])  # fmt: skip
    return _append_own(t, "nucleus.imports", {"type": "nucleus_imported", "streams": streams})


def _append_own(t: Tampering, name: str, payload: Any) -> str:
    found = [row for row in t.rows("stream") if _text(row["name"]) == name]
    if not found:
        keys = [row["id"] for row in t.rows("stream") if isinstance(row["id"], int)]
        t.insert("stream", {
            "id": max([0, *keys]) + 1, "name": name, "ledger": LEDGER, "length": 0,
            "head_hash": None, "head_timestamp": None,
        })  # fmt: skip
        found = [row for row in t.rows("stream") if _text(row["name"]) == name]
    stream = found[0]
    rows = t.chain(stream)
    time = rows[-1]["timestamp"] if rows else 1_790_000_000_000
    if not isinstance(time, int):
        raise Refused("the stream was tampered with already")
    document = {
        "id": f"forged-{len(rows)}-{t.random.random()}", "ledger": LEDGER, "payload": payload,
        "schema": "nucleus-ledger/v1", "stream": name, "timestamp": time,
    }  # fmt: skip
    t.rewrite(stream, [document], len(rows))
    return f"{name} {payload!r:.200}"


def forge_copies(t: Tampering) -> str:
    """Other manifests, notes or frontiers beside the ledger; what is signed is elsewhere."""
    table = t.pick(COPIES)
    row = t.pick(t.rows(table))
    column = t.pick(t.columns(table))
    value = t.pick([b"", b"\0" * 32, "", "x", "{}", '{"schema":"x"}', 5, -1, 2**62, None, "[1]"])
    t.set(table, row["at"], **{column: value})
    return f"{table}.{column} = {value!r}"


def insert_stream(t: Tampering) -> str:
    keys = [row["id"] for row in t.rows("stream") if isinstance(row["id"], int)]
    name = t.pick(["payments", "a new one", "nucleus.incidents", "", "a\tb", "nucleus.checkpoints"])
    t.insert("stream", {
        "id": t.pick([max([0, *keys]) + 1, max([0, *keys])]), "name": name,
        "ledger": t.pick([LEDGER, FORMER, "other"]), "length": t.pick([0, 0, 3]),
        "head_hash": None, "head_timestamp": None,
    })  # fmt: skip
    return name


def _edit(t: Tampering, table: str) -> str:
    row = t.pick(t.rows(table))
    column = t.pick(t.columns(table))
    value = t.value(table, column)
    t.set(table, row["at"], **{column: value})
    return f"{table}.{column} = {value!r:.80}"


def _like(t: Tampering, table: str) -> Row:
    """Return what the columns of a table hold somewhere in it: for those nobody thinks of."""
    for rows in [t.rows(table), *(each[table] for each in t.subject.snapshots)]:
        for row in rows:
            return {name: t.adapted(value) for name, value in row.items() if name != "at"}
    raise Refused(f"{table} is empty")


def _in_order(sequence: Any) -> tuple[bool, float]:
    return not isinstance(sequence, int), sequence if isinstance(sequence, int) else 0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def edit_step(t: Tampering) -> str:
    return _edit(t, t.pick(["verificationstep", "verificationstep", "verification", "finding"]))


def delete_steps(t: Tampering) -> str:
    rows = t.rows("verificationstep")
    keep = t.pick([1, 1, 0, max(len(rows) - 1, 0)])
    for row in rows[: len(rows) - keep] if t.random.random() < 0.7 else rows[keep:]:
        t.attempt(f"DELETE FROM nucleus_ledger_verificationstep WHERE {t.address} = %s", row["at"])
    return f"all but {keep} of {len(rows)}"


def swap_steps(t: Tampering) -> str:
    rows = t.rows("verificationstep")
    one, other = t.pick(rows), t.pick(rows)
    column = t.pick(["standing", "found"])
    t.set("verificationstep", one["at"], **{column: other[column]})
    return f"{column} of another step"


DISTURBANCES = [edit_step, delete_steps, swap_steps]
WEIGHTED: dict[Callable[[Tampering], str], int] = {
    edit_column: 6, edit_stream: 4, edit_opinion: 5, edit_copy: 3, edit_own_stream: 3,
    edit_by_form: 6, swap_column: 3, swap_entries: 2, delete_rows: 4, duplicate_row: 3,
    edit_text: 10, rewrite_suffix: 4, cut_tail: 3, move_entries: 2, exchange_streams: 2,
    forge_statuses: 3, forge_run: 3, replay_opinions: 2, forge_incident: 4, forge_import: 2,
    forge_copies: 2, insert_stream: 2,
}  # fmt: skip
WAYS, WEIGHTS = list(WEIGHTED), list(WEIGHTED.values())
