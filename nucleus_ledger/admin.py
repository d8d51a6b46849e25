"""Puts the ledger's pages into Django's admin, which looks for a module of this name."""

from __future__ import annotations

from django.contrib import admin

from nucleus_ledger.console.checkpoints import CheckpointAdmin
from nucleus_ledger.console.entries import EntryAdmin
from nucleus_ledger.console.streams import StreamAdmin
from nucleus_ledger.console.verifications import VerificationAdmin
from nucleus_ledger.models import Checkpoint, Entry, Stream, Verification

admin.site.register(Stream, StreamAdmin)
admin.site.register(Entry, EntryAdmin)
admin.site.register(Verification, VerificationAdmin)
admin.site.register(Checkpoint, CheckpointAdmin)
