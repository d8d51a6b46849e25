"""The package's texts and their translations; `python -m tests.messages` updates the files.

Texts are found in modules and templates as Django's `makemessages` finds them, without gettext's
programs: templates are turned into Python by Django, and Babel reads Python.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

import nucleus_ledger

PACKAGE = Path(nucleus_ledger.__file__).parent
LANGUAGES = ("nl",)
KEYWORDS = {
    "_": None,
    "_t": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}


def files_of(language: str) -> tuple[Path, Path]:
    """Return the text file that people translate, and the compiled one that Django reads."""
    folder = PACKAGE / "locale" / language / "LC_MESSAGES"
    return folder / "django.po", folder / "django.mo"


def texts() -> Catalog:
    """Return every text of the package that is there to be translated."""
    catalog = Catalog(project="nucleus_ledger", charset="utf-8")
    for file, source in _sources():
        found = extract_python(
            io.BytesIO(source.encode()), list(KEYWORDS), [], {"encoding": "utf-8"}
        )
        for _line, function, message, _comments in found:
            if function in KEYWORDS and message:
                name = file.relative_to(PACKAGE.parent).as_posix()
                catalog.add(
                    message if isinstance(message, str) else _strings(message),
                    locations=[(name, None)],
                )
    return catalog


def translated(language: str) -> Catalog:
    with files_of(language)[0].open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def update(language: str) -> None:
    """Add new texts and leave out old ones, keep the translations, and compile them."""
    text, binary = files_of(language)
    text.parent.mkdir(parents=True, exist_ok=True)
    catalog = translated(language) if text.exists() else Catalog(language, charset="utf-8")
    catalog.update(texts(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    with text.open("wb") as file:
        write_po(file, catalog, omit_header=False, sort_output=True, include_lineno=False)
    binary.write_bytes(compiled(catalog))


def _sources() -> Iterator[tuple[Path, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        if "migrations" not in file.parts:
            yield file, file.read_text("utf-8")
    for file in sorted(PACKAGE.rglob("*.html")):
        yield file, templatize(file.read_text("utf-8"))


def _strings(message: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(each for each in message if isinstance(each, str))


if __name__ == "__main__":
    for each in LANGUAGES:
        update(each)
