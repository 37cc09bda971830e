"""kill -9 at random instants, recovery among them: nothing is lost, and the end is the same to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import Commands
from tests.faults.drawn import draw_search
from tests.faults.kills import Whole, kill_chain, run_whole


@pytest.mark.parametrize(("name", "seed"), [("loom", 1), ("trainer", 1), ("pruned", 1), ("climbing", 1)])
def test_a_search_killed_again_and_again_ends_as_one_that_was_not(
    commands: Commands, request: pytest.FixtureRequest, tmp_path: Path, name: str, seed: int
) -> None:
    found = kill_chain(commands, request.getfixturevalue(name), tmp_path, seed, most=3)
    assert found.wrong == []
    assert found.kills > 0


def test_a_search_that_ended_before_its_first_kill_is_begun_anew_and_killed(
    commands: Commands, loom: Whole, tmp_path: Path
) -> None:
    found = kill_chain(commands, replace(loom, seconds=4 * loom.seconds), tmp_path, 2, most=1)
    assert found.wrong == []
    assert found.kills == 1


@pytest.mark.parametrize("seed", [2, 6])
def test_a_search_drawn_at_random_is_the_same_each_time_and_after_kills(
    commands: Commands, tmp_path: Path, seed: int
) -> None:
    whole = run_whole(commands, draw_search(tmp_path, seed), tmp_path)
    assert kill_chain(commands, whole, tmp_path, seed, most=2).wrong == []
