"""One page, which answers only where the middleware let the process start."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse("answered")


urlpatterns = [path("", answer)]
