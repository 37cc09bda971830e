"""What a signal to a run comes to where a library makes an error of its own of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from loraloom.cli.running import stoppable
from loraloom.errors import StoppedError


def _compared() -> None:
    """As numpy's comparisons do."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise TypeError("can't be compared") from None


def _unread() -> None:
    """As rich does."""
    try:
        raise BrokenPipeError
    except BrokenPipeError:
        raise SystemExit(1)  # noqa: B904


def test_a_signal_that_a_library_takes_for_an_error_of_its_own_is_a_stop_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(StoppedError, match="stopped by Ctrl-C") as stopped, stoppable(tmp_path, 0):
        _compared()
    assert stopped.value.exit_code == 130


def test_a_run_whose_output_was_closed_is_not_taken_for_done(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(StoppedError, match="its output was closed") as stopped, stoppable(tmp_path, 0):
        _unread()
    assert stopped.value.exit_code == 75


def test_an_error_without_a_signal_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), stoppable(tmp_path, 0):
        _ = 1 / 0
