"""The space that axes span, conditional ones among them: each configuration once, and no other."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.errors import RecipeError
from loraloom.recipe import Choices, Condition, Recipe, read_recipe

SCHEDULES = {
    "lr_scheduler_type": ["constant", "linear", "cosine"],
    "warmup_steps": {"values": [0, 100], "when": {"train.lr_scheduler_type": ["linear", "cosine"]}},
}

# Conditional axes


def test_a_point_leaves_an_inactive_axis_out() -> None:
    points = list(read_recipe({"train": SCHEDULES}).grid())
    assert points[0] == {"train.lr_scheduler_type": "constant"}
    assert [tuple(point.values()) for point in points[1:]] == [
        ("linear", 0),
        ("linear", 100),
        ("cosine", 0),
        ("cosine", 100),
    ]


def test_a_recipe_tells_whether_it_spans_more_points_than_so_many() -> None:
    lists = read_recipe({"train": {"optim": ["adam", "adamw", "sgd"], "seed": 1}, "lora": {"r": [2, 4]}})
    assert (lists.spans_more(5), lists.spans_more(6)) == (True, False)
    conditional = read_recipe({"train": SCHEDULES})  # five points of six combinations
    assert [conditional.spans_more(most) for most in (4, 5, 6)] == [True, False, False]
    ranged = read_recipe({"lora": {"r": {"min": 1, "max": 2}}, "search": {"sampler": "random"}})
    assert ranged.spans_more(10**9)
    assert not read_recipe({}).spans_more(1)


def test_an_inactive_axis_takes_the_default_of_its_field() -> None:
    recipe = read_recipe({"train": {**SCHEDULES, "warmup_steps": {**SCHEDULES["warmup_steps"], "values": [7, 9]}}})  # type: ignore[dict-item]
    assert recipe.configuration({"train.lr_scheduler_type": "constant"}).train.warmup_steps == 0


def test_an_inactive_axis_takes_the_value_that_it_has_otherwise() -> None:
    axis = {"values": [2, 4], "when": {"train.optim": "adam"}, "otherwise": 16}
    recipe = read_recipe({"lora": {"r": axis}, "train": {"optim": ["adam", "muon"]}})
    assert [recipe.configuration(point).lora.r for point in recipe.grid()] == [2, 4, 16]


def test_a_value_for_an_inactive_axis_has_no_effect() -> None:
    recipe = read_recipe({"train": SCHEDULES})
    point = {"train.lr_scheduler_type": "constant", "train.warmup_steps": 100}
    assert recipe.configuration(point).train.warmup_steps == 0


def test_an_active_axis_left_out_of_a_point_keeps_its_first_value() -> None:
    axis = {"values": [50, 100], "when": {"train.lr_scheduler_type": "linear"}}
    recipe = read_recipe({"train": {"lr_scheduler_type": ["linear", "constant"], "warmup_steps": axis}})
    assert recipe.configuration({}).train.warmup_steps == 50


def test_several_conditions_must_all_hold() -> None:
    axis = {"values": [0.1], "when": {"train.optim": "adamw", "lora.r": 4}}
    recipe = read_recipe({"lora": {"r": [2, 4]}, "train": {"optim": ["adam", "adamw"], "weight_decay": axis}})
    decays = {(c.lora.r, c.train.optim): c.train.weight_decay for c in map(recipe.configuration, recipe.grid())}
    assert decays == {(2, "adam"): 0, (2, "adamw"): 0, (4, "adam"): 0, (4, "adamw"): 0.1}


def test_a_condition_on_an_inactive_axis_reads_the_value_that_its_field_has_then() -> None:
    recipe = read_recipe(
        {
            "train": {
                "optim": ["adam", "adamw"],
                "weight_decay": {"values": [0.1, 0.2], "when": {"train.optim": "adamw"}},
                "max_grad_norm": {"values": [2.0], "when": {"train.weight_decay": [0.0, 0.2]}},
            }
        }
    )
    found = [(c.weight_decay, c.max_grad_norm) for c in (recipe.configuration(p).train for p in recipe.grid())]
    assert found == [(0.0, 2.0), (0.1, 1.0), (0.2, 2.0)]


def test_an_axis_may_stand_before_the_one_that_it_depends_on() -> None:
    reversed_ = dict(reversed(SCHEDULES.items()))
    recipe = read_recipe({"train": reversed_})
    assert list(recipe.axes) == ["train.warmup_steps", "train.lr_scheduler_type"]
    assert recipe.ordered() == ("train.lr_scheduler_type", "train.warmup_steps")
    assert len(list(recipe.grid())) == 5


def test_a_condition_may_name_a_fixed_field() -> None:
    axis = {"values": [0.1, 0.2], "when": {"train.optim": "adam"}}
    assert len(list(read_recipe({"train": {"weight_decay": axis}}).grid())) == 2


def test_a_condition_may_name_a_value_that_is_a_list() -> None:
    axis = {"values": [8, 16], "when": {"lora.target_modules": ["query", "value"]}, "otherwise": 2}
    recipe = read_recipe({"lora": {"target_modules": ["all-linear", ["query", "value"]], "r": axis}})
    assert [recipe.configuration(point).lora.r for point in recipe.grid()] == [2, 8, 16]


# Properties of the grid

_FIELDS: dict[str, list[Any]] = {
    "lora.r": [1, 2, 4],
    "lora.bias": ["none", "all", "lora_only"],
    "lora.target_modules": ["all-linear", ["query"], ["query", "value"]],
    "train.optim": ["adam", "adamw", "muon"],
    "train.warmup_steps": [0, 10, 20],
    "head.kind": ["native", "linear"],
}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Recipes whose axes depend on each other in any order, but in no circle."""
    order = draw(st.permutations(sorted(_FIELDS)))
    written: dict[str, Any] = {}
    for place, name in enumerate(order):
        values = draw(st.lists(st.sampled_from(_FIELDS[name]), min_size=1, unique_by=repr))
        when = {}
        for other in draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=2)) if place else []:
            listed = written[other]["values"] + ([written[other]["otherwise"]] if "when" in written[other] else [])
            when[other] = draw(st.lists(st.sampled_from(listed), min_size=1))
        written[name] = {"values": values}
        if when:
            written[name] |= {"when": when, "otherwise": draw(st.sampled_from(_FIELDS[name]))}
    recipe: dict[str, dict[str, Any]] = {}
    for name in draw(st.permutations(sorted(written))):
        section, leaf = name.split(".")
        recipe.setdefault(section, {})[leaf] = written[name]
    return recipe


@settings(max_examples=100, deadline=None)
@given(values=spaces())
def test_the_grid_visits_once_what_the_product_of_all_choices_reaches_and_no_more(values: dict[str, Any]) -> None:
    recipe = read_recipe(values)
    names = list(recipe.axes)
    product = (
        dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(recipe.axes[n].values for n in names))
    )
    reached = {_by_hand(recipe, point) for point in product}
    configurations = [recipe.configuration(point).model_dump_json() for point in recipe.grid()]
    assert len(set(configurations)) == len(configurations)
    assert set(configurations) == reached


def _by_hand(recipe: Recipe, point: dict[str, Any]) -> str:
    """The configuration at a whole point: inactive axes are set back to their base until nothing changes."""
    values = {**{f: recipe.base(f) for axis in recipe.axes.values() for f in (c.field for c in axis.when)}, **point}
    while True:
        settled = {
            name: point[name] if all(values[c.field] in c.values for c in axis.when) else recipe.base(name)
            for name, axis in recipe.axes.items()
        }
        if all(values[name] == value for name, value in settled.items()):
            free = recipe.model_copy(update={"axes": {}})
            return free.configuration(settled).model_dump_json()
        values |= settled


@settings(max_examples=60, deadline=None)
@given(values=spaces())
def test_no_point_of_the_grid_names_an_inactive_axis(values: dict[str, Any]) -> None:
    recipe = read_recipe(values)
    for point in recipe.grid():
        assert point.keys() == {name for name in recipe.axes if recipe.is_active(name, point)}


# Parts of a space


def test_a_narrowed_recipe_keeps_what_its_axes_depend_on() -> None:
    axis = {"values": [4, 8], "when": {"train.optim": "muon"}}
    recipe = read_recipe({"lora": {"r": axis, "bias": ["none", "all"]}, "train": {"optim": ["adam", "muon"]}})
    narrowed = recipe.narrowed(["lora.r", "head.kind"])
    assert list(narrowed.axes) == ["lora.r", "train.optim"]
    assert [recipe.configuration(point).lora.r for point in narrowed.grid()] == [4, 4, 8]


def test_a_narrowed_recipe_keeps_what_those_depend_on_that_its_axes_depend_on() -> None:
    train = {
        "max_grad_norm": {"values": [2.0, 3.0], "when": {"train.weight_decay": 0.1}},
        "weight_decay": {"values": [0.1, 0.2], "when": {"train.optim": "adamw"}},
        "optim": ["adam", "adamw"],
    }
    narrowed = read_recipe({"train": train}).narrowed(["train.max_grad_norm"])
    assert sorted(narrowed.axes) == ["train.max_grad_norm", "train.optim", "train.weight_decay"]


def test_a_narrowed_recipe_has_the_ends_of_a_range_and_what_a_condition_names_in_it() -> None:
    recipe = read_recipe(
        {
            "lora": {"r": {"min": 1, "max": 9}, "bias": {"values": ["none", "all"], "when": {"lora.r": 4}}},
            "search": {"sampler": "random"},
        }
    )
    points = [tuple(point.values()) for point in recipe.narrowed(["lora.bias"]).grid()]
    assert points == [(1,), (9,), (4, "none"), (4, "all")]


def test_a_narrowed_recipe_may_have_the_least_and_the_most_of_a_list_and_what_a_condition_names_of_it() -> None:
    recipe = read_recipe({"lora": {"r": [8, 64, 2, 4], "bias": {"values": ["none", "all"], "when": {"lora.r": 4}}}})
    assert recipe.narrowed(["lora.r"]).axes["lora.r"] == Choices((8, 64, 2, 4))
    assert recipe.narrowed(["lora.bias"], at_ends=["lora.r"]).axes["lora.r"] == Choices((2, 64, 4))


def test_the_values_of_a_conditional_axis_hold_the_one_that_it_has_otherwise() -> None:
    axis = {"values": [2, 4], "when": {"train.optim": "adam"}, "otherwise": 16}
    recipe = read_recipe({"lora": {"r": axis}, "train": {"optim": ["adam", "muon"]}})
    assert recipe.values("lora.r") == (2, 4, 16)


def test_a_renamed_field_is_renamed_in_its_axis_its_base_and_the_conditions_on_it() -> None:
    axis = {"values": [4, 8], "when": {"backbone.model": "b"}}
    recipe = read_recipe({"backbone": {"model": ["a", "b"]}, "lora": {"r": axis}}).renamed(
        "backbone.model", "/{}".format
    )
    assert recipe.backbone.model == "/a"
    assert recipe.axes == {
        "backbone.model": Choices(("/a", "/b")),
        "lora.r": Choices((4, 8), (Condition("backbone.model", ("/b",)),)),
    }


def test_a_range_has_no_grid_where_it_is_conditional_either() -> None:
    values = {"train": {"warmup_steps": {"min": 0, "max": 9, "when": {"train.optim": "adam"}}}}
    recipe = read_recipe({**values, "search": {"sampler": "random"}})
    with pytest.raises(TypeError, match="range"):
        list(recipe.grid())


def test_a_grid_of_too_many_points_to_look_at_each_is_refused() -> None:
    steps, ranks = list(range(1, 1_001)), list(range(1, 101))
    varied = {"lora": {"r": ranks}, "train": {"warmup_steps": steps}}
    assert len(read_recipe(varied).axes) == 2  # a hundred thousand
    more = varied | {"lora": {"r": [*ranks, 101]}}
    with pytest.raises(RecipeError, match="'grid' spans more than 100,000 points, each of which is looked at; use"):
        read_recipe(more)
    assert read_recipe(more, ["search.sampler=random"])
    assert read_recipe({**more, "provenance": {"loraloom": "0.1.0"}})  # of a run that an earlier version began
    conditional = {"lora": {"r": [*ranks, 101]}, "train": {"warmup_steps": {"values": steps, "when": {"lora.r": 1}}}}
    assert len([*read_recipe(conditional).grid()]) == 1_100
