"""report_to: which trackers a recipe names, in each way that one writes a list."""

from __future__ import annotations

from typing import Any

import pytest

from loraloom.errors import RecipeError
from loraloom.recipe import dump_recipe, json_schema, read_recipe


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("tensorboard", ("tensorboard",)),
        (["mlflow", "wandb"], ("mlflow", "wandb")),
        (["trackio", "mlflow", "trackio"], ("trackio", "mlflow")),
        ("none", ()),
        ([], ()),
    ],
)
def test_one_or_many_trackers_or_none_can_be_named(written: Any, names: tuple[str, ...]) -> None:
    assert read_recipe({"report_to": written}).report_to == names


def test_no_tracker_is_told_by_default() -> None:
    assert read_recipe({}).report_to == ()


def test_trackers_can_be_set_from_the_command_line() -> None:
    assert read_recipe({}, ["report_to=mlflow"]).report_to == ("mlflow",)
    assert read_recipe({"report_to": "wandb"}, ["report_to=mlflow,trackio"]).report_to == ("mlflow", "trackio")


@pytest.mark.parametrize("written", ["comet", ["mlflow", "comet"], ["none", "mlflow"], 3])
def test_what_is_no_tracker_is_refused_with_those_that_are(written: Any) -> None:
    allowed = "is not allowed; it must be tensorboard or mlflow or wandb or trackio, or none alone"
    with pytest.raises(RecipeError, match=f"^recipe: report_to: .* {allowed}$"):
        read_recipe({"report_to": written})


def test_trackers_are_not_an_axis() -> None:
    recipe = read_recipe({"report_to": ["mlflow", "wandb"]})
    assert list(recipe.grid()) == [{}]


def test_a_recipe_that_a_run_keeps_names_them(tmp_path: Any) -> None:
    recipe = read_recipe({"report_to": "trackio"})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_the_schema_lets_one_stand_alone() -> None:
    options = json_schema()["properties"]["report_to"]["anyOf"]
    assert {option.get("type") for option in options} == {"array", "string"}
