"""Registers the ledger's pages in an admin site."""

from __future__ import annotations

from django.contrib.admin import AdminSite

from nucleus_ledger.console.checkpoints import CheckpointAdmin
from nucleus_ledger.console.entries import EntryAdmin
from nucleus_ledger.console.streams import StreamAdmin
from nucleus_ledger.console.verifications import VerificationAdmin
from nucleus_ledger.models import Checkpoint, Entry, Stream, Verification


def register(site: AdminSite) -> None:
    """Register all pages of the ledger in a site; its pages then link to each other there.

    Django's own site has them without this. Raises `AlreadyRegistered` where the site has one.
    """
    site.register(Stream, StreamAdmin)
    site.register(Entry, EntryAdmin)
    site.register(Verification, VerificationAdmin)
    site.register(Checkpoint, CheckpointAdmin)
