"""pytest plugin, found by its entry point: nothing to configure in the host's suite."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(trylast=True)  # a conftest may call settings.configure() in its own hook
def pytest_configure(config: pytest.Config) -> None:
    from django.conf import settings

    if settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE"):
        from nucleus_ledger.testing import lowering

        lowering.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    from django.conf import settings

    if settings.configured:
        from nucleus_ledger.testing import lowering

        lowering.uninstall()
