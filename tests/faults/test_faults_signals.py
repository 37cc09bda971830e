"""SIGTERM and Ctrl-C at random instants: their exit codes, one sentence, and exact afterwards."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.commands import Commands, wait_for
from tests.faults import begun
from tests.faults.kills import Whole
from tests.faults.signals import signal_run


@pytest.mark.parametrize(("seed", "twice"), [(1, False), (2, False), (1, True)])
def test_a_search_ended_by_signals_goes_on_as_if_it_had_not_been(
    commands: Commands, loom: Whole, tmp_path: Path, seed: int, twice: bool
) -> None:
    found = signal_run(commands, loom, tmp_path, seed, twice=twice)
    assert found.wrong == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_a_run_is_begun_is_answered_in_a_sentence(
    commands: Commands, loom: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    mark = tmp_path / "begun"
    arguments = "search", loom.search.recipe, "--out", tmp_path / "run"
    told = {begun.VARIABLE: str(mark)}
    with commands.start(*arguments, environment=told, before=[begun.__name__]) as child:
        wait_for(mark.exists)  # before, Python's own start-up is ended
        child.send(number)
        ended = child.wait()
    assert ended.code == (75 if number == signal.SIGTERM else 130)
    assert ended.sentence.startswith("loraloom: stopped by")
    assert not ended.traceback
