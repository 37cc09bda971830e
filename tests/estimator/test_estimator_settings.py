"""Parameters mean the recipe's fields of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraloom import LoraClassifier
from loraloom.errors import BackboneError, BudgetError, LoraloomError, RecipeError
from loraloom.estimator.settings import FIELDS, named_by_parameters, recipe_of
from loraloom.recipe import Choices, Range, Recipe, read_recipe
from loraloom.recipe.fields import SECTIONS, Budget, Search
from loraloom.search.space import default_space

BY_RECIPE_ALONE = {
    "search.epochs",
    *("data.dataset", "data.train_file", "data.validation_file", "data.test_file"),  # the rows are X and y
    *("data.text_column", "data.label_column", "data.max_train_samples", "data.max_eval_samples"),
    *("search.resource", "train.eval_strategy", "train.seed"),  # the seed is random_state
}


def made(**parameters: Any) -> Recipe:
    return recipe_of(LoraClassifier(**parameters).get_params(deep=False))


def test_every_parameter_is_one_of_the_estimator_and_every_field_is_a_parameter_or_left_to_the_recipe() -> None:
    sections: dict[str, Any] = {**SECTIONS, "search": Search, "budget": Budget}
    fields = {f"{name}.{leaf}" for name, section in sections.items() for leaf in section.model_fields}
    assert set(FIELDS.values()) - {"engine"} == fields - BY_RECIPE_ALONE
    assert set(FIELDS) <= set(LoraClassifier().get_params())
    assert all(name in (field.split(".")[-1], "head") for name, field in FIELDS.items())


def test_without_parameters_the_recipe_is_the_default_one() -> None:
    assert made() == read_recipe({})


def test_a_parameter_sets_its_field_and_a_list_or_a_range_is_an_axis() -> None:
    recipe = made(
        model="demo",
        r=[2, 4],
        learning_rate={"min": 1e-4, "max": 1e-2, "log": True},
        head="linear",
        sampler="tpe",
        max_seconds=60,
        random_state=7,
    )
    assert (recipe.backbone.model, recipe.head.kind, recipe.budget.max_seconds) == ("demo", "linear", 60)
    assert recipe.axes == {"lora.r": Choices((2, 4)), "train.learning_rate": Range(1e-4, 1e-2, log=True)}
    assert recipe.train.seed == 7


def test_values_of_numpy_are_taken_as_pythons_own() -> None:
    recipe = made(r=np.int64(2), learning_rate=np.logspace(-4, -2, 3), target_modules=np.array(["query", "value"]))
    assert recipe.lora.r == 2
    assert recipe.axes["train.learning_rate"].values == pytest.approx((1e-4, 1e-3, 1e-2))
    assert recipe.lora.target_modules == ("query", "value")
    recipe = made(recipe={"lora": {"r": np.array([2, 4])}}, max_trainable_parameters=np.int64(100_000))
    assert recipe.axes["lora.r"].values == (2, 4)
    assert recipe.budget.max_trainable_parameters == 100_000


def test_an_encoders_folder_may_be_a_path() -> None:
    assert made(model=Path("encoders") / "mine").backbone.model == "encoders/mine"
    assert made(model=[Path("a"), "b"]).axes == {"backbone.model": Choices(("a", "b"))}


def test_parameters_are_put_over_a_recipe_that_is_a_mapping_or_a_file(tmp_path: Path) -> None:
    written: dict[str, Any] = {"lora": {"r": [2, 4], "bias": "none"}, "data": {"max_train_samples": 50}}
    file = tmp_path / "recipe.yaml"
    file.write_text("lora: {r: [2, 4], bias: none}\ndata: {max_train_samples: 50}\n")
    for recipe in (made(recipe=written, r=8), made(recipe=file, r=8), made(recipe=str(file), r=8)):
        assert (recipe.lora.r, recipe.lora.bias, recipe.data.max_train_samples, recipe.axes) == (8, "none", 50, {})
    assert written["lora"]["r"] == [2, 4]
    axis = made(recipe=file).axes["lora.r"]
    assert axis == Choices((2, 4))


def test_what_a_run_wrote_of_itself_into_its_recipe_is_no_part_of_a_classifiers(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("lora: {r: 2}\nprovenance: {model_revisions: {roberta-base: abc}, allow_leak: true}\n")
    assert (made(recipe=file).lora.r, made(recipe=file).provenance) == (2, {})


def test_a_parameter_takes_its_other_values_from_the_conditions_of_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "train:\n  lr_scheduler_type: [constant, linear]\n"
        "  warmup_steps: {values: [0, 50], when: {train.lr_scheduler_type: linear}}\n"
    )
    assert made(recipe=file, lr_scheduler_type="constant").axes == {}
    assert list(made(recipe=file, lr_scheduler_type="linear").axes) == ["train.warmup_steps"]


def test_what_a_recipe_leaves_open_stays_open_for_auto(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("search: {sampler: auto}\n")
    assert made(recipe=file).lora.model_fields_set == set()


def test_passes_are_by_the_clock_where_auto_samples_and_no_number_of_them_is_given() -> None:
    axis: dict[str, Any] = {"r": [4, 8], "max_seconds": 600}
    assert default_space(made(**axis, sampler="auto"), deadline=True).search.epochs == "clock"
    for parameters in (axis, {**axis, "sampler": "auto", "num_train_epochs": 8}):
        assert default_space(made(**parameters), deadline=True).search.epochs != "clock"


def test_two_caps_are_refused_and_one_in_the_recipe_alone_too() -> None:
    with pytest.raises(RecipeError, match="max_trainable_parameters: 1000000 is the estimator's cap, and 500"):
        made(recipe={"budget": {"max_trainable_parameters": 500}})
    both = made(recipe={"budget": {"max_trainable_parameters": 500}}, max_trainable_parameters=500)
    assert both.budget.max_trainable_parameters == 500
    assert made(max_trainable_parameters=None).budget.max_trainable_parameters is None


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"r": 0}, r"recipe: lora\.r"),
        ({"optim": "lion"}, r"train\.optim"),
        ({"recipe": 7}, "neither a mapping of sections nor a YAML file"),
        ({"recipe": {"lora": 4}, "r": 2}, "lora is 4, which is no section"),
        ({"recipe": "/nowhere.yaml"}, "no such recipe"),
    ],
)
def test_a_parameter_that_breaks_a_rule_is_refused_by_its_field(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        made(**parameters)


def test_a_generator_is_drawn_from() -> None:
    state = np.random.RandomState(0)
    assert made(random_state=state).train.seed != made(random_state=state).train.seed


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        (
            {"r": 0},
            RecipeError("recipe: lora.r: 0 is too small", "recipe: train.eval_strategy: no"),
            ["r: 0 is too small", "recipe: train.eval_strategy: no"],
        ),
        ({}, BudgetError("give it 20 s (budget.max_seconds)"), ["give it 20 s (max_seconds)"]),
        ({}, BudgetError("head.kind, lora.r.x, my.lora.r and lora.rank"), ["head, lora.r.x, my.lora.r and lora.rank"]),
        ({"random_state": -1}, RecipeError("recipe: train.seed: -1 is too small"), ["random_state: -1 is too small"]),
        ({}, BackboneError("backbone.model: '/my/head.kind' is no folder"), ["model: '/my/head.kind' is no folder"]),
        (
            {"recipe": {"lora": {"r": 0}}, "max_seconds": 2.0},
            RecipeError("recipe: lora.r: 0 is too small; budget.max_seconds"),
            ["recipe: lora.r: 0 is too small; max_seconds"],
        ),
    ],
)
def test_what_is_refused_names_parameters_and_a_recipes_own_fields(
    parameters: dict[str, Any], error: LoraloomError, told: list[str]
) -> None:
    error.add_note("what was trained is kept")
    with pytest.raises(type(error)) as caught, named_by_parameters(LoraClassifier(**parameters).get_params(deep=False)):
        raise error
    assert caught.value is error  # with its notes and its cause
    assert str(caught.value).split("\n") == told
    assert getattr(caught.value, "problems", tuple(told)) == tuple(told)


def test_fit_names_the_parameter_that_it_refuses() -> None:
    with pytest.raises(RecipeError, match=r"^r: 0 is too small"):
        LoraClassifier(r=0).fit(["good", "bad"], ["p", "n"])
    with pytest.raises(RecipeError, match=r"^random_state: -1 is too small"):
        LoraClassifier(random_state=-1).fit(["good", "bad"], ["p", "n"])
    with pytest.raises(BackboneError, match=r"^model: './nowhere' is not a folder"):
        LoraClassifier(model="./nowhere").fit(["good", "bad"] * 20, ["p", "n"] * 20)
    with pytest.raises(BudgetError, match=r"give it \d+ s \(max_seconds\)$"):
        LoraClassifier(max_seconds=0.5).fit(
            [f"{word} {n}" for n in range(20) for word in ("good", "bad")], ["p", "n"] * 20
        )
