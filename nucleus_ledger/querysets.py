"""The query sets of streams and entries: how entries are appended, read and verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import connections, models, router

from nucleus_ledger import appending, modules, timesearch, verification
from nucleus_ledger.append_only import AppendOnlyQuerySet
from nucleus_ledger.core.record import Record
from nucleus_ledger.errors import InvalidData, NotFound

if TYPE_CHECKING:
    from nucleus_ledger.core.report import Report
    from nucleus_ledger.models import Entry, Stream


class StreamQuerySet(AppendOnlyQuerySet):
    """Streams. `create(name=…)` makes an empty one; nothing changes or removes one."""


class EntryQuerySet(AppendOnlyQuerySet):
    """Entries. Appending ignores the filters of the query set and keeps its database."""

    def append(
        self,
        stream: str | Stream,
        payload: Any,
        *,
        record_id: str | None = None,
        meta: Any = None,
        timestamp: int | None = None,
        expected_length: int | None = None,
        idempotent: bool = False,
    ) -> Entry:
        """Append one entry and return it. The stream stays locked until the transaction ends.

        Raises `InvalidData` (and its child `Serialization`), `IntegrityFailed`, `StreamConflict`
        or `DuplicateRecord` before anything is written, and Django's database errors.
        """
        record = Record(stream, payload, record_id, timestamp, meta)  # type: ignore[arg-type]
        return appending.append_records(
            [record],
            using=self._write_alias(stream),
            expected_length=expected_length,
            idempotent=idempotent,
        )[0]

    append.alters_data = True  # type: ignore[attr-defined]

    def append_batch(
        self, records: Iterable[Record | Mapping[str, Any]], *, idempotent: bool = False
    ) -> list[Entry]:
        """Append all records, of any streams, or none; return their entries in the same order."""
        records = list(records)
        using = self._write_alias(*map(_stream_of, records))
        return appending.append_records(records, using=using, idempotent=idempotent)

    append_batch.alters_data = True  # type: ignore[attr-defined]

    def create(self, **kwargs: Any) -> Entry:
        """Append one entry, as `Entry(…).save()` does it."""
        entry: Entry = self.model(**kwargs)
        entry.save(force_insert=True, using=self._write_alias(kwargs.get("stream")))
        return entry

    create.alters_data = True  # type: ignore[attr-defined]

    def load_entry(self, hash: str) -> Entry | None:
        """Return the entry of that hash, or None."""
        try:
            return self.filter(pk=hash).first()
        except ValidationError:  # not 64 hex digits: no entry has such a hash
            return None

    def load_entries_range(
        self, stream: str, from_hash: str | None = None, limit: int = 100
    ) -> list[Entry]:
        """Return up to `limit` entries in chain order, beginning with that of `from_hash`."""
        if type(limit) is not int or limit < 0:
            raise InvalidData(f"limit is not a whole number >= 0: {limit!r}")
        entries = self.in_chain_order(stream)
        if from_hash is not None:
            first = self.load_entry(from_hash)
            if first is None or first.stream.name != stream:
                raise NotFound(f"stream {stream!r} has no entry of hash {from_hash!r}")
            entries = entries.filter(sequence__gte=first.sequence)
        return list(entries[:limit])

    def in_chain_order(self, stream: str) -> EntryQuerySet:
        """Return a lazy query set of a stream's entries, first to last."""
        # By key and not by a join: PostgreSQL would read all entries of the stream and sort them.
        key = self.model.stream.field.related_model.objects.filter(name=stream).values("pk")[:1]
        return self.filter(stream_id=key).select_related("stream").order_by("sequence")

    def in_time_range(self, stream: str, start: int, end: int | None = None) -> EntryQuerySet:
        """Return a lazy query set of a stream's entries of start <= timestamp < end, in ms.

        Costs a bisection over the sequence for each bound, at once, and needs no index of times.
        """
        connection = connections[self.db]
        entries = self.in_chain_order(stream).filter(
            sequence__gte=timesearch.first_at_or_after(connection, stream, start)
        )
        if end is None:
            return entries
        return entries.filter(sequence__lt=timesearch.first_at_or_after(connection, stream, end))

    def get_by_id(self, stream: str, record_id: str) -> Entry:
        """Return the entry of that record; raises `Entry.EntryNotFound`."""
        found: Entry | None = self.in_chain_order(stream).filter(record_id=record_id).first()
        if found is None:
            raise self.model.EntryNotFound(f"stream {stream!r} has no record {record_id!r}")
        return found

    def latest_hash(self, stream: str) -> str | None:
        """Return the hash of the stream's last entry, read from the entries; None if empty."""
        last = self.in_chain_order(stream).reverse().values_list("hash", flat=True).first()
        return None if last is None else str(last)

    def matching(self, **filters: Any) -> EntryQuerySet:
        """Narrow by the filters that the configured modules declare, all together (AND)."""
        return modules.query(self, filters)

    def verify_integrity(self, stream: str | None = None, **options: Any) -> Report:
        """Verify one stream or all, store the verification and return its report.

        Raises nothing for a broken chain; `NotFound` for an unknown stream. Options are those of
        `verification.verify`.
        """
        streams = None if stream is None else [stream]
        return verification.verify(self.db, streams, **options)

    verify_integrity.alters_data = True  # type: ignore[attr-defined]

    async def aappend(self, stream: str | Stream, payload: Any, **options: Any) -> Entry:
        return await sync_to_async(self.append)(stream, payload, **options)

    aappend.alters_data = True  # type: ignore[attr-defined]

    async def aappend_batch(
        self, records: Iterable[Record | Mapping[str, Any]], *, idempotent: bool = False
    ) -> list[Entry]:
        return await sync_to_async(self.append_batch)(records, idempotent=idempotent)

    aappend_batch.alters_data = True  # type: ignore[attr-defined]

    async def aload_entry(self, hash: str) -> Entry | None:
        return await sync_to_async(self.load_entry)(hash)

    async def aload_entries_range(
        self, stream: str, from_hash: str | None = None, limit: int = 100
    ) -> list[Entry]:
        return await sync_to_async(self.load_entries_range)(stream, from_hash, limit)

    async def aget_by_id(self, stream: str, record_id: str) -> Entry:
        return await sync_to_async(self.get_by_id)(stream, record_id)

    async def alatest_hash(self, stream: str) -> str | None:
        return await sync_to_async(self.latest_hash)(stream)

    async def averify_integrity(self, stream: str | None = None, **options: Any) -> Report:
        return await sync_to_async(self.verify_integrity)(stream, **options)

    averify_integrity.alters_data = True  # type: ignore[attr-defined]

    def _write_alias(self, *streams: object) -> str:
        """Return the database to append to; the router is told of streams that are instances."""
        chosen: Any = self  # Django's own attributes, which its stubs leave out
        if chosen._db:
            return str(chosen._db)
        others = [stream for stream in streams if type(stream) is not str]
        instances = {id(s): s for s in others if isinstance(s, models.Model)}.values()
        aliases = {
            router.db_for_write(self.model, **{**chosen._hints, "instance": stream})
            for stream in instances
        } or {router.db_for_write(self.model, **chosen._hints)}
        if len(aliases) > 1:
            raise InvalidData(f"one batch for several databases: {', '.join(sorted(aliases))}")
        return str(aliases.pop())


def _stream_of(record: Any) -> Any:
    if type(record) is dict:
        return record.get("stream")
    return getattr(record, "stream", None)
