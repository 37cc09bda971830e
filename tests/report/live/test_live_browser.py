"""`loraloom watch` in a real browser: it follows the run, keeps the reader's place, and needs no script for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.study.run import Run
from tests.commands import Commands
from tests.report.live.watched import finish, served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def report_in(page: Any) -> Any:
    """The frame of the report, which follows the page that says that it is being made."""
    frame = page.wait_for_selector("iframe", timeout=60_000).content_frame()
    frame.wait_for_selector("#answer", timeout=60_000)
    return frame


def test_a_trial_that_ends_appears_where_the_reader_is(browser: Any, growing: Path) -> None:
    with served(growing) as server:
        page = browser.new_page(viewport={"width": 390, "height": 600})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        with Run(growing).locked():
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            report = report_in(page)
            report.locator("#board button.open").first.click()
            report.evaluate("window.scrollTo({top: 400, behavior: 'instant'})")
            page.wait_for_function("document.querySelector('p').className === 'on'", timeout=60_000)
            finish(growing, 1)
            report.wait_for_selector("text=best of 2 configurations so far", timeout=60_000)
            report.wait_for_function("Math.abs(window.scrollY - 400) < 2", timeout=60_000)
            assert report.locator("#board tr.detail").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.wait_for_selector("text=it was broken off", timeout=60_000)
        assert said == []
        page.close()


def test_what_is_open_sorted_and_in_hand_stays_when_a_trial_ends(browser: Any, growing: Path) -> None:
    folded = "document.querySelector('#data details')"
    with served(growing) as server:
        page = browser.new_page()
        with Run(growing).locked():
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            report = report_in(page)
            report.wait_for_selector("#board button.sort")
            assert not report.evaluate(f"{folded}.open")
            report.evaluate(f"{folded}.open = true")
            report.locator("#board button.sort", has_text="Loss").click()
            report.locator("#leaderboard input[type=search]").focus()
            finish(growing, 1)
            report.wait_for_selector("text=best of 2 configurations so far", timeout=60_000)
            report.wait_for_function("document.activeElement.type === 'search'", timeout=60_000)
            assert report.evaluate(f"{folded}.open")
            assert report.evaluate("document.querySelector('#board [aria-sort]').textContent") == "Loss"
        page.close()


def test_a_server_that_has_ended_is_said_and_the_report_stays(commands: Commands, browser: Any, growing: Path) -> None:
    page = browser.new_page()
    with commands.start("watch", growing, "--port", "0") as watching:
        page.goto(watching.line().partition(" at ")[2].partition(";")[0])
        report = report_in(page)
    page.wait_for_selector("text=loraloom watch has ended", timeout=60_000)
    assert report.locator("#answer").count() == 1
    page.close()


def test_without_scripts_it_is_loaded_anew_by_the_browser(
    browser: Any, growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.report.live.shell.SECONDS_WITHOUT_SCRIPT", 1)
    context = browser.new_context(java_script_enabled=False)
    with served(growing) as server:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("text=1 finished trial.", timeout=60_000)
        finish(growing, 1)
        page.wait_for_selector("text=2 finished trials.", timeout=60_000)
        report = page.frame_locator("iframe")  # which is loaded after the page that says how many there are
        report.locator("text=best of 2 configurations so far").wait_for(timeout=60_000)
    context.close()
