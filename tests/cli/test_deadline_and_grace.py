"""`--deadline` and `--grace` as a person gives them: what a search, a training and a resume make of them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loraloom import cli
from loraloom.errors import LoraloomError
from loraloom.recipe import read_recipe
from loraloom.study.commands import read_commands
from loraloom.study.run import BEST, Run
from tests.commands import Commands, Ended
from tests.faults.signals import signalled_in_a_step

MANY = "lora.r=1,2,3,4"
TRIAL_STEPS = 12
"""Of each of them: 90 rows in batches of 16, twice."""


def _stopped_in_the_second_trial(commands: Commands, *arguments: str | Path) -> Ended:
    """A command that is sent SIGTERM when a trial more has ended than had, and another is under way."""
    with signalled_in_a_step(commands, *arguments, number=signal.SIGTERM, step=TRIAL_STEPS + 2) as child:
        return child.wait()


def test_within_the_grace_a_search_that_is_ended_prints_its_winner_and_so_does_its_resume(
    commands: Commands, recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for grace in ("0", "60"):
        arguments = "search", recipe_file, "--out", run / grace, "--set", MANY, "--grace", grace
        ended = _stopped_in_the_second_trial(commands, *arguments)
        assert ended.code == 75
        assert "stopped by SIGTERM" in ended.sentence
        assert f"loraloom resume {run / grace}" in ended.sentence
        assert ("\nwinner " in f"\n{ended.out}", (run / grace / BEST).exists()) == (grace == "60",) * 2
        assert (run / grace / "report" / "index.html").exists() == (grace == "60")
    ended = _stopped_in_the_second_trial(commands, "resume", run / "0", "--grace", "60")
    assert ended.code == 75
    assert "\nwinner " in f"\n{ended.out}"
    assert (run / "0" / BEST).exists()
    assert len(Run(run / "0").records()) == 2


def test_a_search_and_its_resume_have_as_much_time_as_their_deadline_leaves(
    commands: Commands, recipe_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    commands_given: list[list[str | Path]] = [["search", recipe_file, "--out", run], ["resume", run]]
    for command in commands_given:
        deadline = datetime.now().astimezone() + timedelta(hours=1)
        ended = commands.run(*command, "--deadline", deadline.isoformat(timespec="seconds"))
        assert ended.code == 0
    allowed = [command.allowed_seconds for command in read_commands(run)]
    assert [seconds is not None and 0 < seconds <= 3600 for seconds in allowed] == [True, True]


@pytest.mark.parametrize("command", ["search", "train", "resume"])
def test_a_command_that_hangs_is_ended_at_its_deadline(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run, timers = tmp_path / "run", list[float]()
    deadline = (datetime.now() + timedelta(hours=1)).isoformat(timespec="seconds")

    class Timer(threading.Timer):
        def __init__(self, interval: float, function: Callable[..., None], args: Any) -> None:
            timers.append(interval)
            super().__init__(interval, function, args)

    def refused(*_: Any, **given: Any) -> None:
        assert given["deadline"] == deadline
        raise LoraloomError("it is the test's")

    if command == "resume":
        Run.create(run, read_recipe(recipe_file))
    monkeypatch.setattr(threading, "Timer", Timer)
    for name in ("search", "resume"):
        monkeypatch.setattr(f"loraloom.pipeline.{name}", refused)
    arguments = [str(run)] if command == "resume" else [str(recipe_file), "--out", str(run)]
    monkeypatch.setattr(sys, "argv", ["loraloom", command, *arguments, "--deadline", deadline])
    assert cli.run() == 2
    (seconds,) = timers
    assert seconds <= 3600
