"""The words of a recipe: names, defaults and rules, and the JSON Schema that editors read."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import ValidationError

from loraloom.recipe import Budget, Configuration, Lora, Recipe, Search, Train, json_schema, read_recipe
from loraloom.recipe.reading import _Yaml12Loader
from loraloom.shipped import shipped_names, shipped_text

FIELDS = {
    "data": [
        "dataset",
        "train_file",
        "validation_file",
        "test_file",
        "text_column",
        "label_column",
        "validation_share",
        "max_length",
        "max_train_samples",
        "max_eval_samples",
    ],
    "backbone": ["model", "revision", "dropout"],
    "lora": [
        "r",
        "lora_alpha",
        "lora_dropout",
        "bias",
        "target_modules",
        "layers_to_transform",
        "use_rslora",
        "init_lora_weights",
    ],
    "head": ["kind", "pooling"],
    "train": [
        "optim",
        "learning_rate",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_train_epochs",
        "weight_decay",
        "lr_scheduler_type",
        "warmup_steps",
        "max_grad_norm",
        "label_smoothing_factor",
        "class_weight",
        "eval_strategy",
        "bf16",
        "fp16",
        "seed",
    ],
    "search": ["sampler", "n_trials", "pruner", "resource", "epochs", "seeds", "metric"],
    "budget": ["max_trainable_parameters", "max_seconds", "max_memory_gb"],
}


def _section_fields() -> dict[str, list[str]]:
    sections = {name: getattr(Recipe(), name) for name in Recipe.model_fields}
    return {name: list(type(s).model_fields) for name, s in sections.items() if hasattr(s, "model_fields_set")}


def _schema_of(section: str, field: str) -> dict[str, Any]:
    schema = json_schema()
    name = schema["properties"][section]["$ref"].removeprefix("#/$defs/")
    found: dict[str, Any] = schema["$defs"][name]["properties"][field]
    return found


def _options(section: str, field: str) -> list[dict[str, Any]]:
    options: list[dict[str, Any]] = _schema_of(section, field)["anyOf"]
    return options


def _kinds(section: str, field: str) -> set[str]:
    return {str(option.get("type")) for option in _options(section, field)}


def test_the_field_names_are_frozen() -> None:
    assert _section_fields() == FIELDS


def test_names_of_lora_and_train_are_pefts_and_transformers() -> None:
    from peft import LoraConfig
    from transformers import TrainingArguments

    assert Lora.model_fields.keys() <= LoraConfig.__dataclass_fields__.keys()
    own = {"class_weight"}  # scikit-learn's
    assert Train.model_fields.keys() - TrainingArguments.__dataclass_fields__.keys() == own


def test_the_top_level_names_are_frozen() -> None:
    assert set(Recipe.model_fields) == {*FIELDS, "engine", "report_to", "provenance", "axes"}


def test_the_defaults_are_the_best_run_of_the_contest() -> None:
    recipe = read_recipe({})
    assert recipe.lora == Lora(r=4, lora_alpha=16, lora_dropout=0.0, bias="lora_only")
    assert recipe.backbone.model == "roberta-base"
    train = recipe.train
    assert (train.optim, train.learning_rate, train.per_device_train_batch_size) == ("adam", 1e-3, 16)
    assert (train.weight_decay, train.lr_scheduler_type, train.num_train_epochs) == (0.0, "constant", 1)


def test_the_default_budget_is_one_million_parameters_and_no_clock() -> None:
    assert read_recipe({}).budget == Budget(max_trainable_parameters=1_000_000, max_seconds=None, max_memory_gb=None)


def test_the_default_search_is_a_grid_that_a_clock_may_halve() -> None:
    assert read_recipe({}).search == Search(
        sampler="grid", n_trials=None, pruner="auto", resource="rows", seeds=1, metric="accuracy"
    )


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_recipe({}).lora.r = 8  # type: ignore[misc]


def test_a_recipe_with_other_fields_keeps_all_others_and_counts_those_as_written() -> None:
    recipe = read_recipe({"train": {"optim": "sgd"}})
    changed = recipe.with_fields(train={"seed": 3}, search={"seeds": 2})
    assert (changed.train, changed.search) == (Train(optim="sgd", seed=3), Search(seeds=2))
    assert changed.train.model_fields_set == {"optim", "seed"}
    assert (recipe.train.seed, changed.lora) == (42, recipe.lora)


def test_each_value_of_an_axis_reaches_its_configuration() -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}, "train": {"learning_rate": [0.1, 0.2]}})
    points = [recipe.configuration(point) for point in recipe.grid()]
    assert [(c.lora.r, c.train.learning_rate) for c in points] == [(2, 0.1), (2, 0.2), (4, 0.1), (4, 0.2)]


def test_an_axis_left_out_of_a_point_keeps_its_first_value() -> None:
    recipe = read_recipe({"lora": {"r": [2, 4], "lora_alpha": [8, 32]}})
    assert recipe.configuration({"lora.r": 4}).lora == Lora(r=4, lora_alpha=8)


def test_a_recipe_without_axes_has_a_grid_of_one_point() -> None:
    recipe = read_recipe({"lora": {"r": 7}})
    assert list(recipe.grid()) == [{}]
    assert recipe.configuration({}) == Configuration(lora=Lora(r=7))


def test_a_range_has_no_grid() -> None:
    recipe = read_recipe({"lora": {"r": {"min": 1, "max": 8}}, "search": {"sampler": "random"}})
    with pytest.raises(TypeError, match="range"):
        list(recipe.grid())


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("lora.lora_alpha", (8, 16)),
        ("train.learning_rate", (1e-4, 1e-2)),
        ("lora.r", (3,)),
    ],
)
def test_the_values_of_a_field_are_choices_or_ends_or_its_one_value(field: str, values: tuple[Any, ...]) -> None:
    recipe = read_recipe(
        {
            "lora": {"lora_alpha": [8, 16], "r": 3},
            "train": {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}},
            "search": {"sampler": "random"},
        }
    )
    assert recipe.values(field) == values


def test_the_schema_lets_a_number_be_a_list_or_a_range() -> None:
    assert _kinds("lora", "r") == {"integer", "array", "object"}


def test_the_schema_lets_a_word_be_a_list_but_no_range() -> None:
    assert "array" in _kinds("train", "optim")
    assert not any("min" in option.get("properties", {}) for option in _options("train", "optim"))


def test_the_schema_of_a_range_asks_for_both_ends() -> None:
    ranges = [option for option in _options("train", "learning_rate") if option.get("type") == "object"]
    assert ranges[0]["required"] == ["min", "max"]
    assert ranges[0]["additionalProperties"] is False


def test_the_schema_keeps_the_rule_inside_an_axis() -> None:
    array = next(option for option in _options("lora", "r") if option.get("type") == "array")
    assert array["items"]["minimum"] == 1


@pytest.mark.parametrize(("section", "field"), [("data", "train_file"), ("backbone", "revision")])
def test_the_schema_has_no_axis_where_the_reader_has_none(section: str, field: str) -> None:
    assert "array" not in _kinds(section, field)


def test_the_schema_does_not_offer_axes_as_a_field() -> None:
    assert set(json_schema()["properties"]) == {*FIELDS, "engine", "report_to", "provenance"}


@pytest.mark.parametrize("name", shipped_names())
def test_the_schema_takes_the_recipes_that_come_along(name: str) -> None:
    jsonschema.validate(_Yaml12Loader(shipped_text(name)).get_single_data(), json_schema())


def test_the_schema_says_what_each_engine_is() -> None:
    engine = json_schema()["properties"]["engine"]
    assert all(f"{name}:" in engine["description"] for name in engine["enum"])


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("data", "text_column", "text"), ("lora", "target_modules", "query"), ("lora", "layers_to_transform", 11)],
)
def test_the_schema_takes_one_where_many_may_stand(section: str, field: str, value: object) -> None:
    jsonschema.validate({section: {field: value}}, json_schema())
    assert read_recipe({section: {field: value}}) is not None


def test_the_schema_refuses_unknown_fields() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())


@pytest.mark.parametrize(
    ("written", "count", "layers"),
    [("top-half", 12, range(6, 12)), ("top-half", 7, range(3, 7)), (None, 3, range(3)), ([1, 2], 4, (1, 2))],
)
def test_the_layers_that_are_adapted(written: Any, count: int, layers: Any) -> None:
    lora = read_recipe({"lora": {"layers_to_transform": written}}).lora
    assert lora.layers(count) == tuple(layers)


@pytest.mark.parametrize(
    ("written", "evaluations"),
    [
        ({}, 2),
        ({"num_train_epochs": 0.5}, 2),
        ({"num_train_epochs": 2.5}, 3),
        ({"num_train_epochs": 3}, 3),
        ({"lr_scheduler_type": "cyclic"}, 8),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "num_train_epochs": 3}, 9),
        ({"eval_strategy": "end", "num_train_epochs": 3}, 1),
        ({"eval_strategy": "end", "lr_scheduler_type": "cyclic"}, 1),
        ({"eval_strategy": "end", "lr_scheduler_type": "reduce_lr_on_plateau"}, 8),
    ],
)
def test_a_trial_is_evaluated_as_often_as_its_schedule_needs(written: dict[str, Any], evaluations: int) -> None:
    assert Train(**written).evaluations == evaluations
