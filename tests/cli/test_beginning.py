"""When a command began, by which its deadline is counted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loraloom.cli.beginning import FIRST_LINE, process_start

BEFORE = "from loraloom.cli import beginning; print(beginning.FIRST_LINE - beginning.process_start())"


def _before_the_first_line(*shells: str) -> list[float]:
    """What counts as a command's time before its first line; in each of `shells` it is $0 with its arguments."""
    commands = [["sh", "-c", shell, sys.executable, "-c", BEFORE] for shell in shells]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return [float(process.communicate()[0]) for process in started]


def test_a_command_began_before_now() -> None:
    assert process_start() < time.monotonic()


def test_what_a_shell_did_before_it_became_the_command_does_not_count() -> None:
    assert max(_before_the_first_line('sleep 3; exec "$0" "$@"', 'sleep 3; "$0" "$@"')) < 3


def test_what_the_interpreter_took_counts() -> None:
    assert _before_the_first_line('"$0" "$@"')[0] > 0


def test_where_the_kernel_says_nothing_a_command_begins_with_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert process_start() == FIRST_LINE


def test_where_a_container_has_an_uptime_of_its_own_a_command_begins_with_its_first_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **how: "1.5 1.5" if path.name == "uptime" else read(path, **how)
    )
    assert process_start() == FIRST_LINE


def test_a_command_in_a_process_that_was_forked_begins_with_the_fork() -> None:
    fork = """
import os, time
from loraloom.cli import beginning
beginning.FIRST_LINE -= 100
if os.fork():
    os.wait()
else:
    print(time.monotonic() - beginning.process_start())
"""
    said = subprocess.run([sys.executable, "-c", fork], capture_output=True, text=True, check=True).stdout
    assert float(said) < 50
