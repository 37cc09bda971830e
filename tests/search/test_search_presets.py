"""The presets: good configurations, fitted to whatever axes a recipe has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.execute.workplace import Workplace
from loraloom.recipe import Choices, Configuration, Range, Recipe, read_recipe
from loraloom.recipe.fields import SECTIONS
from loraloom.search.presets import FEW_ROWS, MANY_SEEN, PRESETS, Preset, in_order, leading, preset_points
from loraloom.search.space import SPACE, default_space, with_length
from tests.four_rows import four_rows

ONE = [Preset("a test", {"lora.r": 8, "train.learning_rate": 1e-3, "train.optim": "adamw", "train.warmup_steps": 100})]


def _all_fit(_: Configuration) -> str | None:
    return None


def _recipe(values: dict[str, Any]) -> Recipe:
    return read_recipe({**values, "search": {"sampler": "auto"}})


def _point(values: dict[str, Any]) -> dict[str, Any]:
    (point,) = preset_points(_recipe(values), _all_fit, ONE)
    return point


@pytest.mark.parametrize("preset", PRESETS, ids=[preset.source[:20] for preset in PRESETS])
def test_a_preset_is_a_configuration(preset: Preset) -> None:
    for name, value in preset.values.items():
        section, leaf = name.split(".")
        assert getattr(SECTIONS[section].model_validate({leaf: value}), leaf) == value


@pytest.mark.parametrize("preset", PRESETS, ids=[preset.source[:20] for preset in PRESETS])
def test_a_preset_says_where_it_stands_on_every_axis_of_the_default_space(preset: Preset) -> None:
    assert SPACE.keys() <= preset.values.keys()


def test_the_second_preset_is_the_first_with_every_layer_and_the_third_the_best_run_of_the_contest() -> None:
    recipe = default_space(_recipe({}))
    first, second, third, *_ = preset_points(recipe, _all_fit)
    assert second == {**first, "lora.layers_to_transform": None} != first
    contest = {
        "lora": {"r": 4, "lora_alpha": 16, "lora_dropout": 0, "bias": "lora_only"},
        "train": {"optim": "adam", "learning_rate": 1e-3, "lr_scheduler_type": "constant", "num_train_epochs": 1},
    }
    assert recipe.configuration(third) == read_recipe(contest).configuration({})


def test_where_every_layer_comes_first_the_two_presets_that_lead_change_places_and_no_others() -> None:
    first, every_layer, *others = PRESETS
    assert in_order(every_layer_first=False) == PRESETS
    assert in_order(every_layer_first=True) == (every_layer, first, *others)


def test_the_warm_up_measures_what_the_first_preset_takes() -> None:
    recipe = default_space(_recipe({}))
    first = preset_points(recipe, _all_fit)[0]
    choices = {name: axis for name, axis in recipe.axes.items() if isinstance(axis, Choices)}
    del choices["train.num_train_epochs"]
    assert {name: first[name] for name in choices} == {name: axis.first for name, axis in choices.items()}


def test_the_first_preset_comes_with_each_model() -> None:
    models = ["roberta-base", "bert-base-uncased"]
    recipe = default_space(_recipe({"backbone": {"model": models}}))
    first, second, third, *_ = points = preset_points(recipe, _all_fit)
    assert [point["backbone.model"] for point in (first, second)] == models
    assert {**first, "backbone.model": None} == {**second, "backbone.model": None}
    assert third["backbone.model"] == models[0]
    assert leading(points) == 3
    assert leading(preset_points(default_space(_recipe({})), _all_fit)) == 2
    assert leading(points[:1]) == 1


def test_all_presets_are_different_points_of_the_default_space() -> None:
    assert len(preset_points(default_space(_recipe({})), _all_fit)) == len(PRESETS)


def test_a_value_that_is_a_choice_is_taken() -> None:
    assert _point({"lora": {"r": [2, 8]}, "train": {"optim": ["adam", "adamw"]}}) == {
        "lora.r": 8,
        "train.optim": "adamw",
    }


@pytest.mark.parametrize(("choices", "nearest"), [([2, 6, 16], 6), ([4, 16], 4), ([64, 16], 16), ([1], 1)])
def test_a_number_that_is_no_choice_becomes_the_nearest_by_ratio(choices: list[int], nearest: int) -> None:
    assert _point({"lora": {"r": choices}}) == {"lora.r": nearest}


def test_a_number_beside_0_becomes_the_nearest_by_distance() -> None:
    assert _point({"train": {"warmup_steps": [0, 60, 500]}}) == {"train.warmup_steps": 60}


def test_a_word_that_is_no_choice_becomes_the_first() -> None:
    assert _point({"train": {"optim": ["muon", "sgd"]}}) == {"train.optim": "muon"}


def test_an_axis_that_no_preset_speaks_of_takes_its_first_value() -> None:
    assert _point({"train": {"max_grad_norm": [0.5, 1.0]}}) == {"train.max_grad_norm": 0.5}


def test_the_first_preset_comes_with_each_model_and_length_and_what_it_is_compared_with_leads() -> None:
    recipe = default_space(_recipe({"backbone": {"model": ["demo", "roberta-base"]}}), deadline=True)
    points = preset_points(with_length(recipe, 300, 512), _all_fit)
    found = [(point["backbone.model"], point["data.max_length"]) for point in points]
    assert found[:4] == [("demo", 512), ("demo", 128), ("roberta-base", 512), ("roberta-base", 128)]
    assert set(found[4:]) == {("demo", 512)}
    assert leading(points) == 5


@pytest.mark.parametrize(
    ("low", "high", "nearest"),
    [(1e-4, 1e-2, 1e-3), (2e-3, 1e-2, 2e-3), (1e-5, 1e-4, 1e-4)],
    ids=["in", "below", "above"],
)
def test_a_number_outside_a_range_becomes_its_nearer_end(low: float, high: float, nearest: float) -> None:
    rate = {"min": low, "max": high, "log": True}
    assert _point({"train": {"learning_rate": rate}}) == {"train.learning_rate": nearest}


def test_an_inactive_axis_is_left_out() -> None:
    axis = {"values": [50, 100], "when": {"train.optim": "adam"}}
    assert _point({"train": {"warmup_steps": axis, "optim": ["adam", "adamw"]}}) == {"train.optim": "adamw"}


def test_presets_that_fall_on_one_point_are_tried_once() -> None:
    assert preset_points(_recipe({"lora": {"bias": ["all"]}}), _all_fit) == [{"lora.bias": "all"}]


def test_a_preset_over_the_cap_has_half_the_rank_at_the_same_scale_until_it_fits() -> None:
    recipe = _recipe({"lora": {"r": [1, 2, 4, 8, 16], "lora_alpha": [4, 8, 16, 32]}})
    preset = Preset("a test", {"lora.r": 16, "lora.lora_alpha": 32})
    (point,) = preset_points(recipe, lambda one: "over the cap" if one.lora.r > 6 else None, [preset])
    assert point == {"lora.r": 4, "lora.lora_alpha": 8}


def test_presets_that_fit_with_no_rank_are_left_out() -> None:
    def fits(configuration: Configuration) -> str | None:
        return "over the cap" if configuration.lora.bias == "none" else None

    points = preset_points(_recipe({"lora": {"r": [4, 8, 16], "bias": ["none", "lora_only"]}}), fits)
    assert points
    assert {point["lora.bias"] for point in points} == {"lora_only"}


def test_the_first_preset_of_the_default_space_fits_a_million_with_a_base_size_encoder() -> None:
    recipe = default_space(_recipe({"backbone": {"model": "roberta-base"}}))
    place = Workplace(recipe, four_rows(), lambda _: None)
    first = recipe.configuration(preset_points(recipe, place.demands.why_not)[0])
    assert (first.lora.r, first.lora.lora_alpha, first.lora.target_modules) == (8, 16, "all-linear")


def test_a_recipe_without_axes_has_one_preset() -> None:
    assert preset_points(_recipe({}), _all_fit) == [{}]


@settings(max_examples=100, deadline=None)
@given(
    numbers=st.lists(st.integers(1, 4096), min_size=1, max_size=5, unique=True),
    ends=st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)).filter(lambda pair: pair[0] < pair[1]),
    whole=st.tuples(st.integers(0, 500), st.integers(501, 1000)),
)
def test_every_preset_lies_on_the_axes(numbers: list[int], ends: tuple[float, float], whole: tuple[int, int]) -> None:
    recipe = _recipe(
        {
            "lora": {"r": numbers},
            "train": {
                "learning_rate": {"min": ends[0], "max": ends[1], "log": True},
                "warmup_steps": {"min": whole[0], "max": whole[1]},
            },
        }
    )
    for point in preset_points(recipe, _all_fit):
        assert point.keys() == recipe.axes.keys()
        for name, axis in recipe.axes.items():
            match axis:
                case Choices(values):
                    assert point[name] in values
                case Range(low, high):
                    assert low <= point[name] <= high
                    assert type(point[name]) is type(low)


def test_over_few_rows_our_presets_pool_by_the_mean_and_warm_up_within_their_steps() -> None:
    recipe = default_space(_recipe({}))
    few, every, contest, *_ = preset_points(recipe, _all_fit, rows=32)
    assert [point["head.pooling"] for point in (few, every, contest)] == ["mean", "mean", "native"]
    assert few["train.warmup_steps"] == every["train.warmup_steps"] == 3
    assert preset_points(recipe, _all_fit, rows=FEW_ROWS) == preset_points(recipe, _all_fit)


@pytest.mark.parametrize(("rows", "steps"), [(FEW_ROWS, 60), (6_000, 150), (76_000, 300)])
def test_with_every_layer_the_warm_up_is_a_tenth_of_four_passes_within_limits(rows: int, steps: int) -> None:
    first, every, *_ = preset_points(default_space(_recipe({}), deadline=True), _all_fit, rows=rows)
    assert (first["train.warmup_steps"], every["train.warmup_steps"]) == (60, steps)


@pytest.mark.parametrize(("layers", "steps"), [(None, 150), ([3, 4, 5], 60)], ids=["every layer", "three layers"])
def test_where_the_recipe_writes_the_layers_the_warm_up_is_theirs_and_the_contests_best_run_leads_too(
    layers: list[int] | None, steps: int
) -> None:
    recipe = default_space(_recipe({"lora": {"layers_to_transform": layers}}), deadline=True)
    first, second, *_ = points = preset_points(recipe, _all_fit, rows=6_000)
    assert first["train.warmup_steps"] == steps
    assert second == preset_points(recipe, _all_fit, PRESETS[2:], rows=6_000)[0]
    assert leading(points) == 2


def test_what_sees_many_examples_learns_at_half_the_rate_and_the_sources_presets_stay() -> None:
    recipe = default_space(_recipe({}), deadline=True)
    few, many = (preset_points(recipe, _all_fit, rows=70_000, seen=seen) for seen in (MANY_SEEN, MANY_SEEN + 1))
    assert few == preset_points(recipe, _all_fit, rows=70_000)
    rate = "train.learning_rate"
    assert [point[rate] for point in few[:3]] == [1e-3, 1e-3, 1e-3]
    assert [point[rate] for point in many[:3]] == [5e-4, 5e-4, 1e-3]
    assert [{**point, rate: None} for point in few[:2]] == [{**point, rate: None} for point in many[:2]]
    assert few[2:] == many[2:]
