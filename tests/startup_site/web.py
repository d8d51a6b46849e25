"""The site's two entry points; building either builds the middleware, so only the asked-for is."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "wsgi":
        from django.core.wsgi import get_wsgi_application

        return get_wsgi_application()
    if name == "asgi":
        from django.core.asgi import get_asgi_application

        return get_asgi_application()
    raise AttributeError(name)
