"""Streams spread over two databases: every database holds a ledger of its own."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction

from nucleus_ledger import guards
from nucleus_ledger.core import canonical
from nucleus_ledger.errors import IntegrityFailed
from nucleus_ledger.models import Entry, Stream, StreamStatus, Verification
from nucleus_ledger.signals import verification_finished
from tests.conftest import ALIASES
from tests.processes import Site, lines_of
from tests.tamper import lay_bare, sql

pytestmark = pytest.mark.django_db(databases=list(ALIASES))
ENTRY, STREAM = "nucleus_ledger_entry", "nucleus_ledger_stream"


class ByName:
    """Streams named `eu/…` live on PostgreSQL, all others on SQLite.

    Entries go with their stream. Of a model alone it can say nothing.
    """

    def db_for_write(self, model: Any, instance: Any = None, **hints: Any) -> str | None:
        if isinstance(instance, Entry):
            instance = instance._state.fields_cache.get("stream")
        if not isinstance(instance, Stream):
            return None
        return "postgres" if instance.name.startswith("eu/") else "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True  # or Django refuses the stream of an entry before anything is asked of it


class LedgerOnPostgres:
    """The ledger on PostgreSQL, everything else elsewhere."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "postgres" if model._meta.app_label == "nucleus_ledger" else None


def other_than(alias: str) -> str:
    (other,) = set(ALIASES) - {alias}
    return other


def lengths(alias: str) -> dict[str, int]:
    return dict(Stream.objects.using(alias).values_list("name", "length"))


def verify(alias: str, *arguments: str) -> dict[str, Any]:
    """Run the command on one database, and hold its report against its exit code."""
    output = io.StringIO()
    code = 0
    try:
        call_command(
            "verify_ledger", *arguments, "--database", alias, "--format", "json", stdout=output
        )
    except CommandError as exc:
        code = exc.returncode
    report: dict[str, Any] = json.loads(output.getvalue())
    assert (report["exit_code"], report["database"]) == (code, alias)
    return report


@pytest.fixture
def both() -> dict[str, list[Entry]]:
    """The stream `s` in both databases: equal record ids and times, other payloads."""
    return {
        alias: Entry.objects.using(alias).append_batch(
            [
                {
                    "stream": "s",
                    "record_id": f"r{n}",
                    "timestamp": 1_357_035_300_000 + n,
                    "payload": {"n": n, "in": alias},
                }
                for n in range(3)
            ]
        )
        for alias in ALIASES
    }


@pytest.fixture
def by_name(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [ByName()]


def test_the_same_name_in_two_databases_is_two_chains(both: dict[str, list[Entry]]) -> None:
    heads = set()
    for alias, entries in both.items():
        manager = Entry.objects.using(alias)
        assert [entry.sequence for entry in entries] == [0, 1, 2]
        assert [entry._state.db for entry in entries] == [alias] * 3
        assert {entry.stream._state.db for entry in entries} == {alias}
        assert list(manager.in_chain_order("s")) == entries
        assert manager.get_by_id("s", "r1").payload == {"n": 1, "in": alias}
        assert manager.latest_hash("s") == entries[2].hash
        assert manager.load_entries_range("s", from_hash=entries[1].hash) == entries[1:]
        assert Entry.objects.using(other_than(alias)).load_entry(entries[1].hash) is None
        heads.add(entries[2].hash)
    assert len(heads) == 2
    # An append moves one head; and what is stored already is asked of the same database.
    Entry.objects.using("postgres").append("s", {}, record_id="r3", expected_length=3)
    assert [lengths(alias) for alias in ALIASES] == [{"s": 3}, {"s": 4}]
    told = [
        Entry.objects.using(alias).append("s", {}, record_id="r3", idempotent=True).is_new
        for alias in ALIASES
    ]
    assert told == [True, False]
    assert [lengths(alias) for alias in ALIASES] == [{"s": 4}, {"s": 4}]


@pytest.mark.parametrize("alias", ALIASES)
def test_save_using_goes_to_the_database_that_is_named(alias: str, by_name: None) -> None:
    """Also against the router, which would put each of these into the other one."""
    name = "us/1" if alias == "postgres" else "eu/1"
    stream = Stream(name=name)
    stream.save(using=alias)
    entries = [Entry(stream=stream, payload={"n": 0}), Entry(stream=stream, payload={"n": 1})]
    for entry in entries:
        entry.save(using=alias)
    unsaved = Entry(stream=Stream(name=name), payload={"n": 2})
    unsaved.save(using=alias)
    assert unsaved.prev_hash == entries[1].hash
    assert {each._state.db for each in (stream, *entries, unsaved)} == {alias}
    assert [lengths(each) for each in (alias, other_than(alias))] == [{name: 3}, {}]
    assert verify(alias)["result"] == "intact"


@pytest.mark.parametrize(("name", "alias"), [("eu/1", "postgres"), ("us/1", "default")])
def test_a_router_places_streams_by_their_instance(name: str, alias: str, by_name: None) -> None:
    stream = Stream(name=name)
    stream.save()
    assert stream._state.db == alias
    saved = Entry(stream=stream, payload={"by": "save"})
    saved.save()
    loose = Entry(stream=Stream(name=name), payload={"by": "save, of a stream not looked up"})
    loose.save()
    entries = [
        saved,
        loose,
        stream.append({"by": "stream.append"}),
        stream.entries.create(payload={"by": "stream.entries.create"}),
        stream.entries.append(name, {"by": "stream.entries.append"}),
        stream.entries.append_batch([{"stream": name, "payload": {"by": "a batch"}}])[0],
    ]
    assert [entry.sequence for entry in entries] == list(range(6))
    assert {entry._state.db for entry in entries} == {alias}
    assert [lengths(each) for each in (alias, other_than(alias))] == [{name: 6}, {}]
    assert verify(alias)["entries"] == 6


def test_a_call_that_names_only_a_stream_asks_the_router_for_the_model(settings: Any) -> None:
    """A name is no instance: such calls, and batches of many streams, go to one database."""
    settings.DATABASE_ROUTERS = [LedgerOnPostgres()]
    Entry.objects.append("one", {})
    Entry.objects.append_batch([{"stream": name, "payload": {}} for name in ("eu/1", "us/1")])
    Stream.objects.create(name="empty")
    assert lengths("postgres") == {"one": 1, "eu/1": 1, "us/1": 1, "empty": 0}
    settings.DATABASE_ROUTERS = [ByName()]
    Entry.objects.append("eu/1", {})
    assert lengths("default") == {"eu/1": 1}


@pytest.mark.parametrize("how", ["append", "append_batch", "create"])
def test_a_stream_of_another_database_is_not_begun_anew_by_accident(how: str) -> None:
    """`save()` of an entry of that stream appends to it where it is: nothing else should not."""
    stream = Stream.objects.using("postgres").create(name="s")
    try:
        if how == "append":
            Entry.objects.append(stream, {})
        elif how == "append_batch":
            Entry.objects.append_batch([{"stream": stream, "payload": {}}])
        else:
            Entry.objects.create(stream=stream, payload={})
    except ValueError:
        pass  # to be refused would be as good
    assert lengths("default") == {}


def test_what_is_rolled_back_in_one_database_stays_in_the_other() -> None:
    class Undone(Exception):
        pass

    with pytest.raises(Undone):
        with transaction.atomic(using="default"):
            Entry.objects.using("default").append("s", {"n": 0})
            Entry.objects.using("postgres").append("s", {"n": 0})
            raise Undone
    assert [lengths(alias) for alias in ALIASES] == [{}, {"s": 1}]
    Entry.objects.using("default").append("s", {"n": 1})
    assert [verify(alias)["result"] for alias in ALIASES] == ["intact", "intact"]


@pytest.mark.parametrize("broken", ALIASES)
def test_the_verification_of_one_says_nothing_of_the_other(
    broken: str, both: dict[str, list[Entry]]
) -> None:
    whole = other_than(broken)
    heard = []

    def listen(sender: Any, *, report: Any, using: str, **kwargs: Any) -> None:
        heard.append((using, report.result))

    verification_finished.connect(listen)
    try:
        lay_bare(broken)
        sql(broken, f"UPDATE {ENTRY} SET record_id = 'x' WHERE sequence = 1")
        assert verify(whole)["exit_code"] == 0
        assert StreamStatus.objects.using(broken).count() == 0  # not looked at so far
        report = verify(broken)
        assert report["exit_code"] == 1
        (finding,) = report["streams"][0]["findings"]
        assert (finding["kind"], finding["sequence"]) == ("field_mismatch", 1)
        assert verify(whole, "--incremental")["exit_code"] == 0
    finally:
        verification_finished.disconnect(listen)
    assert heard == [(whole, "intact"), (broken, "tampered"), (whole, "intact_since")]
    results = {
        alias: list(StreamStatus.objects.using(alias).values_list("result", flat=True))
        for alias in ALIASES
    }
    assert results == {broken: ["tampered"], whole: ["intact"]}
    assert Verification.objects.using(broken).count() == 1
    assert Verification.objects.using(whole).count() == 2
    # Appends stop where the break is, whatever the stream is called elsewhere.
    with pytest.raises(IntegrityFailed):
        Entry.objects.using(broken).append("s", {})
    assert Entry.objects.using(whole).append("s", {}).sequence == 3


def test_findings_are_acknowledged_in_their_own_database(both: dict[str, list[Entry]]) -> None:
    for alias in ALIASES:
        guards.remove(connections[alias])
        sql(alias, f"UPDATE {ENTRY} SET record_id = 'x' WHERE sequence = 1")
    output = io.StringIO()
    command = ("acknowledge_findings", "s", "--reason", "a test", "--database", "postgres")
    call_command(*command, stdout=output)
    assert lengths("postgres") == {"s": 3, "nucleus.incidents": 1}
    assert lengths("default") == {"s": 3}
    codes = [verify(alias, "s", "--accept-acknowledged")["exit_code"] for alias in ALIASES]
    assert codes == [1, 0]
    assert Entry.objects.using("postgres").append("s", {}).sequence == 3
    with pytest.raises(IntegrityFailed):
        Entry.objects.using("default").append("s", {})


@pytest.mark.parametrize("alias", ALIASES)
def test_each_database_has_guards_of_its_own(alias: str, both: dict[str, list[Entry]]) -> None:
    other = other_than(alias)
    guards.remove(connections[alias])
    assert not guards.inspect(connections[alias]).ok
    assert guards.inspect(connections[other]).ok
    with pytest.raises(IntegrityError), transaction.atomic(using=other):
        sql(other, f"DELETE FROM {ENTRY}")
    assert Entry.objects.using(other).count() == 3
    # Nobody hears of it who verifies the other one.
    strict = [verify(each, "--strict-guards")["exit_code"] for each in (alias, other)]
    assert strict == [3, 0]
    assert [bool(verify(each)["warnings"]) for each in (alias, other)] == [True, False]


def rows_of(alias: str, columns: str, condition: str = "") -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {ENTRY} {condition} ORDER BY sequence")
        return [
            tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            for row in cursor.fetchall()
        ]


def carry(source: str, target: str, condition: str = "") -> None:
    """Put the rows of one database's stream into the place of the same ones of another."""
    plain = "hash, sequence, record_id, timestamp, prev_hash, serialized"
    lay_bare(target)
    binary = connections[target].Database.Binary
    for hash_, sequence, *rest in rows_of(source, plain, condition):
        record_id, timestamp, prev_hash, serialized = rest
        # As an append writes it: SQLite keeps the text.
        payload = canonical.dumps(json.loads(serialized)["payload"])
        sql(
            target,
            f"UPDATE {ENTRY} SET hash = %s, record_id = %s, timestamp = %s, prev_hash = %s, "
            "serialized = %s, payload = %s WHERE sequence = %s",
            [
                binary(hash_),
                record_id,
                timestamp,
                None if prev_hash is None else binary(prev_hash),
                serialized,
                payload,
                sequence,
            ],
        )


@pytest.mark.parametrize("target", ALIASES)
def test_an_entry_of_the_same_stream_elsewhere_does_not_fit_in(
    target: str, both: dict[str, list[Entry]]
) -> None:
    """Ledger id, stream and sequence are the same; the link to the entry before is not."""
    carry(other_than(target), target, "WHERE sequence = 1")
    found = [
        (finding["kind"], finding["sequence"])
        for finding in verify(target)["streams"][0]["findings"]
    ]
    assert found == [("link_broken", 1), ("link_broken", 2)]


@pytest.mark.parametrize("target", ALIASES)
def test_a_whole_chain_from_elsewhere_is_not_the_one_that_was_verified(
    target: str, both: dict[str, list[Entry]]
) -> None:
    """By itself it is a good chain of this ledger: only what was stored here tells."""
    source = other_than(target)
    assert [verify(alias)["result"] for alias in ALIASES] == ["intact", "intact"]
    carry(source, target)
    last = both[source][-1]
    binary = connections[target].Database.Binary
    sql(
        target,
        f"UPDATE {STREAM} SET head_hash = %s, head_timestamp = %s",
        [binary(bytes.fromhex(last.hash)), last.timestamp],
    )
    (finding,) = verify(target)["streams"][0]["findings"]
    assert (finding["kind"], finding["sequence"]) == ("head_mismatch", 2)
    assert (finding["expected"], finding["actual"]) == (both[target][-1].hash, last.hash)
    sql(target, "DELETE FROM nucleus_ledger_streamstatus")
    assert verify(target)["result"] == "intact"


# The sample site with its ledger in two of three databases, by a router that says so.
SETTINGS = """
import os
from project.settings import *

FOLDER = os.environ["FOLDER"]
DATABASES["east"] = sqlite_storage(f"{FOLDER}/east.sqlite3")
DATABASES["west"] = sqlite_storage(f"{FOLDER}/west.sqlite3")
# A replica of the second, such as a file system snapshot mounted for reading only.
DATABASES["west_replica"] = {
    **DATABASES["west"],
    "NAME": f"file:{FOLDER}/west.sqlite3?mode=ro",
    "OPTIONS": {"uri": True},
}
SILENCED_SYSTEM_CHECKS = ["nucleus_ledger.W002"]
DATABASE_ROUTERS = ["routed_settings.LedgerInTheEast"]

class LedgerInTheEast:
    def db_for_read(self, model, **hints):
        return "east" if model._meta.app_label == "nucleus_ledger" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (app_label == "nucleus_ledger") == (db != "default")
"""


@pytest.fixture
def routed(tmp_path: Path) -> Site:
    """A site of three databases, migrated, with `s` in both that hold a ledger."""
    (tmp_path / "routed_settings.py").write_text(SETTINGS)
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "DJANGO_SETTINGS_MODULE": "routed_settings",
        "PYTHONPATH": os.pathsep.join(path),
        "FOLDER": str(tmp_path),
    }
    site = Site(f"sqlite:///{tmp_path / 'site.sqlite3'}", environment)
    site.python(
        "from django.core.management import call_command\n"
        "for alias in ('default', 'east', 'west'):\n"
        "    call_command('migrate', '--verbosity', '0', database=alias)\n"
        "for alias in ('east', 'west'):\n"
        "    Entry.objects.using(alias).append_batch(\n"
        "        [{'stream': 's', 'payload': {'n': n, 'in': alias}} for n in range(4)])"
    )
    return site


def test_the_command_verifies_the_database_it_is_given(routed: Site) -> None:
    done = routed.python(
        "from django.db import connections\n"
        "from nucleus_ledger import guards\n"
        "tables = {a: [t for t in connections[a].introspection.table_names()\n"
        "    if t.startswith('nucleus_ledger_')] for a in ('default', 'east', 'west')}\n"
        "stand = [guards.inspect(connections[a]).ok for a in ('east', 'west')]\n"
        "print({a: len(t) for a, t in tables.items()}, stand)\n"
        "entry = Entry.objects.append('s', {})\n"
        "print(entry._state.db, entry.sequence)"
    )
    assert done.stdout.splitlines() == [
        "{'default': 0, 'east': 9, 'west': 9} [True, True]",
        "east 4",
    ]
    reports = {alias: routed.report("--database", alias) for alias in ("east", "west")}
    assert [reports[alias]["entries"] for alias in reports] == [5, 4]
    assert {report["result"] for report in reports.values()} == {"intact"}
    heads = {report["streams"][0]["head_hash"] for report in reports.values()}
    assert len(heads) == 2
    # Where none is named, a command takes the database that the router names for entries.
    assert routed.report()["database"] == "east"
    done = routed.manage("append_entries", text=lines_of({"stream": "s", "payload": {}}))
    assert (done.returncode, done.stdout) == (0, "1 entries appended.\n")
    assert [routed.report("--database", alias)["entries"] for alias in ("east", "west")] == [6, 4]
    # A database that has no ledger is not one that is intact.
    done = routed.manage("verify_ledger", "--database", "default")
    assert (done.returncode, done.stdout) == (2, "")
    assert "manage.py migrate --database default" in done.stderr


def test_no_base_is_taken_from_another_chain(routed: Site) -> None:
    """The router knows of one writable database, and the replica is of another."""
    for alias in ("east", "west"):
        assert routed.report("--database", alias)["result"] == "intact"
    assert routed.report("--database", "west_replica")["result"] == "intact"
    done = routed.manage("verify_ledger", "--database", "west_replica", "--incremental")
    assert done.returncode == 2
    assert "begins with another entry in database 'east' than in 'west_replica'" in done.stderr
