"""SIGTERM and Ctrl-C at random instants: their exit codes, one sentence, and exact afterwards."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from loraloom.study.durable import MANIFEST
from loraloom.study.record import CHECKPOINT
from tests.commands import Commands, wait_for
from tests.faults import begun, halting
from tests.faults.kills import Whole
from tests.faults.searches import differences
from tests.faults.signals import CODES, SIGNALLED_STEP, signal_run, signalled_in_a_step


@pytest.mark.parametrize(("seed", "twice"), [(1, False), (2, True)])
def test_a_search_ended_by_signals_goes_on_as_if_it_had_not_been(
    commands: Commands, loom: Whole, tmp_path: Path, seed: int, twice: bool
) -> None:
    found = signal_run(commands, loom, tmp_path, seed, twice=twice)
    assert found.wrong == []
    assert found.signals > 0


def test_a_search_that_ended_before_its_first_signal_is_begun_anew_and_signalled(
    commands: Commands, loom: Whole, tmp_path: Path
) -> None:
    found = signal_run(commands, replace(loom, seconds=8 * loom.seconds), tmp_path, 1)
    assert found.wrong == []
    assert found.signals > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_trial_that_a_signal_ends_is_saved_after_its_step(
    commands: Commands, loom: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    arguments = "search", loom.search.recipe, "--out", run
    with signalled_in_a_step(commands, *arguments, number=number) as child:
        ended = child.wait()
    assert ended.code == CODES[number]
    assert not (run / "trials" / "0000" / MANIFEST).exists()
    saved = [int(path.parent.name) for path in (run / "trials" / "0000" / CHECKPOINT).glob(f"*/{MANIFEST}")]
    assert saved == [SIGNALLED_STEP]
    assert commands.run("resume", run).code == 0
    assert differences(run, loom.held) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_save_that_does_not_end(
    commands: Commands, loom: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    saves, run = tmp_path / "saves", tmp_path / "run"
    arguments = "search", loom.search.recipe, "--out", run
    with signalled_in_a_step(commands, *arguments, number=number, hangs=saves) as child:
        wait_for(saves.exists)
        child.send(number)
        ended = child.wait(halting.HANGING_SECONDS / 10)
    assert ended.code == CODES[number]
    assert f"loraloom resume {run}" in ended.sentence
    assert commands.run("resume", run).code == 0
    assert differences(run, loom.held) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_a_run_is_begun_is_answered_in_a_sentence(
    commands: Commands, loom: Whole, tmp_path: Path, number: signal.Signals
) -> None:
    mark = tmp_path / "begun"
    arguments = "search", loom.search.recipe, "--out", tmp_path / "run"
    told = {begun.VARIABLE: str(mark), begun.HALTS: "1"}
    with commands.start(*arguments, environment=told, before=[begun.__name__]) as child:
        child.wait_until_halted()
        child.send(number)
        child.send(signal.SIGCONT)
        ended = child.wait()
    assert ended.code == (75 if number == signal.SIGTERM else 130)
    assert ended.sentence.startswith("loraloom: stopped by")
    assert not ended.traceback
