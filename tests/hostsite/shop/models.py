from __future__ import annotations

from django.db import models, transaction

from nucleus_ledger.models import Entry


class Payment(models.Model):
    cents = models.IntegerField()

    def __str__(self) -> str:
        return str(self.cents)

    @classmethod
    def pay(cls, cents: int) -> Payment:
        with transaction.atomic():
            payment = cls.objects.create(cents=cents)
            Entry.objects.append("payments", {"id": payment.pk, "cents": cents})
        return payment
