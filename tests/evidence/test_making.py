"""The signer: what it goes on from, what it refuses, and that nothing is lost on the way out."""

from __future__ import annotations

import io
import json
import re
import stat
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import CaptureQueriesContext

from nucleus_ledger.core import note, signing
from nucleus_ledger.core.manifest import parse_manifest
from nucleus_ledger.errors import (
    CheckpointRefused,
    ConfigurationError,
    IntegrityFailed,
    InvalidData,
    LedgerError,
    SinkFailed,
)
from nucleus_ledger.evidence import making, signers, sinks, stored
from nucleus_ledger.models import Checkpoint, Entry, HashTile, RecordedHead, Stream
from tests import attacker
from tests.evidence.signing_site import ORIGIN, SigningSite
from tests.tamper import lay_bare, sql


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(ledger_db, "payments", 5)
    return site


def append(alias: str, stream: str, count: int) -> None:
    Entry.objects.using(alias).append_batch(
        {"stream": stream, "payload": {"cents": n}} for n in range(count)
    )


def add_storage(site: SigningSite, name: str) -> None:
    site.settings.STORAGES = {
        **site.settings.STORAGES,
        name: {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(site.folder / name)},
        },
    }


def test_the_first_one_needs_init_and_there_is_one_first(site: SigningSite) -> None:
    with pytest.raises(CheckpointRefused, match="--init makes the first one"):
        site.make()
    assert stored.size(site.alias) == 0
    made = site.make(init=True)
    assert (made.number, made.size, made.streams, made.entries) == (0, 1, 2, 6)
    with pytest.raises(InvalidData, match="a log begins once"):
        site.make(init=True)
    assert site.make().number is None  # nothing is new
    append(site.alias, "payments", 2)
    made = site.make()
    assert (made.number, made.streams, made.entries) == (1, 1, 2)
    assert site.said().size == 2


def test_what_a_sink_holds_is_all_an_auditor_needs(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "more", 1)
    site.make()
    folder = sinks.folder(site.log)
    assert folder.newest() == 2
    log = stored.log(sinks.documents(folder, 0, 2))
    assert log.tree.root() == site.said().root
    assert set(log.heads) == {"more", "nucleus.keys", "payments"}
    assert [parse_manifest(folder.manifest(n)).streams for n in range(2)] == [2, 3]
    assert len(folder.heads(1)) == 1


def test_an_empty_stream_is_recorded_too(site: SigningSite) -> None:
    Stream.objects.using(site.alias).create(name="empty")
    site.make(init=True)
    append(site.alias, "empty", 1)
    assert site.make().entries == 1
    assert site.verify(site.kept()).result == "intact"


def test_a_sink_that_fails_is_told_and_tried_again(
    site: SigningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_storage(site, "second")
    site.configure(CHECKPOINT_SINKS=["storage:evidence", "storage:second"])
    site.make(init=True)
    whole = sinks.StorageSink.put

    def broken(self: sinks.StorageSink, issue: sinks.Issue) -> None:
        if self.name == "storage:second":
            raise SinkFailed("storage:second: the disk is full")
        whole(self, issue)

    monkeypatch.setattr(sinks.StorageSink, "put", broken)
    append(site.alias, "payments", 1)
    made = site.make()
    assert made.failures == [
        "storage:second did not take checkpoint 2: storage:second: the disk is full"
    ]
    assert Checkpoint.objects.using(site.alias).get(number=1).undelivered == ["storage:second"]
    monkeypatch.undo()
    made = site.make()
    assert (made.number, made.failures) == (None, [])
    second = sinks.folder(site.folder / "second" / sinks.folder_of(ORIGIN))
    assert second.note(2) == site.note(2).read_text("utf-8")
    assert Checkpoint.objects.using(site.alias).get(number=1).undelivered == []


def test_the_only_sink_fails_and_gets_it_later(
    site: SigningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: sinks.StorageSink, issue: sinks.Issue) -> None:
        raise SinkFailed("it is away")

    for number in range(2):
        append(site.alias, "payments", 1)
        with monkeypatch.context() as patch:
            patch.setattr(sinks.StorageSink, "put", broken)
            assert len(site.make(init=not number).failures) == 1
        if number == 0:
            with pytest.raises(InvalidData, match="a log begins once"):
                site.make(init=True)  # it was delivered first, and is there now
        assert site.make().failures == []
        assert site.said().size == number + 1


def test_half_a_file_is_written_again(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "payments", 1)
    site.make()
    text = site.note().read_text("utf-8")
    site.note().write_text(text[:40], "utf-8")
    Checkpoint.objects.using(site.alias).filter(number=1).update(undelivered=["storage:evidence"])
    site.make()
    assert site.note().read_text("utf-8") == text


def test_a_new_sink_gets_all_that_was_before(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "payments", 1)
    site.make()
    add_storage(site, "second")
    site.configure(CHECKPOINT_SINKS=["storage:evidence", "storage:second"])
    assert site.make().failures == []
    second = sinks.folder(site.folder / "second" / sinks.folder_of(ORIGIN))
    assert stored.log(sinks.documents(second, 0, 2)).tree.root() == site.said().root


def test_a_new_sink_gets_nothing_that_was_not_signed(site: SigningSite) -> None:
    site.make(init=True)
    for _ in range(2):
        append(site.alias, "payments", 1)
        site.make()
    add_storage(site, "second")
    site.configure(CHECKPOINT_SINKS=["storage:evidence", "storage:second"])
    first = Checkpoint.objects.using(site.alias).filter(number=0)
    text = first.get().manifest
    first.update(manifest=text.replace("2026", "2025"))
    made = site.make()
    assert "the manifests here are not those signed" in made.failures[0]
    assert not (site.folder / "second").exists()
    first.update(manifest=text)
    assert site.make().failures == []


def test_a_sink_that_was_emptied_is_an_alarm(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "payments", 1)
    site.make()
    site.log.rename(site.folder / "taken away")
    Checkpoint.objects.using(site.alias).update(undelivered=["storage:evidence"])
    with pytest.raises(CheckpointRefused, match="find out what became of it"):
        site.make()
    with pytest.raises(CheckpointRefused, match="a log that no sink knows"):
        site.make(init=True)
    assert not site.log.exists()


def test_two_sinks_that_disagree(site: SigningSite) -> None:
    add_storage(site, "second")
    site.configure(CHECKPOINT_SINKS=["storage:evidence", "storage:second"])
    site.make(init=True)
    said = site.said()
    other = signing.sign(str(type(said)(said.origin, 1, b"\1" * 32)), [site.signer])
    second = site.folder / "second" / sinks.folder_of(ORIGIN) / "checkpoints/000/000/001.txt"
    second.write_text(str(other), "utf-8")
    append(site.alias, "payments", 1)
    with pytest.raises(CheckpointRefused, match="two checkpoints of one size") as refused:
        site.make()
    assert str(other) in str(refused.value)
    assert site.note(1).read_text("utf-8") in str(refused.value)


@pytest.mark.parametrize("damage", ["forged", "unsigned", "other origin"])
def test_a_note_in_the_sink_that_is_not_ours(site: SigningSite, damage: str) -> None:
    site.make(init=True)
    said = site.said()
    signer, _ = signing.generate(ORIGIN)
    text = {
        "forged": str(signing.sign(str(said), [signer])),
        "unsigned": str(said),
        "other origin": str(
            signing.sign(str(type(said)("x/persistent-ledger", 1, said.root)), [site.signer])
        ),
    }[damage]
    site.note(1).write_text(text, "utf-8")
    with pytest.raises(CheckpointRefused, match="storage:evidence: the note of size 1"):
        site.make()


def test_the_signers_tables_emptied_or_edited(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "payments", 1)
    site.make()
    alias = site.alias
    text = RecordedHead.objects.using(alias).get(number=1).text
    for statement in (
        "DELETE FROM nucleus_ledger_checkpoint WHERE number = 0",
        "DELETE FROM nucleus_ledger_recordedhead WHERE number = 1",
        "UPDATE nucleus_ledger_recordedhead SET until = 1",
        "UPDATE nucleus_ledger_recordedhead SET frontier = %s",
        "UPDATE nucleus_ledger_checkpoint SET frontier = %s",
        "DELETE FROM nucleus_ledger_checkpoint",
    ):
        append(alias, "payments", 1)
        with pytest.raises((CheckpointRefused, IntegrityFailed, LedgerError)), _undone(alias):
            sql(alias, statement, [b"\1" * 32] if "%s" in statement else None)
            site.make()
    assert site.make().number == 2
    assert text


class _undone:
    """A savepoint that is rolled back whatever happens."""

    def __init__(self, alias: str) -> None:
        from django.db import transaction

        self._atomic = transaction.atomic(using=alias)
        self._alias = alias

    def __enter__(self) -> None:
        self._atomic.__enter__()

    def __exit__(self, *error: Any) -> None:
        from django.db import transaction

        if error[0] is None:
            transaction.set_rollback(True, using=self._alias)
        self._atomic.__exit__(*error)


def test_an_older_database_and_an_honest_restore(site: SigningSite) -> None:
    """Yesterday's backup is put back: refused, explained once, and signed from there on."""
    alias = site.alias
    append(alias, "consents", 2)
    site.make(init=True)
    first = site.kept().read_text("utf-8")
    append(alias, "payments", 3)
    append(alias, "lost", 1)
    site.make()
    lay_bare(alias)
    attacker.rewrite(alias, "payments", attacker.documents(alias, "payments")[:6])
    attacker.delete(alias, "lost")
    for table in ("checkpoint", "recordedhead"):
        sql(alias, f"DELETE FROM nucleus_ledger_{table} WHERE number = 1")
    sql(alias, "UPDATE nucleus_ledger_recordedhead SET until = NULL")
    with pytest.raises(CheckpointRefused, match="is ahead of the database: size 2 there, 1 here"):
        site.make()
    sql(alias, "CREATE UNIQUE INDEX bare_name ON nucleus_ledger_stream (name)")
    key = "SELECT 1 + MAX(id) FROM nucleus_ledger_stream"
    sql(
        alias,
        "INSERT INTO nucleus_ledger_stream (id, name, ledger, length) "
        f"VALUES (({key}), 'nucleus.restores', 'persistent-ledger', 0)",
    )
    made = site.make(accept_restore="the disk died")
    assert made.number == 2
    manifest = parse_manifest(sinks.folder(site.log).manifest(2))
    assert [(each.stream, each.length) for each in manifest.removed] == [("lost", 1)]
    (restored,) = manifest.restored
    assert (restored.stream, restored.length, restored.kept) == ("payments", 8, 5)
    assert restored.reason == "the disk died"
    assert Entry.objects.using(alias).get(stream__name="nucleus.restores").payload["reason"] == (
        "the disk died"
    )
    report = site.verify(site.kept())
    assert (report.result, report.assurance) == ("intact", "checkpoint")
    assert any("restored: of 8 entries 5 are as they were" in w for w in report.warnings)
    append(alias, "payments", 2)
    assert site.make().entries == 2
    assert site.verify(site.kept()).result == "intact"
    (site.folder / "first.txt").write_text(first, "utf-8")
    assert site.verify(site.kept(), site.folder / "first.txt").result == "intact"
    with pytest.raises(InvalidData, match="nothing to accept"):
        site.make(accept_restore="once more")


def test_a_signers_clock_that_was_fast_is_told_by_every_later_checkpoint(
    site: SigningSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.make(init=True)
    append(site.alias, "a", 1)

    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Fast:
            moment = super().now(tz) + timedelta(days=365)
            return cls.fromtimestamp(moment.timestamp(), tz)

    with monkeypatch.context() as ahead:
        ahead.setattr(making, "datetime", Fast)
        assert site.make().warnings == []
    append(site.alias, "a", 1)
    for _ in range(2):  # the second has nothing to sign
        (warning,) = site.make().warnings
        assert "364 d ahead of now" in warning
        assert "A signer's clock that was fast" in warning
    assert site.verify(site.note()).result == "intact"


def test_key_rotation_is_an_entry_and_both_keys_sign_meanwhile(site: SigningSite) -> None:
    site.make(init=True)
    new, new_vkey = signing.generate(ORIGIN)
    signers.write(site.folder / "new", new)
    site.configure(
        CHECKPOINT_KEY_FILES=[str(site.folder / "key"), str(site.folder / "new")],
        CHECKPOINT_VKEYS=[str(site.vkey), str(new_vkey)],
    )
    made = site.make()
    assert (made.number, made.entries) == (1, 1)
    assert len(note.parse(made.note).signatures) == 2
    site.configure(CHECKPOINT_KEY_FILES=[str(site.folder / "new")])
    site.make()
    rotations = Entry.objects.using(site.alias).in_chain_order("nucleus.keys")
    assert [(entry.payload["before"], entry.payload["now"]) for entry in rotations] == [
        ([], [str(site.vkey)]),
        ([str(site.vkey)], sorted([str(site.vkey), str(new_vkey)])),
        (sorted([str(site.vkey), str(new_vkey)]), [str(new_vkey)]),
    ]
    site.configure(CHECKPOINT_VKEYS=[])
    append(site.alias, "payments", 1)
    assert site.make().number == 3
    assert Entry.objects.using(site.alias).in_chain_order("nucleus.keys").count() == 3


def test_keys_are_files_of_ones_own(site: SigningSite, monkeypatch: pytest.MonkeyPatch) -> None:
    file = site.folder / "another"
    out = io.StringIO()
    call_command("ledger_keygen", output=str(file), stdout=out)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    vkey = note.parse_vkey(out.getvalue().strip())
    assert vkey == signing.verifier_of(note.parse_signer(file.read_text("utf-8").strip()))
    assert vkey.name == ORIGIN
    with pytest.raises(CommandError, match="never written over another"):
        call_command("ledger_keygen", output=str(file))
    with pytest.raises(CommandError, match="choose another with --name"):
        call_command("ledger_keygen", output=str(site.folder / "no"), name="a b")
    file.chmod(0o640)
    site.configure(CHECKPOINT_KEY_FILES=[str(file)])
    with pytest.raises(ConfigurationError, match="mode 640, so others may read it"):
        site.make(init=True)
    site.configure(CHECKPOINT_KEY_FILES=[])
    with pytest.raises(ConfigurationError, match="there is no signing key"):
        site.make(init=True)
    monkeypatch.setenv(signers.VARIABLE, str(site.signer))
    assert site.make(init=True).number == 0


def test_a_broken_or_acknowledged_stream(site: SigningSite) -> None:
    alias = site.alias
    lay_bare(alias)
    sql(alias, "UPDATE nucleus_ledger_entry SET payload = '{}' WHERE sequence = 2")
    with pytest.raises(IntegrityFailed, match="'payments' at sequence 2: field_mismatch"):
        site.make(init=True)
    assert not site.log.exists()


def test_a_checkpoint_reads_what_is_new_and_the_tiles_on_its_path(site: SigningSite) -> None:
    append(site.alias, "payments", 600)
    append(site.alias, "other", 300)
    site.make(init=True)
    assert HashTile.objects.using(site.alias).count() == 2
    append(site.alias, "payments", 200)
    with CaptureQueriesContext(connections[site.alias]) as queries:
        made = site.make()
    assert made.entries == 200
    reads = [q["sql"] for q in queries if re.search('FROM "?nucleus_ledger_entry', q["sql"])]
    rows = [sql for sql in reads if "serialized" in sql and "nucleus.incidents" not in sql]
    bounds = [re.findall(r"sequence >= (\d+) AND sequence < (\d+)", sql) for sql in rows]
    places = [(int(low), int(high)) for found in bounds for low, high in found]
    assert min(low for low, _high in places) == 605
    assert max(high for _low, high in places) == 805
    tiles = [q["sql"] for q in queries if 'FROM "nucleus_ledger_hashtile"' in q["sql"]]
    assert len(tiles) == 1
    stored_tiles = HashTile.objects.using(site.alias)
    assert sorted(len(bytes(tile.hashes)) for tile in stored_tiles) == [32, 3 * 32]
    assert site.verify(site.kept()).result == "intact"


def test_the_command_tells_apart_what_happened(site: SigningSite) -> None:
    def run(**options: Any) -> tuple[int, str]:
        out = io.StringIO()
        try:
            call_command("checkpoint_ledger", database=site.alias, stdout=out, **options)
        except CommandError as exc:
            return exc.returncode, str(exc)
        return 0, out.getvalue()

    assert run()[0] == 2
    code, said = run(init=True)
    assert code == 0
    assert "6 entries in 2 streams are new" in said
    assert site.note().read_text("utf-8") in said
    assert run() == (0, f"Nothing is new since checkpoint 1 of {ORIGIN}.\n")
    site.configure(CHECKPOINT_SINKS=["storage:evidence", "command:false"])
    append(site.alias, "payments", 1)
    code, said = run()
    assert code == 3
    assert "command:false did not take checkpoint 2: command:false: exit code 1" in said
    kept = site.folder / "mailed.txt"
    site.configure(CHECKPOINT_SINKS=["storage:evidence", f"command:tee {kept}", "stdout"])
    append(site.alias, "payments", 1)
    assert run()[0] == 0
    assert kept.read_text("utf-8") == site.note(3).read_text("utf-8")
    site.configure(CHECKPOINT_SINKS=["stdout"])
    append(site.alias, "payments", 1)
    code, said = run()
    assert code == 2
    assert "CHECKPOINT_SINKS has no storage" in said
    assert run(accept_restore=" ")[0] == 2
    lay_bare(site.alias)
    attacker.delete(site.alias, "payments")
    site.configure(CHECKPOINT_SINKS=["storage:evidence"])
    code, said = run()
    assert code == 1
    assert "stream 'payments', with 7 entries at the checkpoint before, is gone" in said


def test_a_mismatch_prints_both_notes(site: SigningSite) -> None:
    site.make(init=True)
    lay_bare(site.alias)
    history = attacker.documents(site.alias, "payments")
    attacker.rewrite(site.alias, "payments", [{**d, "payload": {}} for d in history])
    attacker.forge_checkpoints(site.alias)
    out = io.StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("verify_ledger", database=site.alias, against=[str(site.kept())], stdout=out)
    assert refused.value.returncode == 1
    signed = site.note().read_text("utf-8")
    theirs = Checkpoint.objects.using(site.alias).get().note
    assert signed != theirs
    for label, note_text in (("signed", signed), ("in the database", theirs)):
        lines = "".join(f"  {line}\n" for line in note_text.removesuffix("\n").split("\n"))
        assert f"the note {label}:\n{lines}" in out.getvalue()


def test_a_bare_report_as_json(site: SigningSite) -> None:
    site.make(init=True)
    append(site.alias, "payments", 1)
    out = io.StringIO()
    call_command(
        "verify_ledger",
        database=site.alias,
        against=[str(site.kept())],
        vkey=[str(site.vkey)],
        format="json",
        stdout=out,
    )
    report = json.loads(out.getvalue())
    assert report["assurance"] == "checkpoint"
    streams = {each["name"]: each for each in report["streams"]}
    assert streams["payments"]["assured_through"] == 4
    assert streams["payments"]["checked_to"] == 5
    assert "checkpoint 1 of" in report["evidence"][0]
    for wrong in (
        {"against": ["/nowhere"]},
        {"against": [str(site.folder / "key")]},
        {"against": [str(site.kept())], "vkey": ["nonsense"]},
        {"against": [str(site.kept())], "vkey": [str(signing.generate(ORIGIN)[1])]},
        {"vkey": [str(site.vkey)]},
    ):
        with pytest.raises(CommandError) as refused:
            call_command("verify_ledger", database=site.alias, **wrong)
        assert refused.value.returncode == 2
