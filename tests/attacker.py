"""Somebody who writes the database and knows the format: all hashes, links and heads made right."""

from __future__ import annotations

from typing import Any

from nucleus_ledger.core import canonical, hashing, signing
from nucleus_ledger.core.checkpoint import Checkpoint
from nucleus_ledger.core.manifest import (
    StreamHead,
    StreamsTree,
    parse_manifest,
    parse_stream_head,
)
from nucleus_ledger.core.merkle import CompactRange, leaf_hash
from nucleus_ledger.models import Checkpoint as StoredCheckpoint
from nucleus_ledger.models import Entry, RecordedHead
from tests.tamper import sql

Document = dict[str, Any]


def documents(alias: str, stream: str) -> list[Document]:
    texts = Entry.objects.using(alias).in_chain_order(stream).values_list("serialized", flat=True)
    return [canonical.loads(text) for text in texts]


def rewrite(alias: str, stream: str, history: list[Document]) -> None:
    """Put a history in the place of a stream's own, every hash, link and head right again."""
    key = sql_value(alias, "SELECT id FROM nucleus_ledger_stream WHERE name = %s", [stream])
    if key is None:
        key = 1 + (sql_value(alias, "SELECT MAX(id) FROM nucleus_ledger_stream") or 0)
        sql(
            alias,
            "INSERT INTO nucleus_ledger_stream (id, name, ledger, length) VALUES (%s, %s, %s, 0)",
            [key, stream, history[0]["ledger"]],
        )
    sql(alias, "DELETE FROM nucleus_ledger_entry WHERE stream_id = %s", [key])
    link = None
    cast = "::jsonb" if alias == "postgres" else ""
    for sequence, document in enumerate(history):
        document = {**document, "sequence": sequence, "prev_hash": link, "stream": stream}
        text = canonical.dumps(document)
        digest = hashing.hash_text(text)
        meta = document.get("meta")
        sql(
            alias,
            "INSERT INTO nucleus_ledger_entry (hash, stream_id, sequence, record_id, timestamp, "
            f"payload, meta, prev_hash, serialized) VALUES (%s, %s, %s, %s, %s, %s{cast}, "
            f"%s{cast}, %s, %s)",
            [
                bytes.fromhex(digest), key, sequence, document["id"], document["timestamp"],
                canonical.dumps(document["payload"]), meta and canonical.dumps(meta),
                link and bytes.fromhex(link), text,
            ],
        )  # fmt: skip
        link = digest
    sql(
        alias,
        "UPDATE nucleus_ledger_stream SET length = %s, head_hash = %s, head_timestamp = %s "
        "WHERE id = %s",
        [
            len(history),
            link and bytes.fromhex(link),
            history[-1]["timestamp"] if history else None,
            key,
        ],
    )


def delete(alias: str, stream: str) -> None:
    for table, column in (("entry", "stream_id"), ("streamstatus", "stream_id"), ("stream", "id")):
        sql(
            alias,
            f"DELETE FROM nucleus_ledger_{table} WHERE {column} IN "
            "(SELECT id FROM nucleus_ledger_stream WHERE name = %s)",
            [stream],
        )


def forge_checkpoints(alias: str) -> None:
    """Make the stored heads and manifests those of the entries as they are now, and sign them with
    a key of one's own: all that can be done without the signer's."""
    signer, _ = signing.generate("example.com/persistent-ledger")
    tree, log = StreamsTree(), CompactRange()
    for checkpoint in StoredCheckpoint.objects.using(alias).order_by("number"):
        rows = RecordedHead.objects.using(alias).filter(number=checkpoint.number)
        for row in rows:
            recorded = parse_stream_head(row.text)
            entries = documents(alias, row.stream)[: recorded.length]
            if not entries:
                rows.filter(stream=row.stream).delete()
                continue
            head, leaves = head_of(recorded.ledger, row.stream, entries)
            rows.filter(stream=row.stream).update(text=str(head), frontier=b"".join(leaves))
            tree.put(head.key, head.leaf)
        said = parse_manifest(checkpoint.manifest)
        manifest = type(said)(
            said.ledger, said.number, said.created_at, len(tree), tree.root().hex()
        )
        log.append(manifest.leaf)
        note = signing.sign(
            str(Checkpoint("example.com/persistent-ledger", log.size, log.root())), [signer]
        )
        StoredCheckpoint.objects.using(alias).filter(number=said.number).update(
            manifest=str(manifest), note=str(note), frontier=b"".join(log.hashes)
        )


def forget_checkpoints(alias: str) -> None:
    for table in ("checkpoint", "recordedhead", "hashtile"):
        sql(alias, f"DELETE FROM nucleus_ledger_{table}")


def sql_value(alias: str, statement: str, parameters: list[Any] | None = None) -> Any:
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return None if row is None else row[0]


def head_of(ledger: str, stream: str, entries: list[Document]) -> tuple[StreamHead, list[bytes]]:
    tree = CompactRange()
    digest = ""
    for document in entries:
        digest = hashing.hash_text(canonical.dumps(document))
        tree.append(leaf_hash(bytes.fromhex(digest)))
    head = StreamHead(
        ledger, stream, len(entries), digest, tree.root().hex(), entries[-1]["timestamp"]
    )
    return head, tree.hashes
