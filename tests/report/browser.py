"""Debian's chromium for the tests of the page, by playwright: no browser is downloaded, only files are opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from bench.chromium import executable


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, or the test is skipped; in CI it fails."""
    found = executable()
    if found is None:
        missing = "no chromium is installed (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and what went wrong while it was open."""

    page: Page
    said: list[str] = field(default_factory=list)
    """Console messages, errors and dialogs."""
    asked: list[str] = field(default_factory=list)
    """Addresses of all requests."""

    def dismiss(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()


@contextmanager
def opened(
    browser: Browser,
    path: Path,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
    script: bool = True,
) -> Iterator[Opened]:
    """The page at `path`, as a reader has it who double-clicks the file."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        found = Opened(page)
        page.on("console", lambda message: found.said.append(message.text))
        page.on("pageerror", lambda error: found.said.append(str(error)))
        page.on("request", lambda request: found.asked.append(request.url))
        page.on("dialog", found.dismiss)
        page.goto(path.as_uri())
        yield found
    finally:
        context.close()


def serious_violations(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds that is serious or critical: the rule, and the elements."""
    found = Axe().run(page).response["violations"]
    return [
        {"rule": each["id"], "at": [node["html"][:200] for node in each["nodes"][:5]]}
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
