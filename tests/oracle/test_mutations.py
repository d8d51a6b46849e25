"""Random tampering with every table, judged by the oracle: no traceback, never green where it says
red, and no alarm where it says whole.

`ORACLE_ROUNDS` sets how many databases are tampered with on each vendor, `ORACLE_SEED` where the
seeds begin; a failure names its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.test import override_settings

from tests.oracle import ledgers
from tests.oracle.asking import CHAIN_ONLY, Case
from tests.oracle.ledgers import Subject
from tests.oracle.mutate import DISTURBANCES, Tampering

ROUNDS = int(os.environ.get("ORACLE_ROUNDS", "20"))
SEED = int(os.environ.get("ORACLE_SEED", "0"))
VENDORS = ("sqlite", "postgresql")


@pytest.fixture(scope="module", params=VENDORS)
def built(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[tuple[Subject, Subject]]:
    folder = tmp_path_factory.mktemp("oracle")
    with django_db_blocker.unblock():
        clean, scarred = ledgers.build(request.param, folder)
        with override_settings(**ledgers.settings_of(folder, clean.vkey)):
            yield clean, scarred
        clean.destroy()
        scarred.destroy()


def one(built: tuple[Subject, Subject], seed: str) -> tuple[list[str], list[str]]:
    """Tamper with one database and ask everybody; return what was done and what is wrong."""
    random = Random(seed)
    template = built[0] if random.random() < 0.75 else built[1]
    with template.copied() as subject:
        done: list[str] = []
        if random.random() < 0.93:
            done = Tampering(subject, random, bare=random.random() < 0.35).run()
        case = Case(subject, random)
        case.copies_changed = any(word in line for line in done for word in ledgers.COPIES)
        case.keyless = any("gone for good" in line for line in done)
        case.look()
        ask(case)
    return done, case.complaints


def ask(case: Case) -> None:
    """Ask some of all there is to be asked, what stores nothing first."""
    random = case.random
    if random.random() < 0.5:
        case.opinions()
        case.pages()
    if random.random() < 0.3:
        case.incremental()
    readers = [
        lambda: case.command("ledger_status"),
        lambda: case.command("ledger_status", "--format", "json"),
        lambda: case.command("export_ledger", str(case.subject.folder / "bundle")),
        lambda: case.command("ledger_receipt", "payments", f"payments-{random.randrange(300)}"),
        lambda: case.command("check"),
    ]
    for reader in random.sample(readers, 2):
        reader()
    against = ("--against", str(case.subject.folder / "evidence"), "--vkey", case.subject.vkey)
    case.verify(*CHAIN_ONLY)
    others = [
        lambda: case.verify("--deep", *CHAIN_ONLY),
        lambda: case.verify("--fail-fast", *CHAIN_ONLY),
        lambda: case.verify(*against, against=True),
        lambda: case.verify("--deep", *against, against=True),
        lambda: case.stepped(random.choice([30, 111, 20_000])),
        lambda: case.stepped(random.choice([30, 111]), lambda: disturb(case)),
    ]
    for other in random.sample(others, 2):
        other()
    if random.random() < 0.3:
        name = random.choice(["payments", "consents", "scars", "nucleus.incidents"])
        case.command("acknowledge_findings", name, "--reason", "seen")
        case.look()
        case.verify(*CHAIN_ONLY)
    if random.random() < 0.3:
        case.command("checkpoint_ledger")
        shutil.rmtree(case.subject.folder / "evidence")
        shutil.copytree(case.subject.folder / "evidence-kept", case.subject.folder / "evidence")


def disturb(case: Case) -> None:
    """Tamper with what a run in steps has stored so far."""
    if case.random.random() < 0.4:
        tampering = Tampering(case.subject, case.random, bare=False)
        tampering.once(case.random.choice(DISTURBANCES))
        tampering.connection.close()


def test_random_tampering(built: tuple[Subject, Subject], tmp_path: Path) -> None:
    wrong = []
    for number in range(SEED, SEED + ROUNDS):
        seed = f"{built[0].kind}-{number}"
        done, complaints = one(built, seed)
        if complaints:
            wrong.append("\n".join([f"== {seed}", *done, *(f"-- {each}" for each in complaints)]))
    if wrong:
        pytest.fail(f"{len(wrong)} of {ROUNDS}\n" + "\n\n".join(wrong), pytrace=False)
