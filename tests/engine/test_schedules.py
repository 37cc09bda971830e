"""The rate moves as the schedule says."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from loraloom.engine.schedules import Plateau, Schedule
from loraloom.recipe.fields import SchedulerType


def schedule(kind: SchedulerType, *, total: int = 40, warmup: int = 0, steps_per_epoch: int = 10) -> Schedule:
    return Schedule(kind, total, warmup, steps_per_epoch, Plateau())


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_constant_linear_and_cosine_are_transformers_own(kind: SchedulerType, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=40)
    for step in range(40):
        assert schedule(kind, warmup=warmup).factor(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_cyclic_rises_to_the_rate_and_falls_to_a_tenth_in_each_epoch() -> None:
    factors = [schedule("cyclic").factor(step) for step in range(21)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[5] == pytest.approx(1.0)
    assert factors[10] == pytest.approx(0.1)
    assert factors[15] == pytest.approx(1.0)


def test_a_cycle_of_an_epoch_of_one_step_is_of_two() -> None:
    factors = [schedule("cyclic", steps_per_epoch=1).factor(step) for step in range(3)]
    assert factors == pytest.approx([0.1, 1.0, 0.1])


def test_warmup_rises_from_zero_before_a_cycle() -> None:
    factors = [schedule("cyclic", warmup=4).factor(step) for step in range(5)]
    assert factors == pytest.approx([0, 0.25, 0.5, 0.75, 0.1])


def test_plateau_halves_after_an_evaluation_that_did_not_lower_the_loss() -> None:
    falling = schedule("reduce_lr_on_plateau")
    for loss, factor in ((1.0, 1.0), (0.5, 1.0), (0.6, 0.5), (0.49, 0.5), (0.49, 0.25)):
        falling.plateau.see(loss)
        assert falling.factor(20) == factor


def test_what_does_not_lower_the_loss_is_what_torch_says_without_patience() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs, ours = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0), Plateau()
    for loss in (1.0, 0.99989, 0.9998, 0.99975, 2.0, 0.5, 0.5):
        theirs.step(loss)
        ours.see(loss)
        assert ours.factor == optimizer.param_groups[0]["lr"]
