"""The middleware that verifies the ledger before a server answers its first request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from django.core.exceptions import MiddlewareNotUsed

from nucleus_ledger import startup


class VerifyOnStartup:
    """Works when it is built, and then steps aside; never touches a request.

    A broken chain raises `IntegrityFailed` here, so that the server does not come up.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> NoReturn:
        startup.verify_once()
        raise MiddlewareNotUsed("the ledger was verified at startup")
