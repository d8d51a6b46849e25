"""A page that answers where the middleware let the process start, and one that appends."""

from __future__ import annotations

import os

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from nucleus_ledger.models import Entry


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse("answered")


def append(request: HttpRequest, record_id: str) -> JsonResponse:
    entry = Entry.objects.append("proofs", {"by": os.getpid()}, record_id=record_id)
    return JsonResponse({"hash": entry.hash, "process": os.getpid()})


def hold(request: HttpRequest) -> HttpResponse:
    """Keep a connection busy, so that requests at the same time need one each."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.5)")
    return HttpResponse("held")


urlpatterns = [path("hold/", hold), path("", answer), path("append/<record_id>", append)]
