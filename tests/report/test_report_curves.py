"""What is said of the winner's curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loraloom.recipe import Configuration
from loraloom.report.curves import Curve, Points, _on_accuracy, _on_loss, _on_objective, _on_rate

CURVE = Curve(3, "r 4", "", (), (), (), (), ())


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (((1, 0.4), (2, 0.3)), "lowest at epoch 2 (0.300), its last evaluation: more epochs might lower it further."),
        (((1, 0.3), (2, 0.3)), "lowest at epoch 2 (0.300), its last evaluation: more epochs might lower it further."),
        (((1, 0.3), (2, 0.3004)), "lowest at epoch 1 (0.300), and has hardly changed at epoch 2, the last."),
        (((1, 0.3), (2, 0.301)), "lowest at epoch 1 (0.300) and ends at 0.301 at epoch 2: after its lowest point it"),
        (((1, 0.3),), "trial 0003 is 0.300 at epoch 1, its one evaluation: whether it still falls there is not known."),
        ((), "Trial 0003 left no finite validation loss."),
    ],
)
def test_where_the_loss_is_lowest_is_told_where_there_are_several(points: Points, says: str) -> None:
    assert says in _on_loss(replace(CURVE, validation_loss=points))


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (0.9, 0.9, "is level with its validation accuracy."),
        (0.9001, 0.9, "is level with its validation accuracy."),
        (0.95, 0.9, "is 0.050 above its validation accuracy."),
        (0.9, 0.95, "is 0.050 below its validation accuracy."),
    ],
)
def test_the_gap_at_the_end_has_its_way(train: float, validation: float, said: str) -> None:
    curve = replace(CURVE, train_accuracy=((1, 0.5), (2, train)), validation_accuracy=((1, 0.8), (2, validation)))
    assert _on_accuracy(curve) == f"At the end, the training accuracy of trial 0003 {said}"


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({}, ""),
        ({"label_smoothing_factor": 0.1}, " Training loss is of smoothed labels, as validation loss is not,"),
        ({"class_weight": "balanced"}, " Training loss is of weighed classes, as"),
        ({"class_weight": "balanced", "label_smoothing_factor": 0.1}, " of smoothed labels and weighed classes,"),
    ],
)
def test_a_training_loss_that_is_not_to_be_compared_with_that_of_validation_is_told(
    train: dict[str, Any], said: str
) -> None:
    trained = [Configuration().train, Configuration.model_validate({"train": train}).train]
    assert said in _on_objective(trained)
    assert bool(_on_objective(trained)) == bool(train)


def test_a_gap_takes_accuracies_of_both_splits() -> None:
    curve = replace(CURVE, train_accuracy=((1, 0.5),))
    assert _on_accuracy(curve) == "Trial 0003 left no accuracy on both splits."


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ((0.001, 0.001), "Trial 0003 kept its learning rate at 0.001 throughout."),
        ((0.001, 0.0005), "of trial 0003 went from 0.001 to 0.0005."),
        ((0.0001, 0.001), "of trial 0003 went from 0.0001 to 0.001."),
        ((0.0001, 0.001, 0.0), "of trial 0003 went from 0.0001 by way of 0.001 to 0."),
        ((), "Trial 0003 left no learning rate."),
    ],
)
def test_the_way_of_the_learning_rate_is_told(rates: tuple[float, ...], says: str) -> None:
    assert says in _on_rate(replace(CURVE, learning_rate=tuple(enumerate(rates))))
