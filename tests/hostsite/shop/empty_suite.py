"""A suite that never appends: what a host has the day it adds the ledger to INSTALLED_APPS."""

from __future__ import annotations

from django.test import TestCase, TransactionTestCase


class Nothing(TransactionTestCase):
    def test_nothing(self):
        pass


class Rolled(TestCase):
    def test_nothing(self):
        pass
