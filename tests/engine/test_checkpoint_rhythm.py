"""How often a checkpoint is written: by the clock, and by what it costs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from loraloom.engine.checkpoint import Rhythm
from tests.engine.broken_off import (
    ENGINES,
    hear,
    job_of,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def saves(rhythm: Rhythm, clock: Clock, seconds: float, step: float, cost: Callable[[int], float]) -> list[float]:
    """When checkpoints were written in `seconds` of steps of `step` seconds each."""
    found: list[float] = []
    while clock.now < 100 + seconds:
        clock.pass_by(step)
        if rhythm.due():
            found.append(clock.now - 100)
            rhythm.keep(lambda: clock.pass_by(cost(len(found))))
    return found


def test_no_checkpoint_is_due_before_ten_seconds_and_then_one_each_ten_where_it_is_cheap() -> None:
    clock = Clock()
    found = saves(Rhythm(clock=clock), clock, 60, 0.5, lambda _: 0.001)
    assert found[0] == 10
    assert all(10 <= later - earlier < 11 for earlier, later in pairwise(found))


@pytest.mark.parametrize("cost", [lambda _: 0.5, lambda _: 3.0, lambda n: 0.01 if n % 4 else 2.0])
def test_checkpoints_cost_less_than_a_hundredth_of_the_time(cost: Callable[[int], float]) -> None:
    clock = Clock()
    found = saves(Rhythm(clock=clock), clock, 5000, 0.7, cost)
    assert len(found) > 5
    assert sum(cost(number + 1) for number in range(len(found))) <= 0.011 * 5000


def test_the_first_checkpoint_waits_until_it_is_worth_what_one_of_a_trial_before_cost() -> None:
    clock = Clock()
    rhythm = Rhythm(clock=clock)
    rhythm.cost = 0.5
    found = saves(rhythm, clock, 120, 1, lambda _: 0.5)
    assert found == [50, 100.5]


@pytest.mark.parametrize("name", list(ENGINES))
def test_an_engine_knows_what_a_checkpoint_of_the_trial_before_cost(name: str, model: Path, tmp_path: Path) -> None:
    made: list[Rhythm] = []
    known: list[float] = []

    class Noted(Rhythm):
        def due(self) -> bool:
            if len(known) < len(made):
                known.append(self.cost)
            return True

    def rhythm() -> Rhythm:
        made.append(Noted())
        return made[-1]

    engine = ENGINES[name](rhythm=rhythm)
    for number in range(2):
        engine.train_pack([job_of(model, tmp_path / str(number))], hear)
    assert known[0] == 0
    assert known[1] == made[0].cost > 0
