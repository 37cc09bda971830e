"""The recipes that we ship: each can be read, and those of the contest are what their comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloom import budget
from loraloom.backbone import sources
from loraloom.recipe import Choices, Configuration, Recipe, read_recipe
from loraloom.search.presets import preset_points
from loraloom.search.space import default_space

RECIPES = Path(__file__).parent.parent / "recipes"
SHIPPED = sorted(path.name for path in RECIPES.glob("*.yaml"))
AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")


@pytest.fixture
def best_run() -> Recipe:
    return read_recipe(RECIPES / "agnews-roberta-base.yaml")


@pytest.fixture
def grid() -> Recipe:
    return read_recipe(RECIPES / "agnews-grid.yaml")


def counted(recipe: Recipe, **point: object) -> budget.ParameterCount:
    return budget.count(
        adaptation_of(recipe.configuration({n.replace("__", "."): value for n, value in point.items()}))
    )


def adaptation_of(configuration: Configuration) -> budget.Adaptation:
    from loraloom.backbone.adapting import Shapes

    return Shapes(AG_NEWS).adaptation(sources.find(configuration.backbone.model), configuration)


def test_all_recipes_are_found() -> None:
    assert {
        "demo.yaml",
        "agnews-roberta-base.yaml",
        "agnews-grid.yaml",
        "agnews-auto.yaml",
        "cpu-top-layers.yaml",
    } <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_read(name: str) -> None:
    assert read_recipe(RECIPES / name).budget.max_trainable_parameters == 1_000_000


def test_the_best_run_trains_759_556_parameters_of_which_the_head_is_593_668(best_run: Recipe) -> None:
    parameters = counted(best_run)
    assert (parameters.trainable, parameters.head) == (759_556, 593_668)


def test_the_best_run_is_one_configuration(best_run: Recipe) -> None:
    assert best_run.axes == {}


def test_the_grid_has_108_points(grid: Recipe) -> None:
    assert len(list(grid.grid())) == 108


def test_the_best_run_is_a_point_of_the_grid(best_run: Recipe, grid: Recipe) -> None:
    best = best_run.configuration({})
    assert best in [grid.configuration(point) for point in grid.grid()]


@pytest.mark.parametrize(("rank", "trainable"), [(2, 685_828), (4, 759_556), (8, 907_012)])
def test_every_rank_of_the_grid_fits_the_cap(grid: Recipe, rank: int, trainable: int) -> None:
    assert counted(grid, lora__r=rank).trainable == trainable <= 1_000_000


def test_the_auto_recipe_tries_the_best_run_third(best_run: Recipe) -> None:
    auto = default_space(read_recipe(RECIPES / "agnews-auto.yaml"))
    third, best = auto.configuration(preset_points(auto, lambda _: None)[2]), best_run.configuration({})
    assert (third.data, third.backbone, third.head) == (best.data, best.backbone, best.head)
    assert third.train == best.train
    assert third.lora.model_copy(update={"target_modules": best.lora.target_modules}) == best.lora
    assert counted(auto).trainable < counted(best_run).trainable == budget.count(adaptation_of(third)).trainable


def test_most_presets_of_the_auto_recipe_fit_the_cap() -> None:
    auto = default_space(read_recipe(RECIPES / "agnews-auto.yaml"))
    everything = preset_points(auto, lambda _: None)
    counts = [budget.count(adaptation_of(auto.configuration(point))).trainable for point in everything]
    assert len(everything) == 9
    assert sum(count <= 1_000_000 for count in counts) >= 7


def test_the_auto_recipe_may_be_narrowed_to_a_grid() -> None:
    changes = ["search.sampler=grid", "train.lr_scheduler_type=constant,linear"]
    warmup = "train.warmup_steps={values: [0, 200], when: {train.lr_scheduler_type: linear}}"
    recipe = read_recipe(RECIPES / "agnews-auto.yaml", [*changes, warmup])
    assert isinstance(recipe.axes["train.warmup_steps"], Choices)
    assert len(list(recipe.grid())) == 3


def test_the_top_layers_recipe_adapts_no_layer_below_the_third() -> None:
    recipe = read_recipe(RECIPES / "cpu-top-layers.yaml")
    assert recipe.lora.layers_to_transform == (3, 4, 5)
    assert recipe.backbone.dropout == "off"
