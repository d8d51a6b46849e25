"""Bits flipped anywhere: a ledger whose rows changed is never shown as intact."""

from __future__ import annotations

from tests.faults.recording import Recorder, database_of
from tests.faults.running import run
from tests.processes import Site

FLIPS = 100


def test_a_flipped_bit_is_never_green(site: Site, recorder: Recorder) -> None:
    site.python(
        "Entry.objects.append_batch([{'stream': 'abc'[n % 3], 'meta': {'by': 'u'} if n % 2 else "
        "None, 'payload': {'n': n, 'text': 'x' * 300}} for n in range(400)])"
    )
    _told, end = run(site, "flipping", str(FLIPS))
    verdicts = end["verdicts"]
    fault = "flip-file" if database_of(site.url) == "SQLite" else "flip-column"
    recorder.record(fault, database_of(site.url), attempts=FLIPS, outcomes=verdicts)
    assert end["missed"] == []
    assert sum(verdicts.values()) == FLIPS
    assert verdicts["found"] > FLIPS // 4
