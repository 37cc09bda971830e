"""The space that `auto` searches where a recipe has no axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RecipeError
from loraloom.recipe import Condition, Recipe, dump_recipe, read_recipe
from loraloom.search.costs import Costs, Measured
from loraloom.search.plan import make_plan
from loraloom.search.space import (
    SPACE,
    compared_lengths,
    default_space,
    leaves_length_open,
    may_be_clocked,
    with_length,
)
from loraloom.search.task import Task


def _auto(values: dict[str, Any] | None = None) -> Recipe:
    return read_recipe({**(values or {}), "search": {"sampler": "auto"}})


def test_auto_without_axes_gets_the_whole_space() -> None:
    assert default_space(_auto()).axes == SPACE


def test_a_field_that_the_recipe_writes_does_not_vary() -> None:
    searched = default_space(_auto({"lora": {"r": 2}}))
    assert searched.axes.keys() == SPACE.keys() - {"lora.r"}
    assert searched.lora.r == 2


def test_a_field_that_the_recipe_writes_narrows_what_depends_on_it() -> None:
    searched = default_space(_auto({"train": {"lr_scheduler_type": "linear", "optim": "adam"}}))
    assert searched.axes["train.warmup_steps"].when == (Condition("train.lr_scheduler_type", ("linear",)),)
    assert "train.weight_decay" not in searched.axes


def test_the_searched_recipe_can_be_written_and_read_again(tmp_path: Path) -> None:
    searched = default_space(_auto({"train": {"lr_scheduler_type": "constant"}}))
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(searched), encoding="utf-8")
    assert read_recipe(path) == searched


def test_a_recipe_with_axes_is_searched_as_it_stands() -> None:
    recipe = _auto({"lora": {"r": [2, 4]}})
    assert default_space(recipe) is recipe


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_other_samplers_search_what_the_recipe_says(sampler: str) -> None:
    recipe = read_recipe({"search": {"sampler": sampler}})
    assert default_space(recipe) is recipe


def test_a_recipe_that_writes_the_whole_space_leaves_nothing_to_vary() -> None:
    values: dict[str, Any] = {}
    for name in SPACE:
        section, leaf = name.split(".")
        values.setdefault(section, {})[leaf] = Recipe().base(name)
    with pytest.raises(RecipeError, match=r"^search\.sampler: 'auto' has nothing to vary: .*lora\.r, .*leave some out"):
        default_space(_auto(values))


def test_under_a_deadline_epochs_are_as_many_as_the_time_allows() -> None:
    searched = default_space(_auto(), deadline=True)
    assert searched.search.epochs == "clock"
    assert searched.axes.keys() == SPACE.keys() - {"train.num_train_epochs"}


def test_epochs_that_the_recipe_writes_are_not_changed_by_a_deadline() -> None:
    searched = default_space(_auto({"train": {"num_train_epochs": 3}}), deadline=True)
    assert (searched.search.epochs, searched.train.num_train_epochs) == ("recipe", 3)
    axes = _auto({"lora": {"r": [2, 4]}, "train": {"num_train_epochs": 1}})
    assert default_space(axes, deadline=True) is axes
    for values in ([1, 2], {"values": [1, 2], "when": {"lora.r": 2}}):
        epochs = _auto({"lora": {"r": [2, 4]}, "train": {"num_train_epochs": values}})
        assert default_space(epochs, deadline=True) is epochs


def test_under_a_deadline_auto_has_epochs_by_the_clock_with_axes_of_its_own_too() -> None:
    recipe = _auto({"lora": {"r": [2, 4]}})
    searched = default_space(recipe, deadline=True)
    assert (searched.search.epochs, searched.axes) == ("clock", recipe.axes)
    grid = read_recipe({"lora": {"r": [2, 4]}})
    assert default_space(grid, deadline=True) is grid


@pytest.mark.parametrize(
    "search",
    [{"pruner": "none"}, {"pruner": "halving", "resource": "epochs"}, {"pruner": "none", "resource": "epochs"}],
)
def test_a_search_without_rungs_of_rows_has_its_epochs_under_a_deadline_as_without_one(search: dict[str, Any]) -> None:
    recipe = read_recipe({"search": {"sampler": "auto", **search}})
    searched = default_space(recipe, deadline=True)
    assert searched == default_space(recipe)
    assert searched.axes == SPACE
    costs = Costs([Measured("roberta-base", 128, 16, 0.002, 0.0007, 0.5)])
    for seconds in (100, 3_600):
        plan = make_plan(Task(searched, 20_000, 2_000, 4, None), costs, seconds, slots=1)
        assert (len(plan.rungs), plan.finalists, plan.epochs) == (1, None, None)
    axes = read_recipe({"lora": {"r": [2, 4]}, "search": {"sampler": "auto", **search}})
    assert default_space(axes, deadline=True) is axes


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            {"epochs": "clock", "pruner": "none"},
            r"^search\.epochs: 'clock' .*search\.pruner: none rules out; write search",
        ),
        (
            {"epochs": "clock", "resource": "epochs"},
            r"^search\.epochs: .*search\.resource: epochs rules out; write search",
        ),
        ({"resource": "epochs"}, r"^search\.pruner: 'auto' .*search\.resource .*; write halving, hyperband or none$"),
    ],
)
@pytest.mark.parametrize("sampler", ["grid", "auto"])
def test_rungs_of_rows_and_none_are_not_asked_for_at_once(search: dict[str, Any], said: str, sampler: str) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "search": {"sampler": sampler, **search}})
    with pytest.raises(RecipeError, match=said):
        default_space(recipe, deadline=True)
    if "epochs" not in search:
        assert default_space(recipe) is recipe


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
@pytest.mark.parametrize("deadline", [False, True])
def test_a_pruner_of_epochs_is_refused_where_no_trial_is_evaluated_before_its_end(pruner: str, deadline: bool) -> None:
    search = {"pruner": pruner, "resource": "epochs"}
    recipe = read_recipe({"lora": {"r": [2, 4]}, "train": {"eval_strategy": "end"}, "search": search})
    with pytest.raises(RecipeError, match=rf"^train\.eval_strategy: 'end' leaves search\.pruner: {pruner} nothing"):
        default_space(recipe, deadline=deadline)
    for train in (
        {"eval_strategy": ["auto", "end"]},
        {"eval_strategy": "end", "lr_scheduler_type": ["linear", "reduce_lr_on_plateau"]},
    ):
        some = read_recipe({"lora": {"r": [2, 4]}, "train": train, "search": search})
        assert default_space(some, deadline=deadline) is some
    for other in ({"resource": "rows"}, {"pruner": "none"}):
        changed = recipe.with_fields(search=other)
        assert default_space(changed, deadline=deadline) is changed


@pytest.mark.parametrize("epochs", [[1, 4], {"min": 1, "max": 4}])
def test_epochs_are_not_both_an_axis_and_by_the_clock(epochs: Any) -> None:
    values = {"train": {"num_train_epochs": epochs}, "search": {"sampler": "auto", "epochs": "clock"}}
    with pytest.raises(RecipeError, match=r"^search\.epochs: 'clock' would train all values of .*, or one value$"):
        default_space(read_recipe(values), deadline=True)


@pytest.mark.parametrize("sections", [{}, {"train": {"num_train_epochs": [1, 4]}}, {"lora": {"r": [2, 4]}}], ids=str)
@pytest.mark.parametrize("search", [{}, {"pruner": "none"}, {"pruner": "halving", "resource": "epochs"}], ids=str)
def test_epochs_by_the_clock_may_be_asked_for_where_they_are_not_refused(
    sections: dict[str, Any], search: dict[str, Any]
) -> None:
    recipe = read_recipe({"head": {"kind": "linear"}, **sections, "search": {**search, "epochs": "clock"}})
    try:
        default_space(recipe, deadline=True)
    except RecipeError:
        assert not may_be_clocked(recipe)
    else:
        assert may_be_clocked(recipe)


@pytest.mark.parametrize("sampler", ["grid", "auto"])
def test_epochs_by_the_clock_are_refused_where_there_is_none(sampler: str) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "search": {"sampler": sampler, "epochs": "clock"}})
    with pytest.raises(
        RecipeError, match=r"^search\.epochs: clock needs a deadline: budget\.max_seconds or --deadline$"
    ):
        default_space(recipe)
    assert default_space(recipe, deadline=True).search.epochs == "clock"


def test_a_list_of_models_is_searched_together_with_the_space() -> None:
    searched = default_space(_auto({"backbone": {"model": ["demo", "roberta-base"]}}))
    assert searched.axes.keys() == SPACE.keys() | {"backbone.model"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"backbone": {"model": ["demo", "roberta-base"]}},
        {"train": {"seed": 7}},
        {"train": {"bf16": True, "fp16": False}},
        {"search": {"seeds": 3}},
    ],
    ids=str,
)
def test_a_recipe_of_data_models_and_time_alone_is_searched_by_auto(values: dict[str, Any]) -> None:
    searched = default_space(read_recipe(values), deadline=True)
    assert searched.search.sampler == "auto"
    assert searched.axes.keys() >= SPACE.keys() - {"train.num_train_epochs"}
    assert default_space(read_recipe(values)).search.sampler == "grid"


@pytest.mark.parametrize(
    "values",
    [
        {"lora": {"r": 4}},
        {"head": {"kind": "linear"}},
        {"train": {"learning_rate": [1e-3, 2e-3]}},
        {"search": {"sampler": "grid"}},
        {"backbone": {"dropout": ["keep", "off"]}},
        {"data": {"max_length": [64, 128]}},
    ],
    ids=str,
)
def test_a_recipe_that_says_more_is_trained_as_it_says(values: dict[str, Any]) -> None:
    recipe = read_recipe(values)
    assert default_space(recipe, deadline=True) is recipe


# How long texts are


@pytest.mark.parametrize(
    ("tokens", "most", "lengths"),
    [
        (129, 512, (256, 128)),
        (300, 512, (512, 128)),
        (9_000, None, (512, 128)),
        (300, 200, (200, 128)),
        (128, 512, (128,)),
        (9_000, 128, (128,)),
    ],
)
def test_texts_that_many_are_longer_than_are_kept_longer_too(
    tokens: int, most: int | None, lengths: tuple[int, ...]
) -> None:
    searched = with_length(default_space(read_recipe({}), deadline=True), tokens, most)
    assert searched.values("data.max_length") == lengths
    assert searched.data.max_length == lengths[0]


@pytest.mark.parametrize(
    ("axis", "search", "lengths"),
    [
        ([128, 64], {"sampler": "auto", "epochs": "clock"}, (64, 128)),
        (96, {"sampler": "auto", "epochs": "clock"}, (96,)),
        ({"min": 64, "max": 128}, {"sampler": "auto", "epochs": "clock"}, (64,)),
        ([128, 64], {"sampler": "auto"}, (128,)),
        ([128, 64], {"epochs": "clock"}, (128,)),  # a grid is tried whole
    ],
    ids=str,
)
def test_lengths_are_compared_by_auto_and_by_the_clock_alone(
    axis: Any, search: dict[str, Any], lengths: tuple[int, ...]
) -> None:
    assert compared_lengths(read_recipe({"data": {"max_length": axis}, "search": search})) == lengths


@pytest.mark.parametrize(
    ("values", "deadline", "open_"),
    [
        ({}, True, True),
        ({"backbone": {"model": ["demo", "roberta-base"]}}, True, True),
        ({"search": {"sampler": "auto"}, "train": {"optim": "adam"}}, True, True),
        ({"search": {"sampler": "auto"}}, False, False),
        ({"search": {"sampler": "auto"}, "train": {"num_train_epochs": 2}}, True, False),
        ({"data": {"max_length": 128}}, True, False),
        ({"search": {"sampler": "auto"}, "lora": {"r": [4, 8]}}, True, False),
        ({"lora": {"r": 4}}, True, False),
        ({"lora": {"r": 4}, "search": {"epochs": "clock"}}, True, False),
        ({"search": {"sampler": "grid", "epochs": "clock"}}, True, False),  # as `train` has it
    ],
    ids=str,
)
def test_the_length_is_open_where_the_default_space_is_searched_by_the_clock_and_it_is_not_written(
    values: dict[str, Any], deadline: bool, open_: bool
) -> None:
    asked = read_recipe(values)
    assert leaves_length_open(asked, default_space(asked, deadline=deadline)) == open_
