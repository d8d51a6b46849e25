"""A page that answers where the middleware let the process start, and one that appends."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from nucleus_ledger.models import Entry


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse("answered")


def append(request: HttpRequest, record_id: str) -> JsonResponse:
    entry = Entry.objects.append("proofs", {"by": os.getpid()}, record_id=record_id)
    return JsonResponse({"hash": entry.hash, "process": os.getpid()})


urlpatterns = [path("", answer), path("append/<record_id>", append)]
