"""Which browser the page's tests, pictures and bench open: Debian's chromium, under the names that it may have."""

from __future__ import annotations

import argparse
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """The first of them that is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def need_browser(parser: argparse.ArgumentParser) -> None:
    """Ends the command where there is none, before it has begun anything."""
    if executable() is None:
        parser.error(f"a browser is needed ({', '.join(NAMES)}), and none was found: scripts/browser")
