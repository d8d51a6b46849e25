from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from shop.models import Payment


def pay(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(Payment.pay(int(request.GET["cents"])).pk))


urlpatterns = [path("pay", pay)]
