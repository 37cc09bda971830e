"""What trials are trained on, and what is refused of a recipe's models before weights are loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloom.data import Finding, telling
from loraloom.errors import BackboneError, RecipeError
from loraloom.execute.workplace import Workplace
from loraloom.preparation import prepare
from loraloom.recipe import read_recipe
from loraloom.search.watcher import Watcher
from tests.four_rows import four_rows


def _check(recipe: dict[str, Any]) -> None:
    Workplace(read_recipe(recipe), four_rows(), lambda _: None).check()


def test_a_length_is_held_against_the_models_alone_that_read_it(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long"
    shutil.copytree(tiny_model, long)
    config = json.loads((long / "config.json").read_text())
    (long / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))

    def recipe(longer_for: Path) -> dict[str, Any]:
        length = {"values": [32, 128], "when": {"backbone.model": str(longer_for)}, "otherwise": 32}
        models = {**tiny_recipe["backbone"], "model": [str(tiny_model), str(long)]}
        return {**tiny_recipe, "backbone": models, "data": {**tiny_recipe["data"], "max_length": length}}

    _check(recipe(long))
    with pytest.raises(BackboneError, match=r"data\.max_length: 128 is too long for .*model', which reads 64 tokens"):
        _check(recipe(tiny_model))


def test_a_trial_has_at_most_the_rows_that_the_recipe_names_or_all() -> None:
    capped = {"max_train_samples": 3, "max_eval_samples": 9}
    places = [Workplace(read_recipe({"data": data}), four_rows(), lambda _: None) for data in ({}, capped)]
    assert [place.most_rows for place in places] == [(4, 4), (3, 4)]


def test_rows_that_can_not_have_every_class_are_refused(tiny_recipe: dict[str, Any]) -> None:
    _check({**tiny_recipe, "data": {**tiny_recipe["data"], "max_train_samples": 4}})
    with pytest.raises(RecipeError, match=r"data\.max_train_samples: 3 is fewer than the 4 classes"):
        _check({**tiny_recipe, "data": {**tiny_recipe["data"], "max_train_samples": 3}})


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        (["train.warmup_steps=[0, 6]"], 6),
        (["train.warmup_steps=5"], None),
        (["train.warmup_steps=6", "train.num_train_epochs=[3, 3.25]"], None),
        (["train.warmup_steps=6", "train.per_device_train_batch_size=[2, 1]"], None),
        (["train.warmup_steps=6", "train.gradient_accumulation_steps=[1, 2]"], 6),
        (["train.warmup_steps=3", "train.gradient_accumulation_steps=2"], 3),
        (["train.warmup_steps={min: 6, max: 9}", "search.sampler=random"], None),
        (["train.warmup_steps=6", "search.epochs=clock", "search.sampler=auto", "budget.max_seconds=60"], None),
    ],
)
def test_a_warm_up_that_no_training_comes_to_the_end_of_is_told(
    tiny_recipe: dict[str, Any], changes: list[str], steps: int | None
) -> None:
    tiny_recipe["train"] |= {"num_train_epochs": 3, "per_device_train_batch_size": 2}  # six steps over four rows
    if "search.epochs=clock" in changes:
        del tiny_recipe["train"]["num_train_epochs"]
    found: list[Finding] = []
    Workplace(read_recipe(tiny_recipe, changes), four_rows(), found.append).check()
    assert [(finding.kind, finding.count) for finding in found] == ([] if steps is None else [("warm_up", steps)])


def test_seeds_of_a_configuration_are_trained_and_validated_on_the_same_part_of_the_rows(
    tiny_recipe: dict[str, Any],
) -> None:
    recipe = read_recipe(tiny_recipe, ["data.max_train_samples=20", "data.max_eval_samples=9"])
    data, first = prepare(recipe, Watcher(), False, {}).data, recipe.configuration({})
    second = first.with_fields(train={"seed": first.train.seed + 1})
    one, other = (Workplace(recipe, data, lambda _: None).rows(configuration) for configuration in (first, second))
    assert one.data.train.texts == other.data.train.texts
    assert one.data.validation.texts == other.data.validation.texts
    assert (len(one.data.train.texts), len(one.data.validation.texts)) == (20, 9)


def test_rows_are_read_once_whatever_of_a_configuration_no_token_depends_on(tiny_recipe: dict[str, Any]) -> None:
    place = Workplace(read_recipe(tiny_recipe), four_rows(), lambda _: None)
    one = place.recipe.configuration({})
    read = place.rows(one)
    assert place.rows(one.with_fields(backbone={"dropout": "off"}, data={"text_column": "text"})) is read
    assert place.rows(one.with_fields(data={"max_length": 5})) is not read


def test_texts_that_a_model_can_not_read_are_found_once(tiny_recipe: dict[str, Any]) -> None:
    recipe, data = read_recipe(tiny_recipe), four_rows()
    found: list[Finding] = []
    train = replace(data.train, texts=tuple(f"ทีม{number}" for number in range(len(data.train))))
    place = Workplace(recipe, replace(data, train=train), found.append)
    for samples in (None, 4):
        place.rows(recipe.configuration({}).with_fields(data={"max_train_samples": samples}))
    assert [finding.kind for finding in found] == ["unknown_tokens"]


def test_it_is_said_how_far_tokenising_is(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOM_CACHE", str(tmp_path))  # what others have tokenised is not done anew
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    recipe, said = read_recipe(tiny_recipe), list[str]()
    Workplace(recipe, four_rows(), lambda _: None, note=said.append).rows(recipe.configuration({}))
    assert said == ["tokenising: 0 of 4 rows so far"]  # validation has the same texts
