"""Placeholder"""
from django.core.exceptions import MiddlewareNotUsed
class VerifyOnStartup:
    def __init__(self, get_response): raise MiddlewareNotUsed
