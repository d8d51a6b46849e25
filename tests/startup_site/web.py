"""The site's two entry points; building either builds the middleware, so only the asked-for is."""

from __future__ import annotations

import os
from typing import Any

OPENS = "STARTUP_SITE_OPENS"  # the site leaves a connection open when it is imported


def __getattr__(name: str) -> Any:
    if name == "wsgi":
        from django.core.wsgi import get_wsgi_application

        application = get_wsgi_application()
        if OPENS in os.environ:
            from nucleus_ledger.models import Entry

            Entry.objects.count()
        return application
    if name == "asgi":
        from django.core.asgi import get_asgi_application

        return get_asgi_application()
    raise AttributeError(name)
