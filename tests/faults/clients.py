"""Clients that append over HTTP at the same time, and remember what was acknowledged."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.startup_servers import PATIENCE, Server


@dataclass
class Answers:
    """The hash of each acknowledged record by its id, its processes, and what else came back."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    processes: set[int] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)


def append(server: Server, record_id: str, answers: Answers) -> None:
    """Append one record, and note down what came of it."""
    try:
        with urllib.request.urlopen(f"{server.url}append/{record_id}", timeout=PATIENCE) as got:
            answer = json.load(got)
    except urllib.error.HTTPError as exc:
        with exc:
            answers.others[f"status {exc.code}"] += 1
    except OSError:  # a worker that ends may drop a request: nothing was acknowledged
        answers.others["no answer"] += 1
    else:
        answers.acknowledged[record_id] = answer["hash"]
        answers.processes.add(answer["process"])


def append_until(server: Server, answers: Answers, enough: int, *, clients: int = 4) -> None:
    """Append from several threads until so many entries are acknowledged."""
    end = time.monotonic() + 2 * PATIENCE
    stopped = threading.Event()
    name = f"{time.monotonic_ns()}"

    def work(client: int) -> None:
        number = 0
        while not stopped.is_set():
            append(server, f"{name}-{client}-{number}", answers)
            number += 1

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        while len(answers.acknowledged) < enough:
            assert time.monotonic() < end, server.output[-3000:]
            time.sleep(0.02)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def lost(acknowledged: dict[str, str], stored: list[tuple[Any, ...]]) -> dict[str, str]:
    """Return what was acknowledged and is not stored as it was; `stored` are (id, hash)."""
    there = {record_id: bytes(hash_).hex() for record_id, hash_ in stored}
    return {key: value for key, value in acknowledged.items() if there.get(key) != value}
