from __future__ import annotations


def ledger_id(connection):
    return f"example.com/{connection.schema_name}"


def former_ids(connection):
    return [f"old.example.com/{connection.schema_name}"]
