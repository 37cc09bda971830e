"""When a trial is evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from loraloom.engine.progress import evaluation_steps
from loraloom.recipe import Train


@pytest.mark.parametrize("epochs", [0.5, 1, 1.5, 2, 3, 10])
@pytest.mark.parametrize("kind", ["constant", "cyclic", "reduce_lr_on_plateau"])
@pytest.mark.parametrize("when", ["auto", "end"])
def test_there_are_as_many_evaluations_as_are_planned_for(epochs: float, kind: Any, when: Any) -> None:
    train = Train(num_train_epochs=epochs, lr_scheduler_type=kind, eval_strategy=when)
    steps = evaluation_steps(train, 1000)
    assert len(steps) == train.evaluations
    assert max(steps) == 1000


def test_at_the_end_alone_where_the_schedule_does_not_follow_the_loss() -> None:
    assert evaluation_steps(Train(num_train_epochs=3, eval_strategy="end"), 1000) == {1000}
    following = Train(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="end")
    assert following.evaluations == Train(lr_scheduler_type="reduce_lr_on_plateau").evaluations
