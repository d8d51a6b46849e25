from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from nucleus_ledger.operations import AppendOnlyGuards, KeepEntries


class Migration(migrations.Migration):
    dependencies: ClassVar = [("nucleus_ledger", "0001_initial")]
    operations: ClassVar = [AppendOnlyGuards(version=1), KeepEntries()]
