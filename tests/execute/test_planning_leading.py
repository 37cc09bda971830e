"""What the planner lets a search begin with, by what a final sees; nothing is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloom.execute import planning
from loraloom.execute.warm_up import WarmedUp
from loraloom.recipe import Configuration, read_recipe
from loraloom.search.costs import Measured, cost_key
from loraloom.search.space import default_space
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed, write_sealed
from tests.execute.planned import ROW_SECONDS, Planned


def test_a_run_that_goes_on_has_the_passes_that_its_finals_were_fitted_with(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path)
    planned = found.planner.pace.plan.epochs
    found.at = 120  # the search before the finals took less than its share
    found.planner.pace.fit()
    assert found.planner.pace.plan.epochs != planned
    found.planner.write_what_changed()
    assert found.again().pace.plan == found.planner.pace.plan


def test_once_a_final_has_its_passes_finalists_and_seeds_are_counted_by_them(tmp_path: Path) -> None:
    recipe = default_space(
        read_recipe({"lora": {"r": [1, 2, 4]}, "search": {"sampler": "auto", "seeds": 2}}), deadline=True
    )
    found = Planned(recipe, tmp_path)
    pace = found.planner.pace
    planned = pace.plan
    assert (planned.finalists, planned.seeds) == (1, 1)
    assert planned.epochs is not None
    few = dict.fromkeys(planned.epochs, 0.25)
    pace.plan = replace(planned, finalists=2, seeds=2, epochs=few)  # of a command that had other time
    found.trained({}, ROW_SECONDS)
    assert pace.plan == planned
    pace.plan, pace.final_begun = replace(planned, epochs=few), True
    found.trained({}, ROW_SECONDS)
    assert pace.plan.epochs == few
    assert (pace.plan.finalists, pace.plan.seeds) == (1, 2)


@pytest.mark.parametrize(("seconds", "finalists"), [(2_800.0, 2), (4_000.0, 3)])
def test_finals_that_fill_what_a_short_search_has_left_are_as_many_as_they_were_fitted_for(
    tmp_path: Path, seconds: float, finalists: int
) -> None:
    """The finals' share of all the time would do for fewer with so many passes."""
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=seconds)
    pace, found.at = found.planner.pace, 100
    pace.fit()
    fitted, pace.final_begun = pace.plan, True
    found.trained({}, ROW_SECONDS)
    assert pace.plan == fitted
    assert fitted.finalists == finalists
    found.at = 0
    assert found.again().pace.plan == fitted  # nor are they fewer where a run goes on, with as much time once more
    found.seconds = 600
    assert found.again().pace.plan.finalists == finalists


@pytest.mark.parametrize("seconds", [600.0, 3_000.0])
def test_what_is_known_to_be_good_is_fitted_to_the_passes_that_the_first_command_had_time_for(
    tmp_path: Path, seconds: float
) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=seconds)
    epochs = found.planner.pace.plan.planned(recipe.configuration({}), None).train.num_train_epochs
    assert found.foresaw == [20_000 * epochs]
    found.seconds = 10 * seconds
    found.again()
    assert found.foresaw == [20_000 * epochs] * 2


def _measuring(monkeypatch: pytest.MonkeyPatch, row_seconds: float | None) -> list[Configuration]:
    """Has the planner measure that rows of one more configuration take so long (None: it fails); which it measured."""
    asked = []

    def measure(place: Any, executor: Any, configuration: Configuration, *_: Any) -> Measured | None:
        asked.append(configuration)
        cost: dict[str, Any] = {"eval_row_seconds": 0.003, "beside_seconds": 0.5}
        if row_seconds is None:
            return None
        return Measured(**cost_key(configuration)._asdict(), train_row_seconds=row_seconds, **cost)

    monkeypatch.setattr(planning, "measure_one", measure)
    return asked


@pytest.mark.parametrize(
    ("seconds", "row", "expected"),
    [
        (600.0, 2 * ROW_SECONDS, True),
        (600.0, 200 * ROW_SECONDS, False),
        (600.0, None, False),
        (30.0, ROW_SECONDS, False),
    ],
)
def test_every_layer_is_first_where_a_final_sees_many_examples_of_a_class_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, row: float | None, *, expected: bool
) -> None:
    asked = _measuring(monkeypatch, row)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=seconds, layers=("top-half", None))
    assert [one.lora.layers_to_transform for one in asked] == [None] * (seconds > 30)
    assert any("with every layer adapted, has all the time" in note for note in found.notes) is expected
    assert (len(found.planner.pace.costs.row_seconds) == 2) is expected  # else it is compared as what it is most like
    found.seconds = 630 - seconds
    found.again()
    assert found.every_layer_first == [expected] * 2
    assert len(asked) == (seconds > 30)


def test_every_layer_that_comes_first_is_measured_on_another_machine_too_and_is_what_its_speed_is_told_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _measuring(monkeypatch, 2 * ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, layers=("top-half", None))
    monkeypatch.setattr(planning, "warm_up", lambda *_: WarmedUp((found._first,), 1.0))
    monkeypatch.setattr(planning, "_machine", lambda: "another, 64 cores")
    found.planner = found.again()
    (first, _), pace = found.listing.leading, found.planner.pace
    assert [one.lora.layers_to_transform for one in asked] == [None] * 2
    assert pace.costs.train_row_seconds(first) == 2 * ROW_SECONDS
    found.trained({"lora.layers_to_transform": None}, 6 * ROW_SECONDS)
    assert pace.clock.slowdown == pytest.approx(3)
    found.again()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("ranks", "layers"), [((8, 4), ("top-half", None)), ((16, 16), (None, None)), ((16, 16), ("top-half", "top-half"))]
)
def test_every_layer_is_no_choice_where_it_has_a_smaller_rank_or_all_or_none_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: tuple[int, int], layers: tuple[Any, Any]
) -> None:
    asked = _measuring(monkeypatch, ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    assert Planned(recipe, tmp_path, ranks=ranks, layers=layers).every_layer_first == [False]
    assert not asked


@pytest.mark.parametrize(("ranks", "expected"), [((8, 4), True), ((8, 8), False)])
def test_the_upper_half_that_has_all_the_time_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: tuple[int, int], *, expected: bool
) -> None:
    _measuring(monkeypatch, None)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=300.0, ranks=ranks, layers=("top-half", None))
    told = "one configuration, with the upper half of the layers adapted, has all the time"
    assert any(told in note for note in found.notes) is expected


def test_a_run_that_began_when_no_such_order_was_kept_goes_on_in_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measuring(monkeypatch, ROW_SECONDS)
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, layers=("top-half", None))
    kept = read_sealed(tmp_path / PLAN)
    write_sealed(tmp_path / PLAN, {name: value for name, value in kept.items() if name != "every_layer_first"})
    found.again()
    assert found.every_layer_first == [True, False]


def test_without_a_deadline_what_is_foreseen_are_the_recipes_own_epochs(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}, "train": {"num_train_epochs": 3}}))
    found = Planned(recipe, tmp_path, seconds=math.inf)
    assert (found.foresaw, found.every_layer_first) == ([60_000], [False])
