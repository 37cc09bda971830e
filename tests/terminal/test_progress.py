"""Bars, and the lines that stand for them where no bar can be drawn."""

from __future__ import annotations

import pytest

from loraloom.terminal import progress as module
from loraloom.terminal.console import make_console
from loraloom.terminal.progress import RowsProgress, progress


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_without_a_bar_how_much_is_to_be_done_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("embedding texts", make_console(stderr=True)) as told:
        for done in range(3):
            told(done, 1_200)
    assert capsys.readouterr().err == "embedding texts: 1,200\n"


def test_a_log_whose_colours_are_forced_holds_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(module, "LONG_SECONDS", -1.0)
    shown = RowsProgress("predicting")
    for done in range(3):
        shown.done(done, 0.1)
    shown.close()
    assert capsys.readouterr().err == ""


def test_in_a_log_a_line_from_time_to_time_says_how_far_a_file_of_many_rows_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("loraloom.terminal.progress.time.monotonic", lambda: now)
    shown, beside = RowsProgress("predicting"), RowsProgress("predicting", alone=False)
    for rows, share in ((0, 0.0), (900, 0.25), (1_800, 0.5), (2_700, None)):
        shown.done(rows, share)
        beside.done(rows, share)
        now += 0.6 * module.LOG_SECONDS
    assert capsys.readouterr().err == "loraloom: predicting: 1,800 rows so far, 50 %, 25 rows/s\n"
