from __future__ import annotations

from django.db import migrations, models


def open_ledger(apps, schema_editor):
    from nucleus_ledger.models import Entry

    Entry.objects.using(schema_editor.connection.alias).append("payments", {"opened": True})


class Migration(migrations.Migration):
    dependencies = [("nucleus_ledger", "0002_append_only_guards_v1")]
    operations = [
        migrations.CreateModel(
            "Payment",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("cents", models.IntegerField()),
            ],
        ),
        migrations.RunPython(open_ledger, migrations.RunPython.noop),
    ]
