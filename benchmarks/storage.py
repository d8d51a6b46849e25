"""Bytes on disk for one entry, in the table and in each index."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections

from benchmarks import streams
from benchmarks.figures import Figure
from benchmarks.harness import ALIAS, Run

_TABLE = "nucleus_ledger_entry"
# Of the table and of each index: its columns (none for the table) and the bytes of its pages.
_SIZES = {
    "sqlite": f"""
SELECT (SELECT group_concat(name, ', ') FROM pragma_index_info(s.name)),
  (SELECT SUM(pgsize) FROM dbstat WHERE name = s.name)
FROM sqlite_schema s WHERE s.tbl_name = '{_TABLE}' AND s.type IN ('table', 'index')
""",
    "postgresql": f"""
SELECT NULL, pg_table_size('{_TABLE}') UNION ALL
SELECT (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = i.indexrelid), pg_relation_size(i.indexrelid)
FROM pg_index i WHERE i.indrelid = '{_TABLE}'::regclass
""",
}
_TEXTS = {
    "sqlite": f"SELECT COUNT(*), SUM(LENGTH(CAST(serialized AS BLOB))) FROM {_TABLE}",
    "postgresql": f"SELECT COUNT(*), SUM(OCTET_LENGTH(serialized)) FROM {_TABLE}",
}


def measure(run: Run) -> Iterator[Figure]:
    for size in run.sizes:
        streams.sized(size)
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(_TEXTS[run.vendor])
        entries, text = cursor.fetchone()
        cursor.execute(_SIZES[run.vendor])
        sizes = sorted(cursor.fetchall(), key=lambda row: (row[0] is not None, -row[1]))
    total = sum(size for _columns, size in sizes)
    lines = [(f"index ({columns})" if columns else "table", size) for columns, size in sizes]
    for what, size in [("table and indexes", total), *lines]:
        bytes_each = size / entries
        yield Figure(f"bytes for an entry, {what}", value=bytes_each, unit="B", size=entries)
    share = float(total / text)
    yield Figure(
        "bytes for an entry, table and indexes", "its hashed text alone", share, size=entries
    )
