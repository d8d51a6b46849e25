"""Puts the ledger's pages into Django's admin, which looks for a module of this name."""

from __future__ import annotations

from django.contrib import admin

from nucleus_ledger.console.sites import register

register(admin.site)
