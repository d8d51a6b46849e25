"""Kills `checkpoint_ledger` before each step, and does what the documentation says: runs it again.

`python -m tests.faults.killing_checkpoint` runs on the sample site with a key and a sink. A step is
a statement, a commit, a signature, a file of the sink or the middle of one. The first checkpoint is
killed on its way too: it begins with `--init`, and goes on without once it is stored.
"""

from __future__ import annotations

import json
import os
from typing import Any

from tests.faults.killing import Killer, answer, fork, was_killed


def cut_files(killer: Killer) -> None:
    """Make a step of the middle of each file that a storage writes."""
    from django.core.files.base import ContentFile

    def chunks(self: Any, chunk_size: int | None = None) -> Any:
        self.seek(0)
        content = self.read()
        yield content[: len(content) // 2]
        killer.step()
        yield content[len(content) // 2 :]

    ContentFile.chunks = chunks


def checkpoint(*, init: bool) -> None:
    from django.core.management import call_command

    with open(os.devnull, "w") as nowhere:
        call_command("checkpoint_ledger", init=init, stdout=nowhere)


def size() -> str:
    from nucleus_ledger.evidence import stored

    return str(stored.size("default"))


def kill_before_each_step() -> dict[str, int]:
    """Return how many were killed, and how many of these had stored the checkpoint.

    After each kill the command runs once more in peace, and something new is appended.
    """
    kills = signed = step = 0
    for init in (True, False):
        while True:
            before = answer(size)

            def killed(step: int = step, init: bool = init) -> None:
                from nucleus_ledger.models import Entry

                Entry.objects.append("a", {"step": step})
                Killer(step, ends=False, also=cut_files).arm()
                checkpoint(init=init)

            status = fork(killed)
            if not was_killed(status):
                assert status == 0, f"checkpoint_ledger fails after a kill at step {step - 1}"
                step = 0
                break
            kills += 1
            step += 1
            stored = answer(size) != before
            signed += stored
            if init and not stored:
                continue
            assert fork(lambda: checkpoint(init=False)) == 0, f"after a kill at step {step - 1}"
            if init:
                step = 0
                break
    return {"kills": kills, "stored": signed}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    print(json.dumps(kill_before_each_step()))
