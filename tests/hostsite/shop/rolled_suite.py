"""A suite whose tests all roll back: it needs nothing of the ledger."""

from __future__ import annotations

from django.test import TestCase


class Rolled(TestCase):
    def test_nothing(self):
        pass
