"""Two processes on one run, a run that was moved while it was stopped, and clocks that jump."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.commands import Commands, wait_for
from tests.faults import halting
from tests.faults.kills import Whole
from tests.faults.searches import differences


def _stopped_midway(commands: Commands, whole: Whole, run: Path) -> None:
    with commands.start("search", whole.search.recipe, "--out", run, "--quiet") as child:
        wait_for((run / "trials" / "0001").exists)
        child.send(signal.SIGKILL)
        child.wait()


def test_a_second_process_says_who_holds_the_run(commands: Commands, loom: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = "search", loom.search.recipe, "--out", run, "--quiet"
    with commands.start(*arguments, environment={halting.HALTS_IN: "1"}, before=[halting.__name__]) as first:
        first.wait_until_halted()
        second, anew = commands.run("resume", run), commands.run(*arguments)
        first.send(signal.SIGCONT)
        assert (second.code, second.traceback) == (2, False)
        assert f"is in use by process {first.pid}" in second.sentence
        assert anew.code == 2
        assert anew.sentence.endswith(
            f"is at work on; choose another folder, or see how far it is: loraloom watch {run}"
        )
        assert first.wait().code == 0
    assert differences(run, loom.held) == []


def test_a_run_that_was_moved_while_it_was_stopped_goes_on(commands: Commands, loom: Whole, tmp_path: Path) -> None:
    _stopped_midway(commands, loom, tmp_path / "here")
    (tmp_path / "there").mkdir()
    moved = (tmp_path / "here").rename(tmp_path / "there" / "moved")
    assert commands.run("resume", moved, "--quiet").code == 0
    assert differences(moved, loom.held) == []


def test_clocks_that_jump_change_nothing(commands: Commands, loom: Whole, tmp_path: Path) -> None:
    run, limit = tmp_path / "run", "budget.max_seconds=3600"
    child = commands.start(
        "search", loom.search.recipe, "--out", run, "--set", limit, before=["tests.faults.clock_jumps"]
    )
    assert child.wait().code == 0
    assert differences(run, loom.held) == []
