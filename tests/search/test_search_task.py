"""What differs in cost among the configurations of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from loraloom.recipe import read_recipe
from loraloom.search.costs import Costs, Measured
from loraloom.search.plan import make_plan
from loraloom.search.task import Task


def _task(given: dict[str, Any], configurations: int | None = None) -> Task:
    search = {"sampler": "random", "n_trials": configurations}
    return Task(read_recipe({**given, "search": search}), 2_000, 300, 4, configurations)


def test_each_kind_has_the_most_epochs_that_a_point_of_it_has_or_the_fewest() -> None:
    task = _task({"backbone": {"model": ["a", "b"]}, "train": {"num_train_epochs": [2, 1, 4]}})
    told = [(one.backbone.model, one.train.num_train_epochs) for one in (*task.kinds, *task.shortest_kinds)]
    assert told == [("a", 4), ("b", 4), ("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("when", "most"),
    [({"train.lr_scheduler_type": "linear"}, {"a": 8, "b": 8}), ({"backbone.model": "a"}, {"a": 8, "b": 1})],
)
def test_epochs_that_vary_under_a_condition_are_those_of_the_points_where_it_holds(
    when: dict[str, str], most: dict[str, int]
) -> None:
    epochs = {"values": [1, 8], "when": when, "otherwise": 1}
    train = {"lr_scheduler_type": ["constant", "linear"], "num_train_epochs": epochs}
    task = _task({"backbone": {"model": ["a", "b"]}, "train": train})
    assert {one.backbone.model: one.train.num_train_epochs for one in task.kinds} == most
    assert {one.train.num_train_epochs for one in task.shortest_kinds} == {1}


def test_layers_that_vary_under_a_condition_are_a_kind_of_their_own() -> None:
    layers = {"values": ["top-half"], "when": {"lora.r": 8}, "otherwise": None}
    task = _task({"lora": {"r": [4, 8], "layers_to_transform": layers}})
    assert {one.lora.layers_to_transform for one in task.kinds} == {None, "top-half"}


@pytest.mark.parametrize(("seconds", "all_fit"), [(2_000.0, True), (500.0, False)])
def test_not_all_are_planned_to_be_trained_in_full_where_those_of_a_condition_would_not_end_in_time(
    seconds: float, *, all_fit: bool
) -> None:
    """Of one pass each all ten would: they take some 100 s."""
    epochs = {"values": [1, 8], "when": {"train.lr_scheduler_type": "linear"}, "otherwise": 1}
    rates = {"min": 1e-4, "max": 1e-3}
    train = {"lr_scheduler_type": ["constant", "linear"], "num_train_epochs": epochs, "learning_rate": rates}
    costs = Costs([Measured("roberta-base", 128, 16, 0.004, 0.001, 0.5)])
    assert (make_plan(_task({"train": train}, 10), costs, seconds, slots=1).finalists is None) is all_fit
