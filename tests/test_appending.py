from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from nucleus_ledger.core import canonical
from nucleus_ledger.core.record import Record
from nucleus_ledger.errors import (
    AppendOnlyViolation,
    DuplicateRecord,
    IntegrityFailed,
    InvalidData,
    Serialization,
    StreamConflict,
)
from nucleus_ledger.models import Entry, Stream
from nucleus_ledger.modules import Module

ALICE = {"type": "proof", "subject_oid": "oid:onoal:user:alice"}
HASHES = (
    "2e2d678fab11e1514a30ef37944be612c1f8e79a482f533e55b3a1f0196af96d",
    "0f257ebe2acbb4e511d616cab00072f772dd1d4f23d662d7755d201afad4fb0e",
)


def append(alias: str, *args: Any, **kwargs: Any) -> Entry:
    return Entry.objects.using(alias).append(*args, **kwargs)


def settings_with(**options: Any) -> dict[str, Any]:
    return {"LEDGER_ID": "persistent-ledger", **options}


def test_the_seeds_two_proofs_get_the_hashes_of_the_specification(ledger_db: str) -> None:
    first = append(ledger_db, "proofs", ALICE, record_id="record-1", timestamp=1000)
    second = append(
        ledger_db,
        "proofs",
        {"type": "proof", "subject_oid": "oid:onoal:user:bob"},
        record_id="record-2",
        timestamp=1001,
        meta={"source": "api"},
    )
    assert (first.hash, second.hash) == HASHES
    assert (first.sequence, second.sequence) == (0, 1)
    assert (first.prev_hash, second.prev_hash) == (None, first.hash)
    assert first.meta is None


def test_the_instance_holds_what_a_reload_gives(ledger_db: str) -> None:
    payload = {"tuple": (1, 2.0, -0.0), "big": 1e21, "ü": "\U0001f600", "n": None, "t": True}
    entry = append(ledger_db, "things", payload, meta={})
    stored = Entry.objects.using(ledger_db).select_related("stream").get(pk=entry.pk)
    for field in Entry._meta.concrete_fields:
        assert getattr(entry, field.attname) == getattr(stored, field.attname), field.name
    assert canonical.dumps(entry.payload) == canonical.dumps(stored.payload)
    assert [type(n) for n in entry.payload["tuple"]] == [type(n) for n in stored.payload["tuple"]]
    assert entry.stream.length == stored.stream.length == 1
    assert entry.stream.head_hash == stored.stream.head_hash == entry.hash


def test_every_way_in_is_the_same_way(ledger_db: str) -> None:
    stream = append(ledger_db, "things", {"n": 0}).stream
    stream.append({"n": 1})
    Entry(stream=stream, payload={"n": 2}).save(using=ledger_db)
    Entry.objects.using(ledger_db).create(stream=stream, payload={"n": 3})
    stream.entries.create(payload={"n": 4})
    Entry.objects.using(ledger_db).append_batch(
        [{"stream": "things", "payload": {"n": 5}}, Record("things", {"n": 6})]
    )
    async_to_sync(Entry.objects.using(ledger_db).aappend)("things", {"n": 7})
    entries = list(Entry.objects.using(ledger_db).in_chain_order("things"))
    assert [entry.payload["n"] for entry in entries] == list(range(8))
    assert [entry.sequence for entry in entries] == list(range(8))
    assert stream.length == 5  # as of the last append through this instance
    report = Entry.objects.using(ledger_db).verify_integrity("things")
    assert report.intact is True
    assert report.entries == 8


def test_an_append_in_a_transaction_takes_the_fewest_statements(ledger_db: str) -> None:
    """Lock, insert and move the head, and look for the id; PostgreSQL does all of it in one."""
    at_once = connections[ledger_db].vendor == "postgresql"
    append(ledger_db, "things", {})
    with CaptureQueriesContext(connections[ledger_db]) as queries:
        entry = append(ledger_db, "things", {})
        assert str(entry) == "things #1"  # its stream is at hand
    assert len(queries) == (1 if at_once else 3)
    with CaptureQueriesContext(connections[ledger_db]) as queries:
        append(ledger_db, "things", {}, record_id="named", expected_length=2)
    assert len(queries) == (1 if at_once else 4)
    assert not any("SAVEPOINT" in query["sql"] for query in queries)


ODD = "a'b\"c\\d %s %% \u00fc \u2028 \U0001f600 {} $1 E'\\n' --"


def append_odd_things(alias: str) -> None:
    payload = {"text": ODD, ODD: [1.5, 1e21, -0.0, None, True], "lines": "a\nb\tc\x01"}
    for number in range(2):
        entry = append(alias, ODD, payload, record_id=f"{ODD}{number}", meta={ODD: {}})
        stored = Entry.objects.using(alias).get(pk=entry.pk)
        assert (stored.serialized, stored.payload) == (entry.serialized, entry.payload)
        assert canonical.loads(stored.serialized)["id"] == f"{ODD}{number}"
    report = Entry.objects.using(alias).verify_integrity(deep=True)
    assert (report.intact, report.entries) == (True, 2)


def test_any_text_arrives_as_it_was_hashed(ledger_db: str) -> None:
    append_odd_things(ledger_db)


@pytest.mark.django_db(databases=["postgres"])
def test_parameters_may_be_bound_by_the_server() -> None:
    """Django's option `server_side_binding`: the server has to know the types by itself."""
    bound = connections["postgres"].copy()
    bound.settings_dict["OPTIONS"] = {
        **bound.settings_dict["OPTIONS"],
        "server_side_binding": True,
    }
    usual, connections["postgres"] = connections["postgres"], bound
    try:
        with transaction.atomic(using="postgres"):
            append_odd_things("postgres")
            entries = append(
                "postgres", "things", {}, timestamp=1000, record_id="named", expected_length=0
            )
            assert append("postgres", "things", {}, record_id="named", idempotent=True) == entries
            Entry.objects.using("postgres").append_batch([{"stream": "b", "payload": {}}] * 3)
            transaction.set_rollback(True, using="postgres")
    finally:
        bound.close()
        connections["postgres"] = usual


@pytest.mark.django_db(databases=["postgres"], transaction=True)
def test_what_the_server_hashed_is_not_believed() -> None:
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION lie() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.hash = sha256(NEW.hash); RETURN NEW; END'"
        )
        cursor.execute(
            "CREATE TRIGGER lie BEFORE INSERT ON nucleus_ledger_entry "
            "FOR EACH ROW EXECUTE FUNCTION lie()"
        )
    try:
        Stream.objects.using("postgres").create(name="things")
        with pytest.raises(IntegrityFailed, match="the database stored"):
            append("postgres", "things", {})
        assert not Entry.objects.using("postgres").exists()
        with transaction.atomic(using="postgres"):
            with pytest.raises(IntegrityFailed):
                append("postgres", "things", {})
            with pytest.raises(transaction.TransactionManagementError):
                Entry.objects.using("postgres").count()
            transaction.set_rollback(True, using="postgres")
    finally:
        with connections["postgres"].cursor() as cursor:
            cursor.execute("DROP FUNCTION lie CASCADE")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"stream": ""}, InvalidData, "stream"),
        ({"stream": "x" * 201}, InvalidData, "stream"),
        ({"stream": "a\nb"}, InvalidData, "stream"),
        ({"stream": 5}, InvalidData, "stream"),
        ({"stream": "nucleus.incidents"}, InvalidData, "reserved"),
        ({"record_id": ""}, InvalidData, "record_id"),
        ({"record_id": "a\x00"}, InvalidData, "record_id"),
        ({"record_id": 7}, InvalidData, "record_id"),
        ({"timestamp": 0}, InvalidData, "timestamp"),
        ({"timestamp": True}, InvalidData, "timestamp"),
        ({"timestamp": 1.5}, InvalidData, "timestamp"),
        ({"timestamp": 999}, InvalidData, "before"),
        ({"timestamp": 2**50}, InvalidData, "ahead"),
        ({"payload": "text"}, InvalidData, "payload"),
        ({"payload": None}, InvalidData, "payload"),
        ({"meta": []}, InvalidData, "meta"),
        ({"payload": {"a": [1, float("nan")]}}, Serialization, r"payload\.a\[1\]"),
        ({"meta": {"k": {1, 2}}}, Serialization, r"meta\.k"),
        ({"expected_length": 5}, StreamConflict, "length 1, not 5"),
        ({"expected_length": -1}, InvalidData, "expected_length"),
        ({"record_id": "first"}, DuplicateRecord, "different"),
    ],
)
def test_refused_before_anything_is_written_and_the_transaction_goes_on(
    ledger_db: str, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    append(ledger_db, "things", {"n": 0}, record_id="first", timestamp=1000)
    arguments = {"stream": "things", "payload": {"n": 1}, **change}
    with transaction.atomic(using=ledger_db):
        with pytest.raises(error, match=words):
            append(ledger_db, **arguments)
        assert Entry.objects.using(ledger_db).count() == 1
        assert append(ledger_db, "things", {"n": 2}).sequence == 1


def test_limits(ledger_db: str, settings: Any) -> None:
    settings.NUCLEUS_LEDGER = settings_with(MAX_SERIALIZED_BYTES=1024, MAX_DEPTH=3)
    with pytest.raises(Serialization, match="MAX_SERIALIZED_BYTES"):
        append(ledger_db, "things", {"x": "é" * 500})
    with pytest.raises(Serialization, match=r"payload\.a\[0\]\.b.*MAX_DEPTH"):
        append(ledger_db, "things", {"a": [{"b": {}}]})
    append(ledger_db, "things", {"a": [{"b": 1}]})
    settings.NUCLEUS_LEDGER = settings_with(MAX_SERIALIZED_BYTES=1024, MAX_DEPTH=1)
    assert Entry.objects.using(ledger_db).verify_integrity().intact  # limits bind appends only


def test_time_never_goes_back_when_the_ledger_chooses_it(ledger_db: str) -> None:
    ahead = time.time_ns() // 1_000_000 + 60_000
    append(ledger_db, "things", {}, timestamp=ahead)
    assert append(ledger_db, "things", {}).timestamp == ahead


def test_idempotent(ledger_db: str) -> None:
    first = append(ledger_db, "things", {"a": 1, "b": 2.0}, record_id="r", timestamp=1000)
    again = append(ledger_db, "things", {"b": 2, "a": 1}, record_id="r", idempotent=True)
    assert again == first
    same_time = {"timestamp": 1000, "idempotent": True}
    assert append(ledger_db, "things", {"a": 1, "b": 2}, record_id="r", **same_time) == first
    for change in ({"payload": {"a": 1}}, {"meta": {}}, {"timestamp": 1001}):
        arguments = {"payload": {"a": 1, "b": 2}, **change}
        with pytest.raises(DuplicateRecord) as caught:
            append(ledger_db, "things", record_id="r", idempotent=True, **arguments)
        assert caught.value.equal is False
    with pytest.raises(DuplicateRecord) as caught:
        append(ledger_db, "things", {"a": 1, "b": 2}, record_id="r")
    assert caught.value.equal is True
    record = {"stream": "things", "payload": {"n": 1}, "record_id": "s"}
    one, two = Entry.objects.using(ledger_db).append_batch([record, record], idempotent=True)
    assert one is two
    assert Entry.objects.using(ledger_db).count() == 2


def test_a_batch_is_all_or_nothing_and_names_the_bad_record(ledger_db: str) -> None:
    good = [{"stream": name, "payload": {"n": n}} for n in range(3) for name in ("a", "b")]
    for bad, error in (
        ({"stream": "a", "payload": 1}, InvalidData),
        ({"stream": "a", "payload": {}, "extra": 1}, InvalidData),
        ({"payload": {}}, InvalidData),
        ("text", InvalidData),
        ({"stream": "a", "payload": {"x": float("inf")}}, Serialization),
    ):
        with pytest.raises(error, match=r"^records\[6\]: "):
            Entry.objects.using(ledger_db).append_batch([*good, bad])
    twice = {"stream": "a", "payload": {}, "record_id": "x"}
    with pytest.raises(DuplicateRecord, match=r"^records\[1\]: ") as caught:
        Entry.objects.using(ledger_db).append_batch([twice, twice])
    assert caught.value.index == 1
    assert Entry.objects.using(ledger_db).count() == 0
    entries = Entry.objects.using(ledger_db).append_batch(good)
    assert [(entry.stream.name, entry.sequence) for entry in entries] == [
        ("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)
    ]  # fmt: skip
    assert Entry.objects.using(ledger_db).append_batch([]) == []


def test_computed_values_cannot_be_given(ledger_db: str) -> None:
    stream = append(ledger_db, "things", {}).stream
    for name in ("hash", "prev_hash"):
        with pytest.raises(InvalidData, match=name):
            Entry(stream=stream, payload={}, **{name: "ab" * 32}).save(using=ledger_db)
    with pytest.raises(InvalidData, match="stream is missing"):
        Entry(payload={}).save(using=ledger_db)


def test_a_stream_can_be_made_empty_and_only_once(ledger_db: str) -> None:
    stream = Stream.objects.using(ledger_db).create(name="new")
    assert (stream.length, stream.head_hash, stream.ledger) == (0, None, "persistent-ledger")
    with transaction.atomic(using=ledger_db), pytest.raises(IntegrityError):
        with transaction.atomic(using=ledger_db):
            Stream.objects.using(ledger_db).create(name="new")
    with pytest.raises(InvalidData):
        Stream.objects.using(ledger_db).create(name="nucleus.x")
    with pytest.raises(AppendOnlyViolation):
        stream.save()
    assert stream.append({"n": 1}).sequence == 0


def test_a_rollback_leaves_everything_as_it_was(ledger_db_committed: str) -> None:
    alias = ledger_db_committed
    append(alias, "things", {"n": 0})
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
        append(alias, "things", {"n": 1})
        append(alias, "other", {"n": 1})
        raise ZeroDivisionError
    assert Stream.objects.using(alias).get().length == 1
    assert append(alias, "things", {"n": 2}).sequence == 1
    assert Entry.objects.using(alias).verify_integrity().intact


def test_a_failed_write_dooms_the_callers_transaction(ledger_db_committed: str) -> None:
    """An entry slipped in where the next one belongs: the constraint stops the append."""
    alias = ledger_db_committed
    append(alias, "things", {"n": 0})
    with connections[alias].cursor() as cursor:
        binary = connections[alias].Database.Binary
        cursor.execute(
            "INSERT INTO nucleus_ledger_entry (hash, stream_id, sequence, record_id, timestamp, "
            "payload, prev_hash, serialized) SELECT %s, stream_id, 1, 'forged', timestamp, "
            "payload, hash, serialized FROM nucleus_ledger_entry",
            [binary(b"f" * 32)],
        )
    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        append(alias, "things", {"n": 1})
    with transaction.atomic(using=alias):
        with pytest.raises(IntegrityError):
            append(alias, "things", {"n": 1})
        with pytest.raises(transaction.TransactionManagementError):
            Entry.objects.using(alias).count()
        transaction.set_rollback(True, using=alias)
    assert Stream.objects.using(alias).get().length == 1


def test_signals_and_modules(ledger_db: str, settings: Any) -> None:
    calls: list[str] = []

    class Noting(Module):
        id = "noting"
        streams = ("things/*",)

        def before_append(self, record: Record) -> Record:
            calls.append("before_append")
            return Record(record.stream, {**record.payload, "seen": True})

        def after_append(self, entry: Entry) -> None:
            calls.append("after_append")
            raise ZeroDivisionError  # logged: what is committed stays committed

    def on_pre_save(instance: Entry, **kwargs: Any) -> None:
        calls.append("pre_save")
        instance.payload = {**instance.payload, "stamp": 1}

    def on_post_save(instance: Entry, created: bool, **kwargs: Any) -> None:
        calls.append(f"post_save {created} {instance.sequence}")

    settings.NUCLEUS_LEDGER = settings_with(MODULES=[Noting])
    pre_save.connect(on_pre_save, sender=Entry)
    post_save.connect(on_post_save, sender=Entry)
    try:
        entry = append(ledger_db, "things/a", {"n": 1})
        append(ledger_db, "elsewhere", {"n": 1})
    finally:
        pre_save.disconnect(on_pre_save, sender=Entry)
        post_save.disconnect(on_post_save, sender=Entry)
    assert entry.payload == {"n": 1, "stamp": 1, "seen": True}
    # after_append waits for the commit, which a rolled back test never reaches
    assert calls == ["pre_save", "before_append", "post_save True 0", "pre_save",
                     "post_save True 0"]  # fmt: skip


def test_after_append_runs_after_the_commit(ledger_db_committed: str, settings: Any) -> None:
    seen: list[tuple[str, bool]] = []

    class Watching(Module):
        id = "watching"
        streams = ("*",)

        def after_append(self, entry: Entry) -> None:
            seen.append((entry.stream.name, connections[ledger_db_committed].in_atomic_block))

    settings.NUCLEUS_LEDGER = settings_with(MODULES=[Watching])
    with transaction.atomic(using=ledger_db_committed):
        append(ledger_db_committed, "a", {})
        assert seen == []
    append(ledger_db_committed, "b", {})
    assert seen == [("a", False), ("b", False)]


def test_a_stream_goes_on_under_the_id_it_began_with(ledger_db: str, settings: Any) -> None:
    append(ledger_db, "old", {"n": 0})
    settings.NUCLEUS_LEDGER = {
        "LEDGER_ID": "new-id",
        "FORMER_LEDGER_IDS": ["persistent-ledger"],
        "STALE_AFTER": timedelta(days=1),
    }
    assert '"ledger":"persistent-ledger"' in append(ledger_db, "old", {"n": 1}).serialized
    assert '"ledger":"new-id"' in append(ledger_db, "new", {"n": 1}).serialized
    assert Entry.objects.using(ledger_db).verify_integrity().intact
    settings.NUCLEUS_LEDGER = {"LEDGER_ID": "new-id"}
    with pytest.raises(IntegrityFailed, match="persistent-ledger"):
        append(ledger_db, "old", {"n": 2})
