"""Where an axis varies: how it is written and overridden, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraloom.errors import RecipeError
from loraloom.recipe import Choices, Condition, Range, dump_recipe, json_schema, read_recipe
from tests.recipe.refused import problem_of

WARMUP = "warmup_steps: {values: [0, 100], when: {train.lr_scheduler_type: [linear, cosine]}}"
AXIS = Choices((0, 100), (Condition("train.lr_scheduler_type", ("linear", "cosine")),))


def _file(folder: Path, schedules: str, axis: str = WARMUP) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"train:\n  lr_scheduler_type: {schedules}\n  {axis}\n", encoding="utf-8")
    return path


# Read


def test_a_list_may_say_where_it_varies(tmp_path: Path) -> None:
    recipe = read_recipe(_file(tmp_path, "[constant, linear, cosine]"))
    assert recipe.axes["train.warmup_steps"] == AXIS


def test_a_range_may_say_where_it_varies() -> None:
    axis = {"min": 1, "max": 200, "log": True, "when": {"train.lr_scheduler_type": "linear"}, "otherwise": 3}
    recipe = read_recipe(
        {"train": {"lr_scheduler_type": ["constant", "linear"], "warmup_steps": axis}, "search": {"sampler": "tpe"}}
    )
    assert recipe.axes["train.warmup_steps"] == Range(
        1, 200, True, (Condition("train.lr_scheduler_type", ("linear",)),)
    )
    assert recipe.train.warmup_steps == 3


def test_a_mapping_of_values_alone_is_a_list() -> None:
    assert read_recipe({"lora": {"r": {"values": [2, 4]}}}).axes == {"lora.r": Choices((2, 4))}


def test_values_of_a_field_that_holds_lists_are_each_one_value() -> None:
    axis = {"values": ["all-linear", ["query", "value"], "query"], "when": {"lora.bias": "none"}}
    recipe = read_recipe({"lora": {"bias": ["none", "all"], "target_modules": axis}})
    assert recipe.axes["lora.target_modules"].values == ("all-linear", ("query", "value"), ("query",))


def test_an_override_may_set_a_conditional_range() -> None:
    override = "train.warmup_steps={min: 0, max: 200, when: {train.optim: [adamw, muon]}}"
    recipe = read_recipe({"train": {"optim": ["adam", "adamw", "muon"]}}, [override, "search.sampler=random"])
    assert recipe.axes["train.warmup_steps"] == Range(0, 200, False, (Condition("train.optim", ("adamw", "muon")),))


def test_an_override_may_change_a_part_of_an_axis(tmp_path: Path) -> None:
    recipe = read_recipe(_file(tmp_path, "[constant, linear, cosine]"), ["train.warmup_steps.values=[5, 6]"])
    assert recipe.axes["train.warmup_steps"].values == (5, 6)


@pytest.mark.parametrize(("low", "high"), [(2, 8), (0.5, 8.5)])
def test_a_condition_may_be_on_what_a_range_is_where_it_does_not_vary(low: float, high: float) -> None:
    values: dict[str, Any] = {
        "lora": {"lora_alpha": {"min": low, "max": high, "when": {"train.optim": "adam"}, "otherwise": 16}},
        "train": {"optim": ["adam", "muon"], "warmup_steps": {"values": [1, 2], "when": {"lora.lora_alpha": 16}}},
        "search": {"sampler": "random"},
    }
    recipe = read_recipe(values)
    assert recipe.is_active("train.warmup_steps", {"train.optim": "muon"})
    assert not recipe.is_active("train.warmup_steps", {"train.optim": "adam", "lora.lora_alpha": 4})
    values["train"]["warmup_steps"]["when"] = {"lora.lora_alpha": 17}
    with pytest.raises(RecipeError, match=r"when lora\.lora_alpha: 17 is never taken"):
        read_recipe(values)


# Overrides narrow


def test_an_override_takes_the_values_that_it_leaves_out_from_a_condition(tmp_path: Path) -> None:
    recipe = read_recipe(_file(tmp_path, "[constant, linear, cosine]"), ["train.lr_scheduler_type=constant,linear"])
    assert recipe.axes["train.warmup_steps"].when == (Condition("train.lr_scheduler_type", ("linear",)),)


def test_an_override_by_which_an_axis_never_varies_leaves_its_base_value(tmp_path: Path) -> None:
    path = _file(tmp_path, "[constant, linear, cosine]", WARMUP.replace("}}", "}, otherwise: 7}"))
    recipe = read_recipe(path, ["train.lr_scheduler_type=constant"])
    assert recipe.axes == {}
    assert recipe.train.warmup_steps == 7


def test_an_axis_that_an_override_drops_narrows_those_that_depend_on_it() -> None:
    values: dict[str, Any] = {
        "train": {
            "optim": ["adam", "adamw"],
            "weight_decay": {"values": [0.1, 0.2], "when": {"train.optim": "adamw"}},
            "max_grad_norm": {"values": [2.0, 3.0], "when": {"train.weight_decay": 0.1}},
        }
    }
    assert read_recipe(values, ["train.optim=adam"]).axes == {}


@pytest.mark.parametrize("schedules", ["constant", "linear", "constant,cosine"])
def test_a_narrowed_recipe_survives_the_way_to_yaml_and_back(tmp_path: Path, schedules: str) -> None:
    recipe = read_recipe(_file(tmp_path, "[constant, linear, cosine]"), [f"train.lr_scheduler_type={schedules}"])
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(recipe), encoding="utf-8")
    assert read_recipe(again) == recipe


# Refused

_BAD = [
    ("near field", "{train.optimizer: adam}", "when train.optimizer: 'adam' is not a field; did you mean train.optim?"),
    ("no section", "{optim: adam}", "when optim: 'adam' is not a field of a trial; write section.field"),
    ("nested", "{train: {optim: adam}}", "when train: {'optim': 'adam'} is not a field of a trial"),
    ("no trial's field", "{search.seeds: 2}", "when search.seeds: 2 is not a field of a trial"),
    ("a number", "{1: adam}", "when 1: 'adam' is not a field of a trial"),
    ("nothing", "{null: adam}", "when None: 'adam' is not a field of a trial"),
    ("no word", "{train.optim: adamq}", "when train.optim: 'adamq' is not allowed; it must be adam or adamw"),
    ("no number", "{lora.r: [0]}", "when lora.r: 0 is too small; it must be 1 or more"),
    ("no value", "{lora.r: []}", "when lora.r: [] names no value"),
    ("no layer", "{lora.layers_to_transform: [-1]}", "when lora.layers_to_transform: [-1] is too small; it must be 0"),
    ("fixed", "{lora.r: 8}", "when lora.r: 8 is never taken; lora.r is 4"),
    (
        "no choice",
        "{lora.bias: [none, all]}",
        "when lora.bias: 'all' is never taken; lora.bias takes 'none' or 'lora_only'",
    ),
    ("out of range", "{lora.lora_alpha: 99}", "is never taken; lora.lora_alpha is a whole number between 8 and 32"),
    (
        "by chance alone",
        "{train.learning_rate: 0.001}",
        "learning_rate is any number between 0.0001 and 0.01, which meets",
    ),
    ("itself", "{train.warmup_steps: 1}", "when it varies depends on itself: train.warmup_steps → train.warmup_steps"),
]


@pytest.mark.parametrize(("when", "message"), [case[1:] for case in _BAD], ids=[case[0] for case in _BAD])
def test_a_condition_that_can_not_hold_is_refused_with_its_line(tmp_path: Path, when: str, message: str) -> None:
    text = (
        "search: {sampler: random}\nlora:\n  bias: [none, lora_only]\n  lora_alpha: {min: 8, max: 32}\n"
        f"train:\n  warmup_steps:\n    values: [1, 2]\n    when: {when}\n  learning_rate: {{min: 0.0001, max: 0.01}}\n"
    )
    problem = problem_of(tmp_path, text)
    assert problem.startswith("recipe.yaml:8: train.warmup_steps: ")
    assert message in problem


def test_a_condition_on_a_long_list_is_not_told_every_value_of_it(tmp_path: Path) -> None:
    ranks = ", ".join(map(str, range(1, 5_001)))
    problem = problem_of(
        tmp_path, f"lora:\n  r: [{ranks}]\n  lora_alpha: {{values: [8, 16], when: {{lora.r: 5001}}}}\n"
    )
    assert problem.endswith(
        "is never taken; lora.r takes 1 or 2 or 3 or 4 or 5 or 6 or 7 or 8 or 9 or 10 or one of 4,990 others"
    )


def test_an_axis_that_is_refused_makes_no_condition_on_it_wrong(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "lora:\n  r: [0, 8]\n  lora_alpha: {values: [16, 32], when: {lora.r: 8}}\n")
    assert "lora.r: 0 is too small" in problem


def test_a_circle_of_conditions_is_refused_by_its_way_round(tmp_path: Path) -> None:
    text = (
        "lora:\n  r: {values: [2, 4], when: {train.optim: muon}}\n"
        "train:\n  optim: {values: [adam, muon], when: {lora.bias: none}}\n"
        "  warmup_steps: [0, 10]\n"
    )
    problem = problem_of(tmp_path, text, "lora.bias={values: [none, all], when: {lora.r: 4}}")
    assert "depends on itself: " in problem
    assert {"lora.r", "train.optim", "lora.bias"} <= set(problem.replace(":", "").split())


_MALFORMED = [
    ("no mapping", "{values: [1, 2], when: adam}", "train.warmup_steps.when: 'adam' is not a condition"),
    ("empty", "{values: [1, 2], when: {}}", "is not a condition; it is a mapping of fields to values"),
    ("otherwise alone", "{values: [1, 2], otherwise: 0}", "has otherwise without when"),
    (
        "values and ends",
        "{values: [1], min: 1, when: {train.optim: adam}}",
        "'min' is not one of values, when, otherwise",
    ),
    ("one value", "{values: 1, when: {train.optim: adam}}", "values is a list, as in {values: [0, 100]}"),
    ("no values", "{values: [], when: {train.optim: adam}}", "is an empty axis"),
    ("twins", "{values: [1, 1], when: {train.optim: adam}}", "holds 1 twice"),
    ("neither", "{when: {train.optim: adam}}", "is not a range; a range is {min: 1, max: 16, log: true}"),
    (
        "bad otherwise",
        "{values: [1], when: {train.optim: adam}, otherwise: -1}",
        "-1 is too small; it must be 0 or more",
    ),
]


@pytest.mark.parametrize(("axis", "message"), [case[1:] for case in _MALFORMED], ids=[case[0] for case in _MALFORMED])
def test_a_malformed_conditional_axis_is_refused(tmp_path: Path, axis: str, message: str) -> None:
    problem = problem_of(tmp_path, f"train:\n  warmup_steps: {axis}\n")
    assert problem.startswith("recipe.yaml:2: train.warmup_steps")
    assert message in problem


def test_a_conditional_range_has_no_grid_either(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "train:\n  warmup_steps: {min: 0, max: 9, when: {train.optim: adam}}\n")
    assert "has no points on a range (train.warmup_steps); use random, tpe or auto" in problem


def test_a_field_that_fixes_the_data_can_not_vary_conditionally(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "data: {dataset: {values: [a, b], when: {lora.r: 4}}}\n")
    assert "can't vary within a search" in problem


# Schema


def test_the_schema_lets_an_axis_say_where_it_varies() -> None:
    options = json_schema()["$defs"]["Train"]["properties"]["warmup_steps"]["anyOf"]
    for option in (o for o in options if o.get("type") == "object"):
        assert {"when", "otherwise"} < option["properties"].keys()
        assert option["properties"]["when"] == {"$ref": "#/$defs/When"}


def test_the_schema_of_a_condition_offers_fields_and_their_values() -> None:
    when = json_schema()["$defs"]["When"]
    assert when["additionalProperties"] is False
    assert "adamw" in when["properties"]["train.optim"]["anyOf"][0]["enum"]
