"""Processor time of others: the machine's, less what this process started and waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study import others
from study.others import Others

BURN = "import time\nwhile time.process_time() < 1.0: pass"


def kernel_says(path: Path, seconds: float) -> None:
    """Busy seconds in three of the eight fields; idle, waiting and guests' are not busy."""
    ticks = round(seconds * os.sysconf("SC_CLK_TCK"))
    path.write_text(f"cpu  {ticks - 30} 10 0 777 555 0 0 20 999 0\ncpu0 1 1 1 1\n", encoding="ascii")


def test_what_was_started_and_waited_for_is_not_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "_STAT", tmp_path / "stat")
    kernel_says(tmp_path / "stat", 50.0)
    start, counted = time.monotonic(), Others()
    subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    kernel_says(tmp_path / "stat", 54.0)
    share, took = counted.share(), time.monotonic() - start
    assert share == pytest.approx(3.0 / (took * (os.cpu_count() or 1)), rel=0.2)


def test_nothing_is_known_where_the_kernel_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "_STAT", tmp_path / "none")
    assert Others().share() is None


@pytest.mark.skipif(not others._STAT.is_file(), reason="the kernel counts in /proc/stat on Linux alone")
def test_a_process_that_is_not_waited_for_is_others() -> None:
    counted = Others()
    with subprocess.Popen([sys.executable, "-S", "-c", BURN]) as process:
        time.sleep(2.0)
        share = counted.share()
        process.kill()
    assert share is not None
    assert share > 0
