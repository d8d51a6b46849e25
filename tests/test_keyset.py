"""Reading in parts, and that nothing in the package needs a session of its own."""

from __future__ import annotations

import ast
import re

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from nucleus_ledger import keyset
from nucleus_ledger.keyset import rows_in_order
from nucleus_ledger.models import HashTile
from tests.test_layers import PACKAGE, files

# What lives in a session, and not in a transaction: a pooler between them takes it away.
SESSION_SQL = re.compile(
    r"\b(DECLARE\s+\S+\s+.*CURSOR|LISTEN\s+\w|PREPARE\s+\w|pg_(try_)?advisory_lock|"
    r"SET\s+SESSION|CREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP|lastval\(|currval\()",
    re.IGNORECASE,
)
PLAIN_SET = re.compile(r"^\s*SET\s+(?!LOCAL\b)\w+\s*(=|TO)\b", re.IGNORECASE)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 30])
def test_parts_together_are_all_rows_in_order(
    ledger_db: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "ROWS_PER_STATEMENT", size)
    manager = HashTile._base_manager.using(ledger_db)
    places = [(tree, level, number) for tree in (1, 2, 3) for level in (0, 1) for number in (0, 4)]
    for tree, level, number in reversed(places):
        manager.create(tree=tree, level=level, number=number, hashes=b"x")
    keys = ("tree", "level", "number")
    with CaptureQueriesContext(connections[ledger_db]) as queries:
        found = list(rows_in_order(manager.all(), keys, keys))
    assert found == places
    assert len(queries) == len(places) // size + 1
    some = manager.filter(tree__gte=2)
    assert list(rows_in_order(some, keys, ("number",))) == [(number,) for *_, number in places[4:]]
    assert list(rows_in_order(manager.filter(tree=9), keys, keys)) == []


def test_no_query_set_is_read_through_a_cursor_on_the_server() -> None:
    calls = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in files()
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("iterator", "aiterator", "chunked_cursor", "create_cursor")
    ]
    assert calls == []


def test_no_statement_needs_a_session() -> None:
    wrong = []
    for file in [*files(), *PACKAGE.rglob("*.sql")]:
        text = file.read_text("utf-8")
        if file.suffix == ".sql":
            statements = [text]
        else:
            nodes = ast.walk(ast.parse(text))
            constants = [n.value for n in nodes if isinstance(n, ast.Constant)]
            statements = [value for value in constants if isinstance(value, str)]
        if file.name == "key_sequence.py":
            # The insert that drew the key is in the same transaction, and so in the same session.
            statements = [each.replace("currval", "") for each in statements]
        wrong += [
            f"{file.relative_to(PACKAGE)}: {statement[:80]}"
            for statement in statements
            if SESSION_SQL.search(statement) or PLAIN_SET.search(statement)
        ]
    assert wrong == []
