"""Settings of the sample site under a theme of Django's admin, which `THEME` names."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS, MIDDLEWARE

if os.environ["THEME"] != "stock":  # a theme stands before the admin that it changes
    INSTALLED_APPS = [os.environ["THEME"], *INSTALLED_APPS]
# In the suite the server starts on a ledger that was just made.
MIDDLEWARE = [each for each in MIDDLEWARE if not each.startswith("nucleus_ledger.")]
ROOT_URLCONF = "tests.themed_urls"
DEBUG = True  # so that runserver serves static files
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}  # a page waits for what the network lacks
