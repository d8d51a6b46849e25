"""Asks everything that reads a ledger what it has to say, and holds the answers to the oracle's."""

from __future__ import annotations

import io
import json
import re
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from random import Random
from typing import Any

from django.core.management import load_command_class
from django.db import DatabaseError, connections

from nucleus_ledger import stepping
from nucleus_ledger.models import Verification
from tests.oracle import jcs, oracle, signed
from tests.oracle.ledgers import ALIAS, FORMER, LEDGER, Subject, snapshot
from tests.oracle.oracle import Verdict
from tests.oracle.signed import Recorded

ACCEPTED = {LEDGER, FORMER}


@dataclass
class Answer:
    """What a command said, and the code it ended with; None where it raised something."""

    code: int | None
    out: str
    err: str

    @property
    def crashed(self) -> bool:
        return self.code is None or "Traceback" in self.err or "--traceback shows" in self.err

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.out)
        return report


def run(name: str, *arguments: str) -> Answer:
    """Run a command as the shell would, but in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: int | None = 0
    app = "django.core" if name == "check" else "nucleus_ledger"
    with redirect_stdout(out), redirect_stderr(err):
        try:
            command = load_command_class(app, name)
            command.run_from_argv(["manage.py", name, *arguments])
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else None
        except Exception:
            traceback.print_exc()
            code = None
    return Answer(code, out.getvalue(), err.getvalue())


@dataclass
class Case:
    """One database, what the oracle says of it, and what is wrong with the answers so far."""

    subject: Subject
    random: Random
    verdicts: list[Verdict] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    genuine: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: set[Any] = field(default_factory=set)
    held: set[Any] = field(default_factory=set)  # red by what was signed, until held against it
    copies_changed: bool = False
    keyless: bool = False  # constraints of the tables of history are gone
    complaints: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Let the oracle read the database as it is now."""
        self.verdicts = oracle.judge(self.subject.rows(), ACCEPTED)
        self.recorded = signed.read(self.subject.log, self.subject.vkey)
        self.statuses = snapshot(self.subject)["streamstatus"]
        if not self.genuine:
            self.genuine = [row for each in self.subject.snapshots for row in each["streamstatus"]]
        own = [each.rows for each in self.verdicts if each.name == "nucleus.incidents"]
        self.acknowledged = {_acknowledged(row.serialized) for rows in own for row in rows}

    def stored(self) -> None:
        """See which statuses the site has written since: those are its own."""
        now = snapshot(self.subject)["streamstatus"]
        self.genuine.extend(row for row in now if row not in self.statuses)
        self.statuses = now

    @property
    def broken(self) -> set[str | None]:
        """The names of streams that are not whole; None stands for what has no name."""
        return {each.name for each in self.verdicts if not each.whole}

    @property
    def differing(self) -> set[str]:
        """The streams that are not what was signed."""
        return signed.differing(self.recorded, self.verdicts)

    def moved(self, *, genuine: bool) -> set[str | None]:
        """The streams that are not the ones an earlier verification saw, as statuses say that are
        the site's own, or that are not."""
        moved = set()
        for row in self.statuses:
            if (row in self.genuine) != genuine:
                continue
            for each in self.verdicts:
                if each.row and each.row.id == row["stream_id"] and each.whole:
                    length, digest = _seen(row)
                    there = each.hashes[length - 1 : length] if length > 0 else []
                    if length > 0 and there != [digest]:
                        moved.add(each.name)
        return moved

    @property
    def bad_news(self) -> bool:
        """Whether a stored status says that something was found, whoever wrote it."""
        return any(_text(row["result"]) == "tampered" for row in self.statuses)

    @property
    def doubled(self) -> set[str | None]:
        """Streams whose name or key more than one row bears, which the guards tell of."""
        rows = [each.row for each in self.verdicts if each.row]
        names, keys = [row.name for row in rows], [row.id for row in rows]
        return {
            each.name
            for each in self.verdicts
            if each.row and (names.count(each.row.name) > 1 or keys.count(each.row.id) > 1)
        }

    def complain(self, about: str, what: str) -> None:
        self.complaints.append(f"{about}: {what}")

    def command(self, name: str, *arguments: str) -> Answer:
        answer = run(name, *arguments, "--database", ALIAS)
        if answer.crashed:
            self.complain(" ".join([name, *arguments]), f"crashed\n{answer.err[-1500:]}")
        return answer

    def verify(self, *arguments: str, against: bool = False) -> None:
        """Hold a verification that reads everything to the verdicts, stream by stream."""
        about = f"verify_ledger {' '.join(arguments)}"
        answer = self.command("verify_ledger", "--format", "json", *arguments)
        if answer.crashed or not answer.out:
            if not answer.crashed:
                self.complain(about, f"exit {answer.code} without a report: {answer.err}")
            return
        report = answer.report
        red = self.broken | (self.differing if against else set())
        if against:
            self.held |= self.differing
        if not report["guards"]["ok"]:
            red -= self.doubled
        self._judge_streams(about, report, red)
        unstored = any("could not be stored" in each for each in report["errors"])
        if unstored and (not red or red <= self.acknowledged) and answer.code == 2:
            self.stored()
            return
        if red and (answer.code != 1 or report["result"] not in ("tampered", "acknowledged")):
            self.complain(about, f"exit {answer.code} {report['result']} where {red} are red: "
                          f"{report['errors']}")  # fmt: skip
        # A stream without entries cannot be read, so nothing lifts what stands there.
        if self.bad_news and not _findings(report) and answer.code == 1:
            pass
        elif not red and answer.code == 1 and not self._seen_before(report) and not self.doubled:
            self.complain(about, f"false alarm: {_findings(report)}")
        if not red and answer.code not in (0, 1) and not self.copies_changed:
            self.complain(about, f"exit {answer.code} where all is whole: {report['errors']}")
        self.stored()
        if not unstored:
            self.badges(self.broken - self.doubled)

    def _judge_streams(self, about: str, report: dict[str, Any], red: set[Any]) -> None:
        said = {}
        for stream in report["streams"]:
            said.setdefault(stream["name"], []).append(stream)
        for name in red - {None}:
            if "--fail-fast" in about:
                continue
            intact = [each["intact"] for each in said.get(name, ())]
            if not intact or False not in intact:
                self.complain(about, f"{name!r} is red and called {intact}: {self._faults(name)}")
        for name in {verdict.name for verdict in self.verdicts} - red - self.doubled:
            for each in said.get(name, ()):
                if each["findings"] and not self._seen_before(each):
                    self.complain(about, f"false alarm in {name!r}: {each['findings']!r:.600}")

    def _seen_before(self, report: dict[str, Any]) -> bool:
        """Whether all findings say that an earlier verification of the site saw another entry, or
        that an acknowledgement, which is history too, speaks of another one."""
        moved = self.moved(genuine=True)
        found = _findings(report)
        return bool(found) and all(
            each["stream"] in self.acknowledged
            or (each["kind"] == "head_mismatch" and each["stream"] in moved)
            or (each["kind"] == "checkpoint_mismatch" and each["stream"] in self.held)
            for each in found
        )

    def _faults(self, name: Any) -> str:
        faults = [each.faults for each in self.verdicts if each.name == name]
        return f"{faults!r:.400}"

    def incremental(self) -> None:
        """It may rest on what the site verified before, and says no more than that."""
        answer = self.command("verify_ledger", "--incremental", "--format", "json", *CHAIN_ONLY)
        if answer.crashed or not answer.out:
            return
        report = answer.report
        if report["result"] == "intact":
            self.complain("incremental", "called intact")
        bases = {row["stream_id"]: row for row in self.statuses if row in self.genuine}
        said = {each["name"]: each for each in report["streams"]}
        for verdict in self.verdicts:
            if verdict.name is None or verdict.row is None or verdict.name not in said:
                continue
            base = bases.get(verdict.row.id)
            low = base["length"] if base and isinstance(base["length"], int) else 0
            seen = [
                fault for fault in verdict.faults
                if isinstance(fault.sequence, int) and fault.sequence >= low
            ]  # fmt: skip
            if base is None:
                seen = verdict.faults
            if seen and said[verdict.name]["intact"] is not False:
                self.complain("incremental", f"{verdict.name!r} is {said[verdict.name]['intact']} "
                              f"on a base of {low}: {seen}")  # fmt: skip
        alarm = not self.broken and report["result"] == "tampered"
        if alarm and not self.bad_news and not self._seen_before(report):
            self.complain("incremental", f"false alarm: {_findings(report)}")
        self.stored()

    def stepped(self, entries: int, between: Callable[[], None] | None = None) -> None:
        """A verification in steps, with something done between them."""
        red = (self.broken | self.differing) - self.doubled
        self.held |= self.differing
        try:
            key = stepping.begin(ALIAS).pk
            for _ in range(200):
                if stepping.step(ALIAS, key, entries).finished:
                    break
                if between:
                    between()
            result = Verification.objects.using(ALIAS).get(pk=key).result
        except Exception as exc:
            # What a database without its keys refuses leaves a run as it was, and reaches callers.
            if not (self.keyless and isinstance(exc, DatabaseError)):
                self.complain("steps", f"crashed\n{traceback.format_exc()[-1500:]}")
            return
        finally:
            connections[ALIAS].close()
        if red and result in ("intact", "intact_since"):
            self.complain("steps", f"{result} where {red} are red")
        known = self.moved(genuine=True) or self.acknowledged - {None} or self.bad_news
        if not red and result == "tampered" and not known and not self.doubled:
            self.complain("steps", "false alarm")
        if not red and result == "unknown" and between is None and not self.copies_changed:
            self.complain("steps", "unknown where all is whole")
        self.stored()

    def pages(self) -> None:
        """Every page of the admin answers, whatever the tables hold."""
        client = self.subject.client()
        base = "/admin/nucleus_ledger/"
        addresses = [f"{base}{page}/" for page in ("stream", "entry", "verification", "checkpoint")]
        addresses += [base, "/admin/", f"{base}stream/findings/"]
        keys = [row.id for row in self.subject.rows().streams if type(row.id) is int]
        for key in self.random.sample(keys, min(2, len(keys))):
            addresses.append(f"{base}stream/{key}/change/")
            addresses.append(f"{base}entry/?stream__id__exact={key}")
        hashes = [row.hash for each in self.verdicts for row in each.rows]
        for digest in self.random.sample(hashes, min(2, len(hashes))):
            if isinstance(digest, bytes):
                addresses.append(f"{base}entry/{digest.hex()}/change/")
        runs = [row["id"] for row in snapshot(self.subject)["verification"]]
        addresses += [f"{base}verification/{key}/change/" for key in runs[-2:]]
        for address in self.random.sample(addresses, 6):
            self.page(client, address)

    def page(self, client: Any, address: str) -> str:
        try:
            response = client.get(address)
            text = response.content.decode()
        except Exception:
            self.complain(address, f"crashed\n{traceback.format_exc()[-1500:]}")
            return ""
        if response.status_code not in (200, 302, 404):
            self.complain(address, f"status {response.status_code}")
        return text

    def opinions(self) -> None:
        """Before anything is verified, a status that the site did not store is not shown green."""
        own = [_signed(row) for row in self.genuine]
        forged = {row["stream_id"] for row in self.statuses if _signed(row) not in own}
        self.badges({each.name for each in self.verdicts if each.row and each.row.id in forged})

    def badges(self, red: set[Any]) -> None:
        """Hold the list of streams to what is not to be shown green there."""
        text = self.page(self.subject.client(), "/admin/nucleus_ledger/stream/")
        for row in re.findall(r"<tr>.*?</tr>", text.partition('id="result_list"')[2], re.DOTALL):
            name = re.search(r'<a href="[^"]*">([^<]*)</a>', row)
            if name and name[1] in red and "ledger-status--intact" in row:
                self.complain("list of streams", f"{name[1]!r} is shown green")


def _seen(status: dict[str, Any]) -> tuple[int, Any]:
    """Return how many entries the last verification that found nothing saw, and the hash there."""
    if _text(status["result"]) == "intact":
        length, digest = status["length"], status["head_hash"]
    else:
        length, digest = status["base_length"], status["base_hash"]
    return (length, digest) if isinstance(length, int) else (0, None)


def _signed(status: dict[str, Any]) -> dict[str, Any]:
    """Return what a signature covers: all but the reference to a run, which may be gone."""
    return {name: value for name, value in status.items() if name != "verification_id"}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _acknowledged(text: Any) -> Any:
    """Return the stream that an acknowledgement names."""
    try:
        return str(jcs.read(text)["payload"]["stream"])
    except (jcs.NotJSON, TypeError, KeyError):
        return None


def _findings(report: dict[str, Any]) -> list[dict[str, Any]]:
    if "findings" in report:
        return list(report["findings"])
    return [finding for stream in report["streams"] for finding in stream["findings"]]


def has(command: str, option: str) -> bool:
    parser = load_command_class("nucleus_ledger", command).create_parser("manage.py", command)
    return option in parser.format_help()


CHAIN_ONLY = ("--chain-only",) if has("verify_ledger", "--chain-only") else ()
