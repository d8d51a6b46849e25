"""The sample site as a host that has no time zones has it, far away from UTC."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403

USE_TZ = os.environ.get("SITE_USE_TZ") == "1"
TIME_ZONE = os.environ.get("SITE_TIME_ZONE", "America/St_Johns")
