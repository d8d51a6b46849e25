"""The host's own tests, as anybody would write them."""

from __future__ import annotations

from urllib.request import urlopen

from django.db import connection, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase

from nucleus_ledger.models import Entry
from shop.models import Payment


class InATransaction(TestCase):
    def test_pay(self):
        Payment.pay(5)
        self.assertEqual(Entry.objects.in_chain_order("payments").last().payload["cents"], 5)

    def test_another(self):
        Payment.pay(6)
        self.assertEqual(Entry.objects.count(), 2)
        self.assertTrue(Entry.objects.verify_integrity().intact)


class Committed(TransactionTestCase):
    def test_rollback(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Payment.pay(7)
            raise ZeroDivisionError
        self.assertEqual(Payment.objects.count(), 0)

    def test_pay(self):
        Payment.pay(8)
        self.assertTrue(Entry.objects.verify_integrity().intact)

    def test_the_guards_stand_while_a_test_runs(self):
        Payment.pay(9)
        with self.assertRaises(Exception), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM nucleus_ledger_entry")


class RolledBackBySerialization(TransactionTestCase):
    serialized_rollback = True

    def test_one(self):
        self.assertEqual(Entry.objects.get(sequence=0).payload, {"opened": True})
        Payment.pay(10)
        self.assertEqual(Entry.objects.count(), 2)

    def test_two(self):
        self.assertEqual(Entry.objects.count(), 1)
        self.assertTrue(Entry.objects.verify_integrity().intact)


class Live(LiveServerTestCase):
    def test_pay(self):
        with urlopen(f"{self.live_server_url}/pay?cents=11") as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(Payment.objects.get().cents, 11)
        last = Entry.objects.in_chain_order("payments").last()
        self.assertEqual(last.payload["cents"], 11)
