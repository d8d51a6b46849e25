"""Streams, their entries, and what verifications found.

Stream and Entry are history: they are appended to and never changed. StreamStatus, Verification
and Finding are opinions about history, written by verification alone. Checkpoint, RecordedHead and
HashTile are copies of evidence that is kept elsewhere: they count where a signed root says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Length
from django.db.models.lookups import Exact, GreaterThanOrEqual
from django.utils.translation import gettext_lazy as _

from nucleus_ledger import appending, drafting
from nucleus_ledger.append_only import AppendOnlyModel, refuse
from nucleus_ledger.core.plain import MAX_SAFE_INTEGER
from nucleus_ledger.core.visible import visible
from nucleus_ledger.errors import InvalidData, NotFound
from nucleus_ledger.fields import DocumentField, HashField, UTCDateTimeField
from nucleus_ledger.managers import EntryManager, StreamManager

if TYPE_CHECKING:
    from django.db.models.base import ModelBase


class Stream(AppendOnlyModel):
    """One chain: its name and a cache of its head. The row is also the lock of appends."""

    name = models.CharField(_("name"), max_length=200)
    ledger = models.CharField(_("ledger"), max_length=200)
    length = models.BigIntegerField(_("entries"), default=0)
    head_hash = HashField(_("head"), null=True)
    head_timestamp = models.BigIntegerField(_("time of the last entry"), null=True, blank=True)

    objects: ClassVar[StreamManager] = StreamManager()

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        default_permissions = ("view",)
        permissions: ClassVar = [("verify_stream", _("Can verify streams"))]
        constraints: ClassVar = [
            # Not unique=True: on PostgreSQL that brings an index for LIKE that nothing needs.
            models.UniqueConstraint(fields=["name"], name="nucleus_ledger_stream_name"),
            models.CheckConstraint(
                name="nucleus_ledger_stream_labels",
                condition=GreaterThanOrEqual(Length("name"), 1)
                & GreaterThanOrEqual(Length("ledger"), 1),
            ),
            models.CheckConstraint(
                name="nucleus_ledger_stream_head",
                condition=models.Q(length=0, head_hash__isnull=True, head_timestamp__isnull=True)
                # Said in full: null > 0 is neither true nor false, and a CHECK lets that pass.
                | models.Q(
                    length__gt=0,
                    head_hash__isnull=False,
                    head_timestamp__isnull=False,
                    head_timestamp__gt=0,
                ),
            ),
        ]

    def __str__(self) -> str:
        return visible(str(self.name))

    def append(self, payload: Any, **options: Any) -> Entry:
        """Append one entry to this stream, where the router has it; see `EntryQuerySet.append`."""
        entry: Entry = Entry.objects.append(self, payload, **options)
        return entry

    append.alters_data = True  # type: ignore[attr-defined]

    async def aappend(self, payload: Any, **options: Any) -> Entry:
        entry: Entry = await Entry.objects.aappend(self, payload, **options)
        return entry

    aappend.alters_data = True  # type: ignore[attr-defined]

    def save(
        self,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Create the empty stream. A stream that exists is only ever changed by an append."""
        if not self._state.adding or force_update or update_fields is not None:
            refuse("Stream.save() of a stream that exists")
        appending.create_stream(self, using=appending.database_of(self, using=using))


class Entry(AppendOnlyModel):
    """One entry. Every column is committed to by the hash, or is the hash."""

    EntryNotFound: ClassVar[type[NotFound]]
    # Whether this instance was appended here, and not read: an idempotent append may do either.
    is_new = False

    hash = HashField(_("hash"), primary_key=True)
    stream = models.ForeignKey(
        Stream, models.PROTECT, related_name="entries", verbose_name=_("stream"), db_index=False
    )
    # What `save()` computes is not editable; what it makes up where it is missing may be blank.
    sequence = models.BigIntegerField(_("sequence"), editable=False)
    record_id = models.CharField(_("record id"), max_length=200, blank=True)
    timestamp = models.BigIntegerField(_("timestamp"), blank=True)
    payload = DocumentField(_("payload"))
    meta = DocumentField(_("meta"), null=True, blank=True)
    prev_hash = HashField(_("previous hash"), null=True)
    serialized = models.TextField(_("serialized"), editable=False)

    objects: ClassVar[EntryManager] = EntryManager()

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("entry")
        verbose_name_plural = _("entries")
        default_permissions = ("view",)
        permissions: ClassVar = [("view_payload", _("Can view payloads"))]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["stream", "sequence"], name="nucleus_ledger_entry_sequence"
            ),
            models.UniqueConstraint(
                fields=["stream", "record_id"], name="nucleus_ledger_entry_record"
            ),
            models.CheckConstraint(
                name="nucleus_ledger_entry_hashes",
                condition=Exact(Length("hash"), 32)
                & (models.Q(prev_hash__isnull=True) | Exact(Length("prev_hash"), 32)),
            ),
            models.CheckConstraint(
                name="nucleus_ledger_entry_link",
                condition=models.Q(sequence=0, prev_hash__isnull=True)
                | models.Q(sequence__gt=0, prev_hash__isnull=False),
            ),
            models.CheckConstraint(
                name="nucleus_ledger_entry_ranges",
                condition=models.Q(timestamp__gt=0, timestamp__lte=MAX_SAFE_INTEGER)
                & GreaterThanOrEqual(Length("record_id"), 1)
                & GreaterThanOrEqual(Length("serialized"), 1),
            ),
        ]

    def __str__(self) -> str:
        cached = self._state.fields_cache.get("stream")  # a list must not cost a query a row
        return f"{cached or self.stream_id} #{visible(str(self.sequence))}"

    def clean(self) -> None:
        """Raise a `ValidationError` for what an append would refuse of this new entry.

        The stream's head is not asked: a time before it, or a record id that is taken by an equal
        entry, is for the append itself to judge.
        """
        if self._state.adding:
            try:
                drafting.check_instance(self)
            except InvalidData as exc:
                raise ValidationError(str(exc), code="invalid") from exc

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Leave out what `save()` computes or makes up, where it is not there yet."""
        if self._state.adding:
            made = ("hash", "sequence", "prev_hash", "serialized", "record_id", "timestamp")
            exclude = {*(exclude or ()), *(name for name in made if not getattr(self, name))}
        super().validate_constraints(exclude)

    def save(
        self,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Append this new entry: its hash and place in the chain are computed here.

        Takes `stream` and `payload`, and `record_id`, `timestamp` and `meta` where they are set.
        """
        if not self._state.adding or force_update or update_fields is not None:
            refuse("Entry.save() of an entry that exists")
        appending.append_instance(self, using=appending.database_of(self, using=using))


class EntryNotFound(NotFound, Entry.DoesNotExist):
    """There is no such entry."""


Entry.EntryNotFound = EntryNotFound


class Assurance(models.TextChoices):
    """What a verification rests on, beside the database itself."""

    CHAIN = "chain", _("chain")
    CHECKPOINT = "checkpoint", _("checkpoint")
    WITNESSED = "witnessed", _("witnessed checkpoint")


class Verification(models.Model):
    """One verification run."""

    class Result(models.TextChoices):
        RUNNING = "running", _("running")
        INTACT = "intact", _("intact")
        INTACT_SINCE = "intact_since", _("intact since the last verification")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        TAMPERED = "tampered", _("tampered")
        UNKNOWN = "unknown", _("unknown")

    class Mode(models.TextChoices):
        FULL = "full", _("full")
        INCREMENTAL = "incremental", _("incremental")

    class Origin(models.TextChoices):
        ACKNOWLEDGE = "acknowledge", _("acknowledgement")
        ADMIN = "admin", _("admin")
        API = "api", _("code of the site")
        COMMAND = "command", _("command")
        STARTUP = "startup", _("start of a server")

    started_at = UTCDateTimeField(_("started"))
    finished_at = UTCDateTimeField(_("finished"), null=True)
    origin = models.CharField(_("started by"), max_length=20, choices=Origin.choices)
    user = models.CharField(_("user"), max_length=200, blank=True)
    mode = models.CharField(_("mode"), max_length=20, choices=Mode.choices)
    scope = models.JSONField(_("streams asked for"), null=True)
    deep = models.BooleanField(_("deep"), default=False)
    validated = models.BooleanField(_("validated"), default=False)
    result = models.CharField(
        _("result"), max_length=20, choices=Result.choices, default=Result.RUNNING
    )
    assurance = models.CharField(
        _("assurance"),
        max_length=20,
        choices=Assurance.choices,
        default=Assurance.CHAIN,
        db_default=Assurance.CHAIN,
    )
    # The checkpoint it held the ledger against.
    evidence_size = models.BigIntegerField(_("size of the checkpoint"), null=True)
    evidence_root = models.CharField(
        _("root of the checkpoint"), max_length=64, blank=True, default="", db_default=""
    )
    streams = models.BigIntegerField(_("streams"), default=0)
    entries = models.BigIntegerField(_("entries"), default=0)
    findings_total = models.BigIntegerField(_("findings"), default=0)
    warnings = models.JSONField(_("warnings"), default=list)
    notices = models.JSONField(_("notices"), default=list)
    # Set only while a run holds the lease of that name; unique, so that one process gets it.
    lease = models.CharField(_("lease"), max_length=50, null=True)  # noqa: DJ001
    lease_until = UTCDateTimeField(_("lease until"), null=True)
    signature = models.CharField(
        _("signature"), max_length=100, blank=True, default="", db_default=""
    )

    class Meta:
        verbose_name = _("verification")
        verbose_name_plural = _("verifications")
        default_permissions = ("view",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["lease"], name="nucleus_ledger_verification_lease")
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_mode_display()}: {self.get_result_display()}"


class VerificationStep(models.Model):
    """One step of a verification under way; gone when it ends. `stepping` signs and reads it."""

    pk = models.CompositePrimaryKey("verification", "number")
    verification = models.ForeignKey(
        Verification, models.CASCADE, related_name="steps", db_index=False
    )
    number = models.PositiveIntegerField(_("number"))
    standing = models.TextField(_("where it stands"))
    found = models.TextField(_("what it found"))

    class Meta:
        verbose_name = _("verification step")
        verbose_name_plural = _("verification steps")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.verification_id} step {self.number}"


class Finding(models.Model):
    """One thing a verification found wrong, as `core.chain.Finding` says it."""

    verification = models.ForeignKey(
        Verification, models.CASCADE, related_name="findings", verbose_name=_("verification")
    )
    kind = models.CharField(_("kind"), max_length=40)
    stream = models.CharField(_("stream"), max_length=250)
    sequence = models.BigIntegerField(_("sequence"), null=True)
    record_id = models.TextField(_("record id"), null=True)  # noqa: DJ001
    fields = models.JSONField(_("fields"), default=list)
    expected = models.JSONField(_("expected"), null=True)
    actual = models.JSONField(_("actual"), null=True)
    message = models.TextField(_("message"))

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} at {visible(self.stream)}:{self.sequence}"


class StreamStatus(models.Model):
    """What the last verification says of a stream; kept apart so that storing it never waits."""

    class Result(models.TextChoices):
        INTACT = "intact", _("intact")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        TAMPERED = "tampered", _("tampered")

    stream = models.OneToOneField(
        Stream, models.PROTECT, primary_key=True, related_name="status", verbose_name=_("stream")
    )
    result = models.CharField(_("result"), max_length=20, choices=Result.choices)
    assurance = models.CharField(
        _("assurance"),
        max_length=20,
        choices=Assurance.choices,
        default=Assurance.CHAIN,
        db_default=Assurance.CHAIN,
    )
    assured = models.BigIntegerField(_("entries under a checkpoint"), default=0, db_default=0)
    length = models.BigIntegerField(_("verified entries"))
    head_hash = HashField(_("hash there"), null=True)
    verified_at = UTCDateTimeField(_("verified"))
    full_at = UTCDateTimeField(_("fully verified"))
    verification = models.ForeignKey(
        Verification, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    # The key of that run, which stays when the run is deleted: statuses are ordered by it.
    run = models.BigIntegerField(_("run"), default=0, db_default=0)
    # What was verified before the break, which a run that is to lift the break must find again.
    base_length = models.BigIntegerField(_("entries verified before"), default=0, db_default=0)
    base_hash = HashField(_("hash there"), null=True)
    # The checkpoint that found the break; size 0: one that is not known any more.
    evidence_size = models.BigIntegerField(_("size of the checkpoint"), null=True)
    evidence_root = models.CharField(
        _("root of the checkpoint"), max_length=64, blank=True, default="", db_default=""
    )
    signature = models.CharField(
        _("signature"), max_length=100, blank=True, default="", db_default=""
    )

    class Meta:
        verbose_name = _("stream status")
        verbose_name_plural = _("stream statuses")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.stream_id} {self.result} through {self.length}"


class Checkpoint(models.Model):
    """One manifest of the log and the signed note over all manifests through it.

    `frontier`: the hashes of the perfect subtrees over those manifests, 32 bytes each.
    `undelivered` names the sinks that have not taken it yet.
    """

    number = models.BigIntegerField(_("number"), primary_key=True)
    manifest = models.TextField(_("manifest"))
    note = models.TextField(_("signed note"))
    frontier = models.BinaryField(_("frontier"))
    undelivered = models.JSONField(_("not yet delivered to"), default=list)

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"#{self.number}"


class RecordedHead(models.Model):
    """A stream's head as manifest `number` records it, and those after it below `until`.

    `frontier`: the hashes of the perfect subtrees over the stream's entries, 32 bytes each, from
    which the next root goes on without reading what is before.
    """

    pk = models.CompositePrimaryKey("number", "stream")
    number = models.BigIntegerField(_("number"))
    stream = models.CharField(_("stream"), max_length=200)
    until = models.BigIntegerField(_("until"), null=True)
    length = models.BigIntegerField(_("length"), default=0, db_default=0)
    text = models.TextField(_("text"))
    frontier = models.BinaryField(_("frontier"))

    class Meta:
        verbose_name = _("recorded head")
        verbose_name_plural = _("recorded heads")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["stream"],
                condition=models.Q(until__isnull=True),
                name="nucleus_ledger_recordedhead_now",
            )
        ]
        indexes: ClassVar = [
            # For the first head that covers an entry.
            models.Index(fields=["stream", "length"], name="nucleus_ledger_head_length")
        ]

    def __str__(self) -> str:
        return f"{visible(self.stream)} in #{self.number}"


class HashTile(models.Model):
    """Up to 256 hashes of a tree, level 1 and up (C2SP tlog-tiles); can be rebuilt.

    `tree` is the key of the stream whose entries it is over; 0 is the log of manifests.
    """

    pk = models.CompositePrimaryKey("tree", "level", "number")
    tree = models.BigIntegerField(_("tree"))
    level = models.PositiveSmallIntegerField(_("level"))
    number = models.BigIntegerField(_("number"))
    hashes = models.BinaryField(_("hashes"))

    class Meta:
        verbose_name = _("hash tile")
        verbose_name_plural = _("hash tiles")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.tree}: {self.level}/{self.number}"
