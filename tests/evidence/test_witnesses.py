"""Witnesses: one written here from the specification (C2SP tlog-witness), over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nucleus_ledger.core import checkpoint, merkle, note, signing, witness
from nucleus_ledger.core.merkle import CompactRange, leaf_hash
from nucleus_ledger.core.note import COSIGNATURE, SignerKey, VerifierKey
from nucleus_ledger.errors import InvalidNote, InvalidProof
from nucleus_ledger.models import Checkpoint, Entry
from tests.evidence.signing_site import ORIGIN, SigningSite


class Witness:
    """An honest witness: remembers one size and root per origin, and cosigns what goes on."""

    def __init__(self, log_key: VerifierKey) -> None:
        self.signer, plain = signing.generate("witness.example/w1")
        self.vkey = VerifierKey(plain.name, COSIGNATURE, plain.public)
        self.log_key = log_key
        self.known: dict[str, tuple[int, bytes]] = {}
        self.answer: tuple[int, str, str] | None = None
        self.requests: list[str] = []
        self._lock = threading.Lock()

    def add_checkpoint(self, body: str) -> tuple[int, str, str]:
        """Return status, content type and body; the comparison and the storing are one step."""
        self.requests.append(body)
        if self.answer:
            return self.answer
        try:
            old, proof, signed = witness.parse_request(body)
            said = checkpoint.parse(signed.text)
        except (InvalidNote, InvalidProof) as exc:
            return 400, "text/plain", str(exc)
        if said.origin != self.log_key.name:
            return 404, "text/plain", "unknown origin"
        try:
            signing.verify(signed, [self.log_key])
        except InvalidNote as exc:
            return 403, "text/plain", str(exc)
        with self._lock:
            size, root = self.known.get(said.origin, (0, merkle.EMPTY_ROOT))
            if old > said.size:
                return 400, "text/plain", "old is beyond the checkpoint"
            if old != size:
                return 409, witness.SIZE_TYPE, f"{size}\n"
            try:
                if old:
                    merkle.check_consistency(old, said.size, proof, root, said.root)
                elif proof:
                    raise InvalidProof("a proof from nothing")
            except InvalidProof as exc:
                return 422, "text/plain", str(exc)
            self.known[said.origin] = (said.size, said.root)
        return 200, "text/plain", str(self.cosignature(signed))

    def cosignature(self, signed: note.Note) -> note.Signature:
        return signing.cosign(signed, self.signer, int(time.time()))


@pytest.fixture
def site(ledger_db: str, tmp_path: Path, settings: Any) -> SigningSite:
    site = SigningSite.build(ledger_db, tmp_path, settings)
    append(site)
    return site


@pytest.fixture
def honest(site: SigningSite) -> Witness:
    found = Witness(site.vkey)
    site.configure(WITNESS_VKEYS=[str(found.vkey)])
    return found


@pytest.fixture
def url(honest: Witness) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert self.path == "/log/add-checkpoint"
            status, kind, text = honest.add_checkpoint(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/log"
    server.shutdown()
    thread.join()
    server.server_close()


def append(site: SigningSite) -> None:
    Entry.objects.using(site.alias).append("payments", {"cents": 1})


def test_each_checkpoint_is_cosigned_and_counts_as_witnessed(
    site: SigningSite, honest: Witness, url: str
) -> None:
    for size in range(1, 6):
        made = site.make(init=size == 1, witnesses=[url])
        assert made.failures == []
        assert honest.known[ORIGIN] == (size, site.said().root)
        assert [each.name for each in note.parse(made.note).signatures] == [
            ORIGIN,
            "witness.example/w1",
        ]
        assert site.note().read_text("utf-8") == made.note
        append(site)
    keys = [honest.vkey]
    report = site.verify(site.kept(), witnesses=keys)
    assert report.assurance == "witnessed"
    site.configure(WITNESS_THRESHOLD=2)
    report = site.verify(site.kept(), witnesses=keys)
    assert report.assurance == "checkpoint"
    assert "1 cosignatures of known witnesses" in report.warnings[0]


def test_a_witness_that_is_behind_is_asked_again_from_where_it_is(
    site: SigningSite, honest: Witness, url: str
) -> None:
    for size in range(1, 5):
        site.make(init=size == 1)
        append(site)
    made = site.make(witnesses=[url])
    assert made.failures == []
    assert [body.split("\n")[0] for body in honest.requests] == ["old 4", "old 0"]
    append(site)
    site.make()
    append(site)
    made = site.make(witnesses=[url])
    assert made.failures == []
    assert honest.known[ORIGIN][0] == 7
    assert honest.requests[-1].startswith("old 5\n")


def test_a_fork_of_the_log_is_refused_with_422(
    site: SigningSite, honest: Witness, url: str
) -> None:
    site.make(init=True, witnesses=[url])
    honest.known[ORIGIN] = (1, b"\7" * 32)
    append(site)
    made = site.make(witnesses=[url])
    (failure,) = made.failures
    assert "422: the proof does not lead from what it has to this checkpoint" in failure
    assert len(note.parse(made.note).signatures) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((409, witness.SIZE_TYPE, "99\n"), "409: it is at size 99, and this checkpoint is of"),
        ((409, "text/plain", "no"), "409: it has another size"),
        ((422, "text/plain", "wrong"), "422: the proof does not lead"),
        ((403, "text/plain", ""), "403: it knows none of the keys"),
        ((404, "text/plain", ""), "404: it does not know this log"),
        ((400, "text/plain", ""), "400: the request is malformed"),
        ((500, "text/plain", ""), "500: it refused"),
        ((200, "text/plain", ""), "its answer does not hold: the answer is cut off"),
        ((200, "text/plain", "nonsense\n"), "its answer does not hold: not a line"),
    ],
)
def test_what_a_witness_refuses_or_makes_up(
    site: SigningSite, honest: Witness, url: str, answer: tuple[int, str, str], said: str
) -> None:
    honest.answer = answer
    made = site.make(init=True, witnesses=[url])
    (failure,) = made.failures
    assert said in failure
    assert len(note.parse(made.note).signatures) == 1
    assert made.number == 0  # it was made, and says that it is not witnessed
    assert site.verify(site.kept(), witnesses=[honest.vkey]).assurance == "checkpoint"


def test_cosignatures_that_do_not_hold_are_not_stored(
    site: SigningSite, honest: Witness, url: str
) -> None:
    other = checkpoint.Checkpoint(ORIGIN, 1, b"\1" * 32)
    cosigned = honest.cosignature(signing.sign(str(other), [site.signer]))
    stranger = Witness(site.vkey)
    right = note.Note(str(other), (cosigned,))
    for line in (cosigned, stranger.cosignature(right)):
        honest.answer = (200, "text/plain", str(line))
        made = site.make(init=not Checkpoint.objects.using(site.alias).exists(), witnesses=[url])
        assert "its answer does not hold" in made.failures[0]
        assert len(note.parse(made.note).signatures) == 1
        append(site)


def test_a_witness_that_is_away(site: SigningSite, honest: Witness) -> None:
    site.configure(CHECKPOINT_WITNESSES=["http://127.0.0.1:9/"])
    made = site.make(init=True)
    assert "cannot be reached" in made.failures[0]
    assert site.said().size == 1


def test_a_false_cosignature_in_a_kept_note(site: SigningSite, honest: Witness, url: str) -> None:
    site.make(init=True, witnesses=[url])
    kept = site.kept()
    parsed = note.parse(kept.read_text("utf-8"))
    mine, theirs = parsed.signatures
    late = note.Signature(theirs.name, theirs.key_id, bytes(7) + b"\1" + theirs.data[8:])
    kept.write_text(str(note.Note(parsed.text, (mine, late))), "utf-8")
    with pytest.raises(InvalidNote, match="does not hold"):
        site.verify(kept, witnesses=[honest.vkey])


def test_a_manifest_signed_over_a_rewritten_stream_with_an_honest_witness(
    site: SigningSite, honest: Witness, url: str
) -> None:
    """The signer is the attacker, and the log of manifests goes on as it should: only that the
    stream before and after do not fit tells, and the newest note is enough for that."""
    from nucleus_ledger.core.manifest import Manifest, parse_manifest
    from nucleus_ledger.evidence import stored
    from tests import attacker
    from tests.tamper import lay_bare

    for _ in range(4):
        append(site)
    site.make(init=True, witnesses=[url])
    append(site)
    lay_bare(site.alias)
    history = attacker.documents(site.alias, "payments")
    history[2]["payload"] = {"cents": 1_000_000}
    attacker.rewrite(site.alias, "payments", history)
    before = parse_manifest(Checkpoint.objects.using(site.alias).get().manifest)
    head, frontier = attacker.head_of("persistent-ledger", "payments",
                                      attacker.documents(site.alias, "payments"))  # fmt: skip
    tree = stored.log(stored.documents(site.alias, 0, 1)).streams
    tree.put(head.key, head.leaf)
    manifest = Manifest(before.ledger, 1, before.created_at, before.streams, tree.root().hex())
    log = CompactRange()
    log.append(leaf_hash(str(before).encode()))
    log.append(manifest.leaf)
    row = stored.store(site.alias, 1, str(manifest), log.hashes, [(head, frontier)])
    signed = signing.sign(str(checkpoint.Checkpoint(ORIGIN, 2, log.root())), [site.signer])
    proof = [leaf_hash(str(manifest).encode())]
    status, _kind, line = honest.add_checkpoint(witness.format_request(1, proof, signed))
    assert status == 200, "the witness sees a log that only grew"
    row.note = str(note.Note(signed.text, (*signed.signatures, note.parse_signature(line[:-1]))))
    row.save()
    newest = site.folder / "newest.txt"
    newest.write_text(row.note, "utf-8")
    report = site.verify(newest, witnesses=[honest.vkey])
    assert report.result == "tampered"
    (finding,) = report.findings
    assert (finding.kind, finding.stream, finding.sequence) == (
        "checkpoint_mismatch",
        "payments",
        4,
    )


def test_requests_are_read_as_they_are_written() -> None:
    signer, vkey = signing.generate("log")
    signed = signing.sign(str(checkpoint.Checkpoint("log", 3, b"\1" * 32)), [signer])
    proof = [bytes([n]) * 32 for n in range(63)]
    for count in (0, 1, 63):
        body = witness.format_request(7, proof[:count], signed)
        assert witness.parse_request(body) == (7, proof[:count], signed)
    with pytest.raises(InvalidProof):
        witness.format_request(7, [*proof, proof[0]], signed)
    for wrong in ("", "old 07\n\n", "new 1\n\n", f"old 1\nAAAA\n\n{signed}", f"old -1\n\n{signed}"):
        with pytest.raises((InvalidProof, InvalidNote)):
            witness.parse_request(wrong)
    assert isinstance(signer, SignerKey)
    assert vkey.name == "log"
