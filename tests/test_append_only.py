from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import IntegrityError, connections, models, transaction
from django.db.models.deletion import Collector
from django.template import Context, Template
from django.test.utils import isolate_apps

from nucleus_ledger.append_only import APPENDING, marked_names
from nucleus_ledger.errors import AppendOnlyViolation
from nucleus_ledger.models import Entry, Stream
from tests.tamper import sql

ON_QUERYSETS = marked_names(models.QuerySet, models.Manager) - APPENDING
ON_MODELS = marked_names(models.Model)


@pytest.fixture
def entry(ledger_db: str) -> Entry:
    entries = Entry.objects.using(ledger_db).append_batch(
        [{"stream": "things", "payload": {"n": n}} for n in range(3)]
    )
    return entries[1]


def snapshot(alias: str) -> list[Any]:
    return [
        list(model._base_manager.using(alias).order_by("pk").values()) for model in (Entry, Stream)
    ]


def call(method: Any) -> None:
    """Call a method with as many arguments as it wants."""
    wanted = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind <= parameter.POSITIONAL_OR_KEYWORD
    ]
    result = method(*[[] for _ in wanted])
    if inspect.isawaitable(result):

        async def wait() -> None:
            await result

        async_to_sync(wait)()


def test_the_marks_are_those_this_was_written_for() -> None:
    """A later Django may mark more: then look at what is new, and extend this list."""
    assert {
        "abulk_create", "abulk_update", "adelete", "aget_or_create", "aupdate",
        "aupdate_or_create", "bulk_create", "bulk_update", "delete", "get_or_create", "update",
        "update_or_create", "_insert", "_raw_delete", "_update",
    } == ON_QUERYSETS  # fmt: skip
    assert {"adelete", "asave", "delete", "save", "save_base"} == ON_MODELS


@pytest.mark.parametrize("name", sorted(ON_QUERYSETS))
def test_no_query_set_method_changes_history(entry: Entry, ledger_db: str, name: str) -> None:
    before = snapshot(ledger_db)
    places = [
        Entry.objects.using(ledger_db),
        Entry.objects.using(ledger_db).filter(payload={"n": 1}),
        Entry._base_manager.using(ledger_db).all(),
        entry.stream.entries.all(),
        Stream.objects.using(ledger_db).all(),
        Stream._base_manager.using(ledger_db),
    ]
    managers = [Entry.objects, Entry._base_manager, entry.stream.entries, Stream.objects]
    places += [manager for manager in managers if hasattr(manager, name)]
    for place in places:
        with pytest.raises(AppendOnlyViolation):
            call(getattr(place, name))
    assert snapshot(ledger_db) == before


def test_no_model_method_changes_history(entry: Entry, ledger_db: str) -> None:
    before = snapshot(ledger_db)
    for instance in (entry, entry.stream, Entry.objects.using(ledger_db).first()):
        for name in sorted(ON_MODELS):
            with pytest.raises(AppendOnlyViolation):
                call(getattr(instance, name))
        for raw in (True, False):
            with pytest.raises(AppendOnlyViolation), transaction.atomic(using=ledger_db):
                models.Model.save_base(instance, raw=raw, using=ledger_db)
        with pytest.raises(AppendOnlyViolation), transaction.atomic(using=ledger_db):
            models.Model.save(instance, using=ledger_db)
        for options in ({"update_fields": ["payload"]}, {"force_update": True}):
            with pytest.raises(AppendOnlyViolation):
                type(instance)(pk=instance.pk).save(using=ledger_db, **options)
    assert snapshot(ledger_db) == before


def test_related_managers_and_the_collector(entry: Entry, ledger_db: str) -> None:
    before = snapshot(ledger_db)
    other = Stream.objects.using(ledger_db).create(name="other")
    with pytest.raises(AppendOnlyViolation):
        other.entries.add(entry)
    with pytest.raises(AppendOnlyViolation):
        other.entries.set([entry])
    for instance in (entry, entry.stream):
        collector = Collector(using=ledger_db, origin=instance)
        with (
            pytest.raises((AppendOnlyViolation, models.ProtectedError)),
            transaction.atomic(using=ledger_db),
        ):
            collector.collect([instance])
            collector.delete()
    assert snapshot(ledger_db)[0] == before[0]


@functools.cache
def plain_entry() -> Any:
    """A host site's proxy that forgot our manager."""

    class PlainEntry(Entry):
        objects = models.Manager()

        class Meta:
            proxy = True
            app_label = "nucleus_ledger"

    return PlainEntry


def test_a_proxy_with_a_plain_manager_is_stopped_too(entry: Entry, ledger_db: str) -> None:
    before = snapshot(ledger_db)
    manager = plain_entry().objects.using(ledger_db)
    with pytest.raises(AppendOnlyViolation), transaction.atomic(using=ledger_db):
        manager.all().delete()
    with pytest.raises(AppendOnlyViolation):
        manager.get(pk=entry.pk).delete()
    with pytest.raises(IntegrityError), transaction.atomic(using=ledger_db):
        manager.update(record_id="x")  # Django's own update(): the database refuses
    assert snapshot(ledger_db) == before


def test_loaddata_is_refused(entry: Entry, ledger_db: str, tmp_path: Any) -> None:
    before = snapshot(ledger_db)
    fixture = tmp_path / "entries.json"
    call_command(
        "dumpdata", "nucleus_ledger.entry", database=ledger_db, output=str(fixture), verbosity=0
    )
    assert len(json.loads(fixture.read_text("utf-8"))) == 3
    with pytest.raises(AppendOnlyViolation):
        call_command("loaddata", str(fixture), database=ledger_db, verbosity=0)
    assert snapshot(ledger_db) == before


def test_loading_rows_that_are_not_there_is_refused_too(
    entry: Entry, ledger_db: str, tmp_path: Path
) -> None:
    """What a fixture brings would enter the chain without a hash that was computed here."""
    before = snapshot(ledger_db)
    call_command("dumpdata", "nucleus_ledger.entry", "nucleus_ledger.stream", database=ledger_db,
                 output=str(tmp_path / "all.json"), verbosity=0)  # fmt: skip
    for document in json.loads((tmp_path / "all.json").read_text("utf-8")):
        if document["model"] == "nucleus_ledger.entry":
            document["pk"] = "ab" * 32
            document["fields"] |= {"sequence": 9, "record_id": "new"}
        else:
            document["pk"] += 1000
            document["fields"]["name"] = "new"
        (tmp_path / "new.json").write_text(json.dumps([document]), "utf-8")
        with pytest.raises(AppendOnlyViolation):
            call_command("loaddata", str(tmp_path / "new.json"), database=ledger_db, verbosity=0)
    assert snapshot(ledger_db) == before


@functools.cache
def host_models() -> tuple[Any, Any]:
    """Two models of a host site: one hangs on an entry, one extends it."""

    class Note(models.Model):
        entry = models.ForeignKey(Entry, models.CASCADE, related_name="+", db_constraint=False)
        objects: models.Manager[Any] = models.Manager()

        class Meta:
            app_label = "host"

    class Payment(Entry):
        entry_ptr = models.OneToOneField(  # leaves no trace on Entry for other tests
            Entry, models.CASCADE, parent_link=True, primary_key=True, related_name="+"
        )
        cents = models.IntegerField()
        objects = models.Manager()

        class Meta:
            app_label = "host"

    return Note, Payment


@pytest.fixture
def host(entry: Entry, ledger_db: str) -> tuple[Any, Any]:
    with isolate_apps("nucleus_ledger"):
        note, payment = host_models()
    key = connections[ledger_db].Database.Binary(bytes.fromhex(entry.pk))
    kind = "bytea" if connections[ledger_db].vendor == "postgresql" else "blob"
    sql(ledger_db, f"CREATE TABLE host_note (id integer PRIMARY KEY, entry_id {kind})")
    sql(ledger_db, f"CREATE TABLE host_payment (entry_ptr_id {kind} PRIMARY KEY, cents integer)")
    sql(ledger_db, "INSERT INTO host_note VALUES (1, %s)", [key])
    sql(ledger_db, "INSERT INTO host_payment VALUES (%s, 5)", [key])
    return note, payment


def test_no_host_model_takes_entries_along(
    host: tuple[Any, Any], entry: Entry, ledger_db: str
) -> None:
    before = snapshot(ledger_db)
    note, payment = (model.objects.using(ledger_db) for model in host)
    extended = payment.get(pk=entry.pk)
    assert extended.cents == 5
    attempts: list[Callable[[], Any]] = [
        extended.delete,
        lambda: extended.delete(keep_parents=True),
        payment.all().delete,
        lambda: payment.filter(cents=5).update(record_id="x"),
        lambda: models.Model.delete(extended),
        lambda: models.Model.save_base(extended, raw=True, using=ledger_db),
        lambda: models.Model.delete(entry),
    ]
    for attempt in attempts:
        with pytest.raises((AppendOnlyViolation, IntegrityError)):
            with transaction.atomic(using=ledger_db):
                attempt()
    assert snapshot(ledger_db) == before
    assert (note.count(), payment.count()) == (1, 1)
    note.all().delete()  # what is the host's own stays the host's own
    assert snapshot(ledger_db) == before


@pytest.mark.parametrize(
    "names",
    [("append", "aappend", "append_batch", "aappend_batch", "verify_integrity", "create")],
)
def test_what_adds_is_marked_for_templates(entry: Entry, names: tuple[str, ...]) -> None:
    for name in names:
        for place in (Entry.objects, Entry.objects.all(), entry.stream.entries):
            assert getattr(place, name).alters_data is True
    for name in ("append", "aappend"):
        assert getattr(entry.stream, name).alters_data is True
    for instance in (entry, entry.stream):
        for name in ON_MODELS:
            assert getattr(instance, name).alters_data is True, name


def test_no_template_can_append(entry: Entry, ledger_db: str) -> None:
    context = Context({"stream": entry.stream, "entries": entry.stream.entries})
    template = Template(
        "{{ stream.append }}{{ entries.append_batch }}{{ entries.verify_integrity }}"
    )
    assert template.render(context) == ""
    assert Entry.objects.using(ledger_db).count() == 3
