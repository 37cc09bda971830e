"""Which browser the page's tests, pictures and bench open: Debian's chromium, under the names that it may have."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """The first of them that is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)
