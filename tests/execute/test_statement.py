"""What `loraloom budget` says of time and memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from loraloom.backbone import sources
from loraloom.engine import gemm_rates
from loraloom.errors import BackboneError, BudgetError, RecipeError
from loraloom.execute.demands import Demands
from loraloom.execute.statement import state_budget
from loraloom.recipe import Configuration, read_recipe
from loraloom.search.presets import preset_points
from loraloom.search.space import default_space


@pytest.fixture(autouse=True)
def _known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured anew for each statement, they would be as others let this machine be."""
    monkeypatch.setattr(gemm_rates, "measure", lambda: gemm_rates.GemmRates(1e9, 1e9, 1e9, 1e9, False))


def test_a_trial_takes_at_most_what_the_dearest_one_does(tiny_recipe: dict[str, Any]) -> None:
    def seconds(*settings: str) -> float | None:
        return state_budget(read_recipe(tiny_recipe, settings)).seconds

    one = seconds("train.num_train_epochs=1", "data.max_length=16")
    assert one is not None
    more = seconds("train.num_train_epochs=1,10", "data.max_length=16")
    assert more == pytest.approx(10 * one)
    fewer = seconds("train.num_train_epochs=1", "data.max_length=16", "data.max_train_samples=9")
    assert fewer is not None
    assert fewer < one / 2
    clocked = state_budget(
        read_recipe(
            tiny_recipe, ["search.epochs=clock", "search.sampler=auto", "budget.max_seconds=60", "data.max_length=16"]
        )
    )
    assert clocked.seconds is None
    assert clocked.pass_seconds == pytest.approx(one)


@pytest.mark.parametrize("stated", [None, 3, ["demo"], {"demo": 3}])
def test_revisions_of_another_kind_are_as_if_none_were_stated(tiny_recipe: dict[str, Any], stated: Any) -> None:
    given = read_recipe({**tiny_recipe, "provenance": {"model_revisions": stated}})
    assert state_budget(given).count == state_budget(read_recipe(tiny_recipe)).count


def test_a_trial_takes_at_most_the_memory_of_the_largest_that_fits(tiny_recipe: dict[str, Any]) -> None:
    several = ("data.max_length=16,64", "train.per_device_train_batch_size=4,32")
    largest = state_budget(read_recipe(tiny_recipe, [each.replace("16,", "").replace("4,", "") for each in several]))
    stated = state_budget(read_recipe(tiny_recipe, several))
    assert stated.memory_gb < stated.most_memory_gb == largest.memory_gb == largest.most_memory_gb
    limit = (stated.memory_gb + largest.memory_gb) / 2
    limited = state_budget(read_recipe(tiny_recipe, [*several, f"budget.max_memory_gb={limit}"]))
    assert limited.memory_gb < limited.most_memory_gb <= limit


def test_a_length_counts_with_the_models_alone_that_read_it(tiny_recipe: dict[str, Any], tiny_model: Path) -> None:
    both = {**tiny_recipe, "backbone": {**tiny_recipe["backbone"], "model": [str(tiny_model), "demo"]}}

    def seconds(max_length: Any) -> float | None:
        return state_budget(read_recipe({**both, "data": {**both["data"], "max_length": max_length}})).seconds

    of_the_small = {"values": [16, 64], "when": {"backbone.model": str(tiny_model)}, "otherwise": 16}
    assert seconds(of_the_small) == seconds(16)  # of the demo's encoder, which is the dearer
    assert seconds([16, 64]) == seconds(64)


def test_a_length_that_a_model_does_not_read_is_refused_as_a_search_refuses_it(tiny_recipe: dict[str, Any]) -> None:
    state_budget(read_recipe(tiny_recipe, ["data.max_length=64"]))
    with pytest.raises(BackboneError, match=r"data\.max_length: 65 is too long for .*, which reads 64 tokens"):
        state_budget(read_recipe(tiny_recipe, ["data.max_length=16,65"]))
    of_table = read_recipe({"backbone": {"model": "roberta-base"}, "data": {"max_length": 513}})
    with pytest.raises(BackboneError, match="513 is too long for 'roberta-base', which reads 512 tokens"):
        state_budget(of_table, num_labels=4)


def test_a_commit_is_refused_where_no_model_is_of_the_hub(tiny_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"^backbone\.revision: 'abc' is of a model on the hub, and not of '.*model'"):
        state_budget(read_recipe(tiny_recipe, ["backbone.revision=abc"]))
    of_table = read_recipe({"backbone": {"model": "roberta-base", "revision": "abc"}})
    assert state_budget(of_table, num_labels=4).count.head == 593_668


def test_a_model_is_looked_for_once_however_many_combinations_are_counted_which_is_said_of_many(
    tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    find, looked, said = sources.find, list[str](), list[str]()

    def noted(model: str, revision: str | None = None) -> sources.Source:
        looked.append(model)
        return find(model, revision)

    monkeypatch.setattr(sources, "find", noted)
    monkeypatch.setattr("loraloom.execute.statement.MOST_POINTS", 7)
    assert len(state_budget(read_recipe(tiny_recipe, ["lora.r=1,2,3,4,5,6,7"]), note=said.append).points) == 7
    assert not said
    looked.clear()
    assert len(state_budget(read_recipe(tiny_recipe, ["lora.r=1,2,3,4,5,6,7,8"]), note=said.append).points) == 8
    assert said == ["counting 8 combinations"]
    assert len(looked) <= 2


@pytest.mark.parametrize(
    ("limit", "advice"), [(0.5, "raise the limit or take a smaller model"), (1.6, "lower data.max_length")]
)
def test_what_would_help_against_a_limit_of_memory_is_said(limit: float, advice: str) -> None:
    batch = {"train": {"per_device_train_batch_size": 64, "bf16": False}, "data": {"max_length": 512}}
    recipe = read_recipe({"budget": {"max_memory_gb": limit}, **batch})
    demands = Demands(recipe, ["a", "b"])
    assert demands.memory_gb(recipe.configuration({})) > limit
    assert advice in demands.memory_advice(recipe.configuration({}))


def test_what_trains_exactly_as_many_as_the_cap_fits(tiny_recipe: dict[str, Any]) -> None:
    recipe = read_recipe(tiny_recipe)
    trained = Demands(recipe, ["a", "b", "c"]).parameters(recipe.configuration({})).trainable
    for cap, fits in ((trained, True), (trained - 1, False)):
        capped = read_recipe(tiny_recipe, [f"budget.max_trainable_parameters={cap}"])
        assert (Demands(capped, ["a", "b", "c"]).why_not(capped.configuration({})) is None) == fits
        stated = state_budget(capped)
        assert (stated.count.trainable, stated.fits) == (trained, fits)


@pytest.mark.parametrize(("most", "points"), [(256, 256), (257, 2)])
def test_ranks_of_a_range_stand_singly_but_of_a_long_one_its_ends_alone(
    tiny_recipe: dict[str, Any], most: int, points: int
) -> None:
    ranks = (f"lora.r={{min: 1, max: {most}}}", "search.sampler=random", "search.n_trials=1")
    assert len(state_budget(read_recipe(tiny_recipe, ranks)).points) == points


def test_of_very_many_points_those_at_the_ends_of_ranks_and_batches_are_looked_at(tiny_recipe: dict[str, Any]) -> None:
    def demands(*settings: str) -> Demands:
        many = ("lora.r=" + ",".join(map(str, range(1, 151))), "train.per_device_train_batch_size=4,8,16,32,64")
        others = ("data.max_length=8,16,24", "train.optim=adam,sgd,muon", "head.kind=native,linear")
        recipe = read_recipe(tiny_recipe, (*many, *others, "search.sampler=random", "search.n_trials=1", *settings))
        return Demands(recipe, ["0", "1", "2"])

    limited = demands("budget.max_memory_gb=8")
    seen = [limited.recipe.configuration(point) for point in limited.outermost()]
    assert len(seen) == 2 * 2 * 3 * 3 * 2  # of 13,500
    every = map(limited.recipe.configuration, limited.points())
    assert max(map(limited.memory_gb, seen)) == max(map(limited.memory_gb, every))
    assert set(limited.fitting()) == {(one.backbone.model, one.data.max_length) for one in seen}
    assert {one.lora.r for one in limited.fitting().values()} == {1}  # the first that fits
    assert limited.check() == ()
    with pytest.raises(BudgetError, match="no point of the search fits"):
        demands("budget.max_memory_gb=8", "budget.max_trainable_parameters=10").check()


def test_which_points_of_a_grid_fit_is_told_by_those_that_count_differently(
    tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, why_not = list[int](), Demands.why_not

    def noted(self: Demands, configuration: Configuration) -> str | None:
        looked.append(configuration.lora.r)
        return why_not(self, configuration)

    monkeypatch.setattr(Demands, "why_not", noted)
    grid = ("lora.r=1,2", "train.learning_rate=1e-3,2e-3,3e-3", "train.weight_decay=0,0.1")
    assert Demands(read_recipe(tiny_recipe, grid), ["a", "b", "c"]).check() == ()
    assert looked == [1, 2]
    trained = Demands(read_recipe(tiny_recipe), ["a", "b", "c"]).parameters(
        read_recipe(tiny_recipe, grid).configuration({})
    )
    capped = read_recipe(tiny_recipe, (*grid, f"budget.max_trainable_parameters={trained.trainable}"))
    looked.clear()
    dropped = Demands(capped, ["a", "b", "c"]).check()
    assert (looked, len(dropped)) == ([1, 2], 6)
    assert all(sentence.startswith("lora.r=2, ") for sentence in dropped)


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        (["lora.r=[4, 2]", "train.learning_rate=[0.1, 0.2]"], "lora.r=4"),
        (["train.learning_rate=[0.1, 0.2]"], ""),
        ([], ""),
    ],
)
def test_of_the_point_that_is_counted_by_part_what_counts_is_named(
    tiny_recipe: dict[str, Any], changes: list[str], point: str
) -> None:
    assert state_budget(read_recipe(tiny_recipe, changes)).point == point


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ([], True),
        (["budget.max_trainable_parameters=2000"], True),
        (["search.n_trials=9"], False),
        (["data.validation_share=0.4"], False),
        (["data.validation_share=0.4", "data.max_eval_samples=9"], True),
        (["budget.max_seconds=null"], False),
        (["search.sampler=random", "lora.r=[2, 4]"], False),
        (["search.sampler=auto", "lora.r=[2, 8]"], False),  # all are tried
    ],
)
def test_of_few_held_out_rows_what_a_search_tries_alone_is_counted(
    tiny_recipe: dict[str, Any], changes: list[str], alone: bool
) -> None:
    recipe = read_recipe({**tiny_recipe, "lora": {}, "train": {"bf16": False}}, ["budget.max_seconds=60", *changes])
    listed = [(one.parameters, one.why_not) for one in state_budget(recipe).alone]
    searched = default_space(recipe, deadline=True)
    demands = Demands(searched, ["a", "b", "c"])
    presets = preset_points(searched, demands.why_not)
    leading = [searched.configuration(point) for point in presets[:2]]
    assert listed == ([(demands.parameters(one).trainable, None) for one in leading] if alone else [])


def test_times_are_of_texts_as_long_as_the_rows_are_where_the_tokenizer_is_here(
    tiny_recipe: dict[str, Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"cat dog {'bird ' * number},{'ab'[number % 2]}\n" for number in range(4))
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label\n{rows}")
    recipe = {**tiny_recipe, "data": {"train_file": str(path), "max_length": 64}}
    stated = state_budget(read_recipe(recipe))
    tokenizer = sources.load_tokenizer(sources.find(str(tiny_model)))
    lengths = [len(tokenizer(line.partition(",")[0])["input_ids"]) for line in rows.splitlines()]
    assert (stated.tokens, stated.is_mean) == (math.ceil(sum(lengths) / 4), True)
    cut = state_budget(read_recipe(recipe, ["data.max_length=4"]))
    assert (cut.tokens, cut.is_mean) == (4, True)
    monkeypatch.setattr(sources, "load_tokenizer", _none_here)
    whole = state_budget(read_recipe(recipe, ["data.max_length=63"]))  # of 64 they are known by now
    assert (whole.tokens, whole.is_mean) == (63, False)
    assert stated.seconds is not None
    assert whole.seconds is not None
    assert whole.seconds > 5 * stated.seconds


def _none_here(source: sources.Source) -> Any:
    raise BackboneError("there is no tokenizer")
