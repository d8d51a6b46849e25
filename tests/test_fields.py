"""A hash column in the hands of a host: lookups, generic relations, validation, DRF, filters."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldError, ValidationError
from django.db import connections, models
from django.test import RequestFactory
from django_filters import FilterSet
from rest_framework.serializers import ModelSerializer

from nucleus_ledger.fields import HashField
from nucleus_ledger.filters import HashFilter
from nucleus_ledger.models import Entry, Stream


class Mark(models.Model):
    """What a host puts on things of any kind."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=100)
    thing = GenericForeignKey()

    class Meta:
        app_label = "tests"


@pytest.fixture
def entries(ledger_db: str) -> list[Entry]:
    return [Entry.objects.using(ledger_db).append("s", {"n": n}) for n in range(40)]


def found(using: str, **lookups: Any) -> list[int]:
    rows = Entry.objects.using(using).filter(**lookups).order_by("sequence")
    return list(rows.values_list("sequence", flat=True))


class AllIn:
    """Django's prefetch of generic relations asks the router, whatever the query set is of."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias


def test_generic_relations_are_prefetched(
    ledger_db: str, entries: list[Entry], settings: Any
) -> None:
    settings.DATABASE_ROUTERS = [AllIn(ledger_db)]
    with connections[ledger_db].cursor() as cursor:
        cursor.execute(
            "CREATE TABLE tests_mark (id integer PRIMARY KEY, "
            "content_type_id integer, object_id varchar(100))"
        )
    kind = ContentType.objects.db_manager(ledger_db).get_for_model(Entry)
    marks = Mark.objects.using(ledger_db)
    for n, entry in enumerate(entries[:3]):
        marks.create(pk=n, content_type=kind, object_id=entry.pk)
    assert [mark.thing for mark in marks.order_by("pk")] == entries[:3]
    assert [mark.thing for mark in marks.order_by("pk").prefetch_related("thing")] == entries[:3]


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_lookups_take_hex_digits(ledger_db: str, entries: list[Entry], change: Any) -> None:
    entry = entries[7]
    whole = change(entry.hash)
    for lookup in ("hash", "pk", "hash__exact", "hash__iexact"):
        assert found(ledger_db, **{lookup: whole}) == [7]
    assert found(ledger_db, hash__in=[whole, entries[3].hash]) == [3, 7]
    assert found(ledger_db, prev_hash=whole) == [8]
    assert found(ledger_db, prev_hash__isnull=True) == [0]
    assert Entry.objects.using(ledger_db).in_bulk([whole]) == {entry.hash: entry}
    for length in (0, 1, 2, 3, 31, 32, 63, 64):
        wanted = [e.sequence for e in entries if e.hash.startswith(entry.hash[:length])]
        for lookup in ("hash__startswith", "hash__istartswith"):
            assert found(ledger_db, **{lookup: whole[:length]}) == wanted, (lookup, length)
    assert found(ledger_db, hash__gt=whole) == [e.sequence for e in entries if e.hash > entry.hash]
    assert found(ledger_db, hash__lte=whole) == [
        e.sequence for e in entries if e.hash <= entry.hash
    ]
    assert found(ledger_db, stream__head_hash__startswith=entries[-1].hash[:9]) == list(range(40))


@pytest.mark.parametrize(
    "lookup", ["contains", "icontains", "endswith", "iendswith", "regex", "iregex"]
)
def test_lookups_that_would_find_nothing_are_refused(ledger_db: str, lookup: str) -> None:
    with pytest.raises(FieldError, match="Use hash__startswith with its first hex digits"):
        Entry.objects.using(ledger_db).filter(**{f"hash__{lookup}": "ab"})
    with pytest.raises(FieldError, match="Use head_hash__startswith"):
        Entry.objects.using(ledger_db).filter(**{f"stream__head_hash__{lookup}": "ab"})


@pytest.mark.parametrize("value", ["", "ab", "g" * 64, "a " * 32, b"ab", 5, "a" * 65])
def test_what_is_no_hash_is_refused(ledger_db: str, value: Any) -> None:
    for lookup in ("hash", "hash__iexact", "hash__gt"):
        with pytest.raises(ValidationError, match="64 hex digits"):
            found(ledger_db, **{lookup: value})
    with pytest.raises(ValidationError, match="64 hex digits"):
        found(ledger_db, hash__in=[value])


@pytest.mark.parametrize("value", ["g", "a" * 65, 5, "a b"])
def test_what_begins_no_hash_is_refused(ledger_db: str, value: Any) -> None:
    with pytest.raises(ValidationError, match="up to 64 hex digits"):
        found(ledger_db, hash__startswith=value)


@pytest.mark.parametrize("payload", [{}, [], {"a": None}, [1, 2.5]])
@pytest.mark.parametrize("meta", [None, {}, {"by": "x"}])
def test_stored_rows_are_clean(ledger_db: str, payload: Any, meta: Any) -> None:
    stored = Entry.objects.using(ledger_db)
    for entry in [stored.append("s", payload, meta=meta), stored.get(), stored.append("s", {})]:
        before = dict(entry.__dict__)
        entry.full_clean()
        assert {k: v for k, v in entry.__dict__.items() if k != "_state"} == {
            k: v for k, v in before.items() if k != "_state"
        }
    for stream in Stream.objects.using(ledger_db):
        stream.full_clean()


def test_new_entries_are_judged_as_an_append_judges_them(ledger_db: str) -> None:
    stream = Entry.objects.using(ledger_db).append("s", {}, record_id="first").stream
    new = Entry(stream=stream, payload={"at": stream.pk})
    new.full_clean()
    new.save(using=ledger_db)
    assert new.sequence == 1
    for values, key, message in (
        ({"payload": None}, "payload", "cannot be null"),
        ({"payload": 5}, "__all__", "payload"),
        ({"payload": {"x": object()}}, "__all__", "payload.x"),
        ({"payload": {}, "record_id": "a\nb"}, "__all__", "control characters"),
        ({"payload": {}, "sequence": 9}, "__all__", "sequence: computed by the ledger"),
        ({"payload": {}, "record_id": "first"}, "__all__", "already exists"),
    ):
        with pytest.raises(ValidationError) as caught:
            Entry(stream=stream, **values).full_clean()
        assert message in str(caught.value.message_dict[key])
    with pytest.raises(ValidationError) as caught:
        Entry(payload={}).full_clean()
    assert "stream" in caught.value.message_dict


class EntrySerializer(ModelSerializer):  # type: ignore[type-arg]
    class Meta:
        model = Entry
        fields = "__all__"


class NewEntrySerializer(ModelSerializer):  # type: ignore[type-arg]
    class Meta:
        model = Entry
        fields = ("stream", "record_id", "payload", "hash")
        validators = ()  # the append judges, and asks the stream's head


class EntryFilter(FilterSet):  # type: ignore[misc]
    class Meta:
        model = Entry
        fields = {"hash": ["exact", "startswith", "in"], "stream": ["exact"]}  # noqa: RUF012
        filter_overrides = {HashField: {"filter_class": HashFilter}}  # noqa: RUF012


def test_a_serializer_shows_an_entry(ledger_db: str, entries: list[Entry]) -> None:
    data = EntrySerializer(entries[1]).data
    assert data["hash"] == entries[1].hash
    assert data["prev_hash"] == entries[0].hash
    assert data["payload"] == {"n": 1}
    assert EntrySerializer(entries[0]).data["prev_hash"] is None
    computed = {"hash", "sequence", "prev_hash", "serialized"}
    assert computed == {name for name, f in EntrySerializer().fields.items() if f.read_only}


@pytest.mark.parametrize("alias", ["default"])  # DRF asks the default database
def test_a_serializer_appends(ledger_db: str, entries: list[Entry]) -> None:
    stream = entries[0].stream_id
    new = NewEntrySerializer(data={"stream": stream, "payload": {"n": 40}})
    assert new.is_valid(), new.errors
    assert new.save().sequence == 40
    assert new.data["hash"] == Entry.objects.latest_hash("s")
    wrong = NewEntrySerializer(data={"stream": stream})
    assert not wrong.is_valid()
    assert set(wrong.errors) == {"payload"}


class CleanEntrySerializer(NewEntrySerializer):
    """As the docs have it: what an append would refuse is the client's error."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        Entry(**attrs).clean()
        return attrs


@pytest.mark.parametrize("alias", ["default"])
def test_a_serializer_refuses_what_an_append_would(ledger_db: str, entries: list[Entry]) -> None:
    stream = entries[0].stream_id
    wrong = CleanEntrySerializer(data={"stream": stream, "payload": {"n": 2**60}})
    assert not wrong.is_valid()
    assert "payload.n" in str(wrong.errors)
    new = CleanEntrySerializer(data={"stream": stream, "payload": {"n": 40}})
    assert new.is_valid(), new.errors
    assert new.save().sequence == 40


def test_a_filter_set_filters(ledger_db: str, entries: list[Entry]) -> None:
    every = Entry.objects.using(ledger_db).all()
    entry = entries[5]
    for asked in (
        {"hash": entry.hash.upper()},
        {"hash__startswith": entry.hash[:20]},
        {"hash__in": f"{entry.hash},{'0' * 64}"},
    ):
        request = RequestFactory().get("/", asked)
        chosen = EntryFilter(request.GET, every)
        assert chosen.is_valid(), chosen.errors
        assert list(chosen.qs) == [entry]
    for asked in ({"hash": "ab"}, {"hash__startswith": "xyz"}, {"hash__in": f"{entry.hash},b"}):
        chosen = EntryFilter(RequestFactory().get("/", asked).GET, every)
        assert not chosen.is_valid()
        assert "hex digits" in str(chosen.errors)
