"""The deadline as a promise: a command that hangs is ended, and says how to go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loraloom.cli.watchdog import ended_in_time

HANGS = """
import sys, time
from pathlib import Path
from loraloom.cli.watchdog import ended_in_time
with ended_in_time(Path(sys.argv[1]), float(sys.argv[2]), None):
    time.sleep(600)
"""


def _hang(run: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HANGS, str(run), str(seconds)], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_run_that_is_not_done_at_its_deadline_ends_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    ended = _hang(tmp_path, 3)
    assert ended.returncode == 75
    assert ended.stderr == (
        "loraloom: the 3 s were over before the winner was tested and the report written; nothing that was finished is "
        f"lost. Go on with: loraloom resume {tmp_path}\n"
    )


def test_a_search_that_could_not_begin_in_its_time_says_what_would_do(tmp_path: Path) -> None:
    ended = _hang(tmp_path / "run", 0.1)
    assert ended.returncode == 2
    assert "does not suffice" in ended.stderr
    assert "give it 60 s" in ended.stderr


def test_what_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    for seconds in (None, 10_000.0):
        with ended_in_time(tmp_path, seconds, None):
            """Nothing to do."""


def test_an_error_within_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ended_in_time(tmp_path, 10_000, None):
        raise ZeroDivisionError
