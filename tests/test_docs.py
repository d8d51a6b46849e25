"""The docs name everything a user can type, and their example can be redone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from django.core.management import load_command_class

from nucleus_ledger import checks, errors
from nucleus_ledger.conf import OPTIONS
from nucleus_ledger.core.chain import KINDS
from nucleus_ledger.verify.__main__ import _parser as verifier

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FORMAT = (ROOT / "docs" / "format.md").read_text("utf-8")
COMMANDS = (
    "verify_ledger",
    "append_entries",
    "ledger_status",
    "acknowledge_findings",
    "checkpoint_ledger",
    "ledger_keygen",
    "ledger_receipt",
    "export_ledger",
    "import_ledger",
    "import_nucleus",
)
# Every Django command has these.
COMMON = {"--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback",
          "--no-color", "--force-color", "--skip-checks"}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_stands_in_the_readme(name: str) -> None:
    assert f"`{name}" in README
    parser = load_command_class("nucleus_ledger", name).create_parser("manage.py", name)
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    missing = {option for option in options - COMMON if option not in README}
    assert not missing


def test_no_option_is_promised_that_does_not_exist() -> None:
    promised = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    known = set(COMMON)
    for name, app in [*((name, "nucleus_ledger") for name in COMMANDS), ("demo", "project")]:
        parser = load_command_class(app, name).create_parser("manage.py", name)
        known |= {option for action in parser._actions for option in action.option_strings}
    known |= {option for action in verifier()._actions for option in action.option_strings}
    # of runserver, gunicorn, uvicorn and check
    assert promised - known <= {"--noreload", "--preload", "--workers", "--deploy"}


@pytest.mark.parametrize("key", OPTIONS)
def test_each_setting_stands_in_the_readme(key: str) -> None:
    assert f"| `{key}` |" in README


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_each_exit_code_stands_in_the_readme(code: int) -> None:
    assert f"\n| {code} | " in README


@pytest.mark.parametrize("kind", KINDS)
def test_each_finding_is_explained(kind: str) -> None:
    assert f"`{kind}`" in (ROOT / "docs" / "tampering.md").read_text("utf-8")


def test_the_two_commands() -> None:
    assert "pip install -r requirements.txt && python manage.py demo\n" in README
    assert "pip install -r requirements.txt && pytest\n" in README


def test_errors_kinds_and_checks_are_named() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and value is not errors.LedgerError:
            assert f"`{name}`" in README
    for kind in KINDS:
        assert f"`{kind}`" in FORMAT
    files = Path(checks.__file__).parent.rglob("*.py")
    source = "".join(file.read_text("utf-8") for file in files)
    used = set(re.findall(r'id="nucleus_ledger\.([EW]\d{3})"', source))
    assert used == set(re.findall(r"\b[EW]\d{3}\b", checks.__doc__ or ""))
    page = (ROOT / "docs" / "integration.md").read_text("utf-8")
    assert used == set(re.findall(r"^\| `nucleus_ledger\.([EW]\d{3})` \|", page, re.MULTILINE))


def test_the_example_of_the_format_can_be_redone() -> None:
    examples = re.findall(r"printf '%s' '(.+)' \| sha256sum\n```\n\n    ([0-9a-f]{64})", FORMAT)
    assert len(examples) == 2
    for text, digest in examples:
        assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), target


def test_every_row_of_the_threat_model_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    sources = "".join(
        file.read_text("utf-8")
        for folder in ("evidence", "transfer")
        for file in (ROOT / "tests" / folder).glob("*.py")
    )
    named = set(re.findall(r"`(test_\w+)", text))
    assert len(named) >= 15
    assert {name for name in named if f"def {name}(" not in sources} == set()
    attacks = set(re.findall(r"`(?:test_\w+\[)?…-(\w+)\]?`", text))
    assert len(attacks) >= 7
    assert {name for name in attacks if f"def {name}(" not in sources} == set()
