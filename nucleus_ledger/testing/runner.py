"""For `manage.py test`: one line, `TEST_RUNNER = "nucleus_ledger.testing.runner.LedgerRunner"`."""

from __future__ import annotations

from typing import Any

from django.test import runner
from django.test.runner import DiscoverRunner, ParallelTestSuite

from nucleus_ledger.testing import lowering


def _init_ledger_worker(*args: Any, **kwargs: Any) -> None:
    lowering.install()  # a spawned worker starts without it, a forked one has it already
    runner._init_worker(*args, **kwargs)  # type: ignore[attr-defined]


class LedgerParallelTestSuite(ParallelTestSuite):
    init_worker = _init_ledger_worker


class LedgerTestRunnerMixin:
    """Mix into a runner derived from `DiscoverRunner`, in front of it."""

    parallel_test_suite = LedgerParallelTestSuite

    def setup_databases(self, **kwargs: Any) -> Any:
        lowering.install()
        return super().setup_databases(**kwargs)  # type: ignore[misc]

    def teardown_databases(self, old_config: Any, **kwargs: Any) -> None:
        super().teardown_databases(old_config, **kwargs)  # type: ignore[misc]
        lowering.uninstall()


class LedgerRunner(LedgerTestRunnerMixin, DiscoverRunner):  # type: ignore[misc]
    """Django's own runner with the guards lowered where they must be."""
