"""Where a verification in steps stands, as it is stored between them: JSON, signed.

Signed with the site's `SECRET_KEY` and for one step of one run only, so that who can write the
database alone can neither make a run skip anything nor put another run's result in its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from django.core import signing

from nucleus_ledger.acknowledgements import Acknowledgement
from nucleus_ledger.checking import Base, Options, Plan, StreamCheck
from nucleus_ledger.conf import conf
from nucleus_ledger.core.chain import Cursor, Finding, Head
from nucleus_ledger.core.manifest import StreamHead
from nucleus_ledger.core.manifestlog import Expectation, Follower, Mark
from nucleus_ledger.core.merkle import CompactRange
from nucleus_ledger.core.registration import Notice
from nucleus_ledger.core.report import StreamReport
from nucleus_ledger.evidence.against import Anchor
from nucleus_ledger.models import Verification, VerificationStep

_PLAIN = ("key", "rows", "done", "total", "kept", "found", "steps", "looked")


@dataclass(slots=True)
class Standing:
    """The key of the stream a run is at, how many rows of that key are done, and the check.

    `done` of `total` entries; `found` findings in the streams that were read to their end, `kept`
    of them stored. `steps` is the digest of what every step found so far, in their order, so that
    none can be taken away, changed or moved. `anchor` is the checkpoint that the ledger is held
    against, once the run has `looked` for one.
    """

    key: int = -(1 << 63)
    rows: int = 0
    done: int = 0
    total: int = 0
    kept: int = 0
    found: int = 0
    steps: str = ""
    looked: bool = False
    anchor: Anchor | None = None
    check: StreamCheck | None = None


@dataclass(slots=True)
class Found:
    """What one step found, or all of them."""

    reports: list[StreamReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def options(using: str) -> Options:
    return Options(conf.ledgers_of(using), conf.max_stored_findings)


def as_step(run: Verification, number: int, standing: Standing, found: Found) -> VerificationStep:
    """Return a step to be stored, and add what it found to the digest of all steps."""
    text = _sign(run, number, asdict(found))
    standing.steps = _following(standing.steps, text)
    packed = _sign(run, number, _packed(standing))
    return VerificationStep(verification=run, number=number, standing=packed, found=text)


def read_standing(using: str, run: Verification, step: VerificationStep) -> Standing:
    """Raises `django.core.signing.BadSignature` where the step was changed."""
    return _standing(using, _unsign(run, step.number, step.standing))


def read_all_found(run: Verification, steps: Sequence[VerificationStep]) -> Found:
    """Return what all steps of a run found; `steps` are all of them, in their order.

    Raises `django.core.signing.BadSignature` where one is missing, was changed, or is not the one
    that was stored under its number.
    """
    everything, digest = Found(), ""
    for number, step in enumerate(steps):
        if step.number != number:
            raise signing.BadSignature(f"step {number} is missing")
        digest = _following(digest, step.found)
        found = _unsign(run, number, step.found)
        everything.reports.extend(map(_report, found["reports"]))
        everything.warnings.extend(found["warnings"])
        everything.errors.extend(found["errors"])
    if not steps or _unsign(run, steps[-1].number, steps[-1].standing)["steps"] != digest:
        raise signing.BadSignature("the steps are not those that were stored")
    # Some are told in each step.
    everything.warnings = list(dict.fromkeys(everything.warnings))
    everything.errors = list(dict.fromkeys(everything.errors))
    return everything


def _following(digest: str, text: str) -> str:
    return sha256(f"{digest}\n{text}".encode(errors="surrogatepass")).hexdigest()


class _Serializer:
    """JSON; what a tampered column may hold beside it, as text."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), default=ascii).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def _sign(run: Verification, number: int, value: Any) -> str:
    return signing.dumps(value, salt=_salt(run, number), serializer=_Serializer, compress=True)


def _unsign(run: Verification, number: int, text: object) -> Any:
    if not isinstance(text, str):  # on SQLite a tampered column may hold anything
        raise signing.BadSignature("a step was changed")
    return signing.loads(text, salt=_salt(run, number), serializer=_Serializer)


def _salt(run: Verification, number: int) -> str:
    """Name the step, and all that a run was asked: a key alone may be given out a second time."""
    started = run.started_at
    if started is None:  # the column holds no time any more
        raise signing.BadSignature("the run was changed")
    asked = [run.pk, started.timestamp(), run.mode, run.scope, number]
    return f"nucleus_ledger.standing {json.dumps(asked, default=ascii)}"


def _packed(standing: Standing) -> dict[str, Any]:
    """Return where a run stands as JSON can say it; `_standing` is its inverse."""
    packed: dict[str, Any] = {name: getattr(standing, name) for name in _PLAIN}
    packed["anchor"] = asdict(standing.anchor) if standing.anchor else None
    check = standing.check
    packed["check"] = None
    if check is not None:
        packed["check"] = {
            "plan": asdict(check.plan),
            "low": check.low,
            "judged": check.judged,
            "cursor": asdict(check.cursor),
            "findings": [asdict(finding) for finding in check.found.kept],
            "settled": check.found.settled,
            "follower": _packed_follower(check.follower),
            "late": [check.late.runs, check.late.total] if check.late else None,
        }
    return packed


def _standing(using: str, packed: dict[str, Any]) -> Standing:
    standing = Standing(**{name: packed[name] for name in _PLAIN})
    if packed["anchor"]:
        names = tuple(packed["anchor"]["witnesses"])
        standing.anchor = Anchor(**{**packed["anchor"], "witnesses": names})
    if (stored := packed["check"]) is not None:
        standing.check = check = StreamCheck(using, _plan(stored["plan"]), options(using))
        check.low, check.judged = stored["low"], stored["judged"]
        cursor = stored["cursor"]
        check.cursor = Cursor(**{**cursor, "links": tuple(cursor["links"])})
        for finding in stored["findings"]:
            check.found.add(_finding(finding))
        check.found.settled = stored["settled"]
        if check.follower and (followed := stored["follower"]):
            hashes = [bytes.fromhex(each) for each in followed["hashes"]]
            check.follower.tree = CompactRange(followed["size"], hashes)
            check.follower.passed = followed["passed"]
            check.follower.findings = list(map(_finding, followed["findings"]))
        if check.late and stored["late"]:
            runs, check.late.total = stored["late"]
            check.late.runs = [tuple(run) for run in runs]
    return standing


def _packed_follower(follower: Follower | None) -> dict[str, Any] | None:
    if follower is None:
        return None
    return {
        "size": follower.tree.size,
        "hashes": [each.hex() for each in follower.tree.hashes],
        "passed": follower.passed,
        "findings": [asdict(finding) for finding in follower.findings],
    }


def _expectation(packed: dict[str, Any] | None) -> Expectation | None:
    if packed is None:
        return None
    marks = tuple(
        Mark(**{**mark, "head": StreamHead(**mark["head"]) if mark["head"] else None})
        for mark in packed["marks"]
    )
    notes = packed["notes"] and tuple(packed["notes"])
    return Expectation(**{**packed, "marks": marks, "notes": notes})


def _plan(packed: dict[str, Any]) -> Plan:
    return Plan(
        packed["stream_id"],
        Head(**packed["head"]),
        Base(**packed["known"]) if packed["known"] else None,
        packed["incremental"],
        tuple(
            Acknowledgement(
                Head(**each["head"]), each["digest"], tuple(each["outside"]), each["lifts"]
            )
            for each in packed["acknowledged"]
        ),
        _expectation(packed["expected"]),
    )


def _report(packed: dict[str, Any]) -> StreamReport:
    """Return what a step found in a stream; its status was stored with the step."""
    return StreamReport(
        **{
            **packed,
            "findings": tuple(map(_finding, packed["findings"])),
            "outside": tuple(packed["outside"]),
            "on_record": tuple(packed["on_record"]),
            "held": None,
            "covers": None,
            "standing": None,
            "notices": tuple(Notice(**each) for each in packed["notices"]),
        }
    )


def _finding(packed: dict[str, Any]) -> Finding:
    return Finding(**{**packed, "fields": tuple(packed["fields"])})
