"""The rooms of the house: a module imports only what stands below it, also inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nucleus_ledger

PACKAGE = Path(nucleus_ledger.__file__).parent
ROWS = {
    0: ["errors"],
    1: [
        "core",
        "pooled_connection",
        "storage",
        "verify",
    ],  # verify stands beside: nobody imports it
    2: [
        "conf",
        "signals",
        "fields",
        "guards",
        "index_check",
        "key_sequence",
        "keyset",
        "operations",
        "processes",
        "routing",
        "table_shape",
    ],
    3: [
        "acknowledgements",
        "alarms",
        "appending",
        "checking",
        "clocks",
        "drafting",
        "instances",
        "modules",
        "reliance",
        "row_signatures",
        "rowsource",
        "statuses",
        "stored_breaks",
        "stream_reader",
        "timesearch",
        "verification",
        "workers",
    ],
    4: ["append_only", "querysets", "managers"],
    5: ["models"],
    6: [
        "checkpoints",
        "evidence",
        "incidents",
        "standing",
        "startup",
        "startup_lease",
        "step_leases",
        "stepping",
        "transfer",
    ],
    7: ["checks", "console", "database_checks", "middleware"],
    8: ["admin", "filters", "templatetags"],
    9: ["apps", "management", "testing"],
}
ROW_OF = {name: row for row, names in ROWS.items() for name in names}
# Migrations name operations, fields and nothing else; Django writes them.
OUTSIDE = {"migrations"}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(file: Path) -> set[str]:
    """Every module of the package that a file imports anywhere, but for type checkers."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file}: a relative import"
            assert node.level == 0, f"{file}: a relative import"
            if node.module == "nucleus_ledger":
                found.update(f"nucleus_ledger.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
    return {name for name in found if name.split(".")[0] == "nucleus_ledger"}


def files() -> list[Path]:
    return [
        file
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in OUTSIDE
    ]


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = set(arrows[start])
    while waiting:
        reached |= waiting
        waiting = {target for name in waiting for target in arrows.get(name, ())} - reached
    return reached


def test_every_module_has_a_room() -> None:
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in files()}
    assert rooms - {"__init__"} == set(ROW_OF)


def test_modules_import_only_what_stands_below_them() -> None:
    wrong = []
    arrows: dict[str, set[str]] = {}
    for file in files():
        name = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported in imports(file):
            target = room(imported)
            if target and target != name:
                arrows.setdefault(name, set()).add(target)
                if ROW_OF[target] > ROW_OF[name]:
                    wrong.append(f"{name} imports {target}")
    assert wrong == []
    assert not [name for name, targets in arrows.items() if "verify" in targets]
    for name in arrows:
        assert name not in reachable(arrows, name), f"{name} imports itself in a circle"


def test_packages_import_nothing_by_themselves() -> None:
    for file in PACKAGE.rglob("__init__.py"):
        assert file.read_text("utf-8").strip() == "", file


def test_the_pure_core_needs_no_django() -> None:
    modules = [
        "nucleus_ledger." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for file in files()
        if file.relative_to(PACKAGE).parts[0] in ("core", "verify", "storage.py", "errors.py")
        and file.name != "__init__.py"
    ]
    assert len(modules) >= 7
    code = (
        "import os, sys\n"
        "os.environ.pop('DJANGO_SETTINGS_MODULE', None)\n"
        "sys.modules['django'] = None\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
        "assert not [m for m in sys.modules if m.startswith('django.')]\n"
        "print('pure')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "pure", done.stderr


def test_one_module_inserts() -> None:
    inserting = [
        file.name
        for file in files()
        if "INSERT INTO nucleus_ledger_entry" in file.read_text("utf-8")
    ]
    assert inserting == ["appending.py"]


def test_modules_stay_readable() -> None:
    for file in files():
        assert len(file.read_text("utf-8").splitlines()) <= 450, file
