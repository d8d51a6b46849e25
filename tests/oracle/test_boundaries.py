"""Faults on either side of where a walk is cut: at the 20,000 entries of a step, and at the ranges
that worker processes take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from nucleus_ledger import guards, stepping, workers
from nucleus_ledger.models import Entry, Verification
from tests.oracle import jcs, oracle
from tests.oracle.asking import run
from tests.oracle.ledgers import ALIAS, LEDGER, Subject, create
from tests.processes import Site

LENGTH = stepping.ENTRIES + 30
CUTS = range(workers.SMALLEST_RANGE, LENGTH, workers.SMALLEST_RANGE)
Edit = Callable[[Any, int], None]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def long(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[Subject]:
    """A stream of more entries than a step reads, and a short one after it."""
    folder = tmp_path_factory.mktemp("long")
    with django_db_blocker.unblock():
        subject = create(request.param, folder, "long")
        with override_settings(DATABASE_ROUTERS=["tests.oracle.ledgers.ToSubject"]):
            with subject.routed():
                call_command("migrate", database=ALIAS, verbosity=0)
                append("long", LENGTH)
                append("short", 5)
            yield subject
        subject.destroy()


def append(stream: str, count: int) -> None:
    for low in range(0, count, 5000):
        Entry.objects.append_batch(
            {"stream": stream, "record_id": f"{stream}-{n}", "payload": {"n": n}}
            for n in range(low, min(low + 5000, count))
        )


def edit(subject: Subject, *edits: tuple[Edit, int]) -> None:
    connection = subject.open()
    for statement in guards.undo_statements(subject.kind):
        connection.execute(statement)
    for each, place in edits:
        each(connection, place)
    for statement in guards.statements(subject.kind):
        connection.execute(statement)
    connection.close()


def set_column(column: str, value: str) -> Edit:
    """Return an edit of one column of the entry at a place."""

    def editing(connection: Any, place: int) -> None:
        connection.execute(
            f"UPDATE nucleus_ledger_entry SET {column} = {value} WHERE sequence = {place} "
            "AND record_id LIKE 'long-%'"
        )

    editing.__name__ = column
    return editing


def deleted(connection: Any, place: int) -> None:
    connection.execute(
        f"DELETE FROM nucleus_ledger_entry WHERE sequence = {place} AND record_id LIKE 'long-%'"
    )


def rehashed(connection: Any, place: int) -> None:
    """Another payload, with text and hash made right: only the next entry's link tells."""
    text = connection.execute(
        f"SELECT serialized FROM nucleus_ledger_entry WHERE record_id = 'long-{place}'"
    ).fetchone()[0]
    text = text.decode() if isinstance(text, bytes) else text
    text = jcs.write({**jcs.read(text), "payload": {"n": -1}})
    digest = hashlib.sha256(text.encode()).hexdigest()
    literal = f"x'{digest}'" if type(connection).__module__ == "sqlite3" else f"'\\x{digest}'"
    connection.execute(
        f"UPDATE nucleus_ledger_entry SET serialized = '{text}', hash = {literal}, "
        f"payload = '{{\"n\":-1}}' WHERE record_id = 'long-{place}'"
    )


payload = set_column("payload", "'{\"n\":-1}'")
time = set_column("timestamp", "timestamp + 1")
EDITS: list[Edit] = [payload, time, deleted, rehashed]


def red(subject: Subject) -> set[str | None]:
    return {each.name for each in oracle.judge(subject.rows(), {LEDGER}) if not each.whole}


def stepped(subject: Subject) -> tuple[Verification, int]:
    key, steps = stepping.begin(ALIAS).pk, 0
    while not stepping.step(ALIAS, key).finished:
        steps += 1
    return Verification.objects.get(pk=key), steps


def test_steps_end_where_faults_are_looked_for(long: Subject) -> None:
    with long.copied() as subject:
        assert red(subject) == set()
        ended, steps = stepped(subject)
        assert (ended.result, ended.entries, steps) == ("intact", LENGTH + 5, 1)


@pytest.mark.parametrize(
    ("each", "place"),
    [
        (payload, stepping.ENTRIES - 1),
        (rehashed, stepping.ENTRIES - 1),
        (deleted, stepping.ENTRIES),
        (time, stepping.ENTRIES),
    ],
    ids=["last entry of a step", "the next step's link", "gap at its beginning", "its first entry"],
)
def test_a_fault_on_either_side_of_a_step(long: Subject, each: Edit, place: int) -> None:
    with long.copied() as subject:
        edit(subject, (each, place))
        assert red(subject) == {"long"}
        ended, _steps = stepped(subject)
        assert ended.result == "tampered"
        found = {(finding.stream, finding.sequence) for finding in ended.findings.all()}
        assert found == {("long", place + (each is rehashed))}


def with_two_processes(subject: Subject) -> dict[str, Any]:
    """What the sample site reports, whose workers are processes as they are on a server."""
    url = f"sqlite:///{subject.place}" if subject.kind == "sqlite" else subject.url
    return Site(url).report("--workers", "2")


def told(said: dict[str, Any]) -> list[Any]:
    return [[each["name"], each["intact"], each["findings"]] for each in said["streams"]]


def test_ranges_of_worker_processes_find_what_one_walk_finds(long: Subject) -> None:
    """At each cut a fault of another kind, before it, right behind it and further on."""
    with long.copied() as subject:
        said = with_two_processes(subject)
        assert (said["result"], said["entries"]) == ("intact", LENGTH + 5)
    turn = 0 if long.kind == "sqlite" else 1
    chosen = [
        (EDITS[(number + turn) % 4], cut + (-2, -1, 0, 1)[(number + 2 * turn) % 4])
        for number, cut in enumerate(CUTS)
    ]
    with long.copied() as subject:
        edit(subject, *chosen)
        assert red(subject) == {"long"}
        one = run("verify_ledger", "--format", "json", "--database", ALIAS).report
        two = with_two_processes(subject)
    assert (two["result"], two["exit_code"]) == ("tampered", 1)
    assert told(one) == told(two), chosen
    places = {finding["sequence"] for finding in two["streams"][0]["findings"]}
    assert places == {place + (each is rehashed) for each, place in chosen}
