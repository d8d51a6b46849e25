"""The system check of test suites. Its id is listed in `nucleus_ledger.checks`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from django.core import checks

from nucleus_ledger.routing import ledger_alias
from nucleus_ledger.startup import in_test_runner

_SHOWN = 3


@checks.register("nucleus_ledger")
def check_test_runner(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a suite that flushes its tables, which the guards forbid, without our runner.

    Django's runner runs the checks when the tests are loaded. Looks only at what is imported: no
    server process needs Django's test framework.
    """
    testcases = sys.modules.get("django.test.testcases")
    lowering = sys.modules.get("nucleus_ledger.testing.lowering")
    if testcases is None or not in_test_runner() or (lowering and lowering.is_installed()):
        return []
    flushing = sorted(_flushing(testcases.TransactionTestCase, testcases.TestCase))
    if not flushing:
        return []
    more = f" and {len(flushing) - _SHOWN} more" if len(flushing) > _SHOWN else ""
    return [
        checks.Warning(
            "These test cases flush their tables, which the guards of the ledger refuse: "
            f"{', '.join(flushing[:_SHOWN])}{more}.",
            hint='Set TEST_RUNNER = "nucleus_ledger.testing.runner.LedgerRunner", or mix '
            "nucleus_ledger.testing.runner.LedgerTestRunnerMixin into your own runner.",
            id="nucleus_ledger.W009",
        )
    ]


def _flushing(case: type, rolling_back: type) -> Iterator[str]:
    """Return the names of the site's cases that flush the database the ledger is in."""
    each: type
    for each in case.__subclasses__():
        if each is rolling_back:
            continue
        yield from _flushing(each, rolling_back)
        databases = getattr(each, "databases", ())
        if each.__module__.partition(".")[0] != "django" and (
            databases == "__all__" or ledger_alias() in databases
        ):
            yield f"{each.__module__}.{each.__qualname__}"
