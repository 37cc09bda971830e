"""What the planner takes note of as trials end, and what it keeps for a run that goes on; nothing is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from loraloom.errors import BudgetError
from loraloom.execute.reserve import PART_TESTING, TEST_CAUTION
from loraloom.recipe import read_recipe
from loraloom.search.costs import Measured
from loraloom.search.plan import CLOCKED_SHARE, Plan, make_plan
from loraloom.search.space import default_space, with_length
from loraloom.search.task import Task
from loraloom.study.run import PLAN
from loraloom.study.sealed import read_sealed
from tests.execute.planned import ROW_SECONDS, Planned


def test_a_plan_is_kept_with_the_one_that_was_made_first_whatever_has_become_of_the_file(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    first = read_sealed(tmp_path / PLAN)["first"]
    for planner in (found.planner, found.again()):
        (tmp_path / PLAN).write_text("{")
        found.planner = planner
        for _ in range(4):
            found.trained({}, 4 * ROW_SECONDS)
        assert read_sealed(tmp_path / PLAN)["first"] == first


@pytest.mark.parametrize(
    ("train", "search", "seconds", "told"),
    [
        ({"warmup_steps": 3_000}, {"epochs": "clock"}, 600.0, True),
        ({"warmup_steps": 3_000}, {"epochs": "clock"}, 60_000.0, False),
        ({"warmup_steps": [10, 3_000]}, {"epochs": "clock"}, 600.0, True),
        ({"warmup_steps": {"min": 10, "max": 3_000}}, {"epochs": "clock"}, 600.0, False),
        ({"warmup_steps": 10}, {"epochs": "clock"}, 600.0, False),
        ({"warmup_steps": 600}, {}, 60.0, True),  # of 1,250, as a part of the rows is trained on
        ({"warmup_steps": 600}, {}, 6_000.0, False),
        ({"warmup_steps": 2_000}, {}, 60.0, False),  # told before: all rows would be too few
    ],
)
def test_a_warm_up_that_the_time_allows_no_training_to_come_to_the_end_of_is_told(
    tmp_path: Path, train: dict[str, Any], search: dict[str, Any], seconds: float, *, told: bool
) -> None:
    recipe = read_recipe({"train": train, "search": {"sampler": "random", **search}})
    planned = Planned(recipe, tmp_path / "run", seconds=seconds, most_rows=(20_000, 100))
    found = [note for note in planned.notes if note.startswith("train.warmup_steps: the rate never comes to")]
    assert len(found) == told
    steps = max(recipe.values("train.warmup_steps"))
    assert all(f"rising for {steps:,} steps where the time allows a training" in note for note in found)
    again = planned.again()
    assert again.pace.plan == planned.planner.pace.plan


def test_a_plan_that_is_done_gets_more_rows_where_there_is_time_for_them(tmp_path: Path) -> None:
    found = Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100)
    pace = found.planner.pace
    assert pace.task is not None
    before = pace.task.rows(pace.plan.top)
    assert before < 20_000
    found.at, pace.final_begun = 60, True
    assert not found.planner.extend()
    assert pace.task.rows(pace.plan.top) == before
    for _ in range(8):
        found.trained({}, ROW_SECONDS / 100)
    assert found.planner.extend()
    assert pace.plan.top is None
    assert found.again().pace.plan.rungs == pace.plan.rungs
    assert not found.planner.extend()


def test_a_plan_that_got_more_rows_is_for_the_time_that_was_left_then(tmp_path: Path) -> None:
    """The trials before it have used the other."""
    found = Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100)
    pace = found.planner.pace
    found.at, pace.final_begun = 60, True
    for _ in range(8):
        found.trained({}, ROW_SECONDS / 10)
    assert found.planner.extend()
    extended, pace.final_begun = pace.plan, False
    found.trained({}, ROW_SECONDS / 10)
    assert pace.plan == extended


@pytest.mark.parametrize("epochs", ["recipe", "clock"])
def test_where_the_trial_that_was_to_have_all_the_time_fails_others_have_what_is_left(
    tmp_path: Path, epochs: str
) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"epochs": epochs, "sampler": "random"}})
    found = Planned(recipe, tmp_path, seconds=25, has_results=False)
    pace, configuration = found.planner.pace, recipe.configuration({})
    assert (len(pace.plan.rungs), pace.plan.finalists) == (1, 1)
    found.at = 3
    assert not pace.allows(configuration, pace.plan.top)
    assert found.planner.extend()
    assert pace.allows(configuration, pace.plan.top)
    assert found.again().pace.plan.rungs == pace.plan.rungs
    assert not found.planner.extend()
    found.at = 24
    assert not found.planner.extend()


@pytest.mark.parametrize(("seconds", "more"), [(100.0, 1.0), (120.0, 1.0), (200.0, 1.5)])
def test_a_run_that_goes_on_has_other_rows_only_where_there_is_time_for_many_more(
    tmp_path: Path, seconds: float, more: float
) -> None:
    """A resume of as many seconds measures nothing anew, and so has some more for training."""
    found = Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=100, start_up=10)
    kept, found.at, found.start_up, found.seconds = found.planner.pace.plan, 0.0, 6, seconds
    plan = found.again().pace.plan
    assert kept.top is not None
    assert plan.top is not None
    assert plan.rungs[: len(kept.rungs)] == kept.rungs
    assert (plan.top == kept.top) == (more == 1)
    assert plan.top >= more * kept.top


@pytest.mark.parametrize(("seconds", "longest"), [(60, 128), (600, None)])
def test_a_length_of_which_the_test_alone_takes_the_time_is_left_out(
    seconds: float, longest: int | None, tmp_path: Path
) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    recipe = with_length(recipe, 400, 512)
    model = recipe.backbone.model
    timed = (Measured(model, 128, 16, 0.004, 0.0013, 0.5), Measured(model, 512, 16, 0.02, 0.006, 0.5))
    found = Planned(recipe, tmp_path, seconds=seconds, timed=timed, test_rows=7_500)
    pace = found.planner.pace
    assert pace.task is not None
    lengths = {kind.data.max_length for kind in pace.task.kinds}
    assert lengths == ({128} if longest else {128, 512})
    assert any("are cut at 128 tokens" in note for note in found.notes) == bool(longest)
    whole = recipe.configuration({"data.max_length": 512})
    assert (pace.why_not(whole) is not None) == bool(longest)
    found.seconds = 6_000.0
    task = found.again().pace.task
    assert task is not None
    assert {kind.data.max_length for kind in task.kinds} == lengths  # what a run began with stays


@pytest.mark.parametrize(("seconds", "longest"), [(60, 128), (150, 256), (600, None)])
def test_of_several_lengths_the_longest_stays_whose_test_leaves_time(
    seconds: float, longest: int | None, tmp_path: Path
) -> None:
    recipe = read_recipe({"search": {"sampler": "auto"}, "data": {"max_length": [128, 256, 512]}})
    recipe = default_space(recipe, deadline=True)
    seconds_of_rows = {128: 0.0013, 256: 0.003, 512: 0.012}
    timed = tuple(
        Measured(recipe.backbone.model, tokens, 16, 3 * each, each, 0.5) for tokens, each in seconds_of_rows.items()
    )
    found = Planned(recipe, tmp_path, seconds=seconds, timed=timed, test_rows=7_500)
    task = found.planner.pace.task
    assert task is not None
    assert max(kind.data.max_length for kind in task.kinds) == (longest or 512)
    assert any("texts are cut at" in note for note in found.notes) == (longest is not None)


def test_where_not_one_trial_fits_what_would_do_in_all_is_said_and_does(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    kept = r"\d+ s of \d+ are kept for the test and the report"
    said = rf"takes about \d+ s, \d s are left for it: {kept}; give it (\d+) s \(budget\.max_seconds\)$"
    with pytest.raises(BudgetError, match=said) as no:
        Planned(recipe, tmp_path, seconds=5)
    would_do = float(str(no.value).split()[-3])
    assert 10 < would_do < 30
    assert Planned(recipe, tmp_path, seconds=would_do).planner.pace.plan.top is not None


def test_where_a_test_on_all_rows_takes_most_of_the_time_a_part_of_them_is_tested(tmp_path: Path) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    tested, said = [], []
    for seconds in (30, 60, 120, 600):
        found = Planned(recipe, tmp_path / f"{seconds}", seconds=seconds, test_rows=20_000)
        clock = found.planner.pace.clock
        tested.append(clock.test_rows)
        said.append(any(f"on {clock.test_rows:,} of 20,000 test rows" in note for note in found.notes))
        assert clock.seconds_left is not None
        assert clock.reserve < 0.75 * clock.seconds_left  # the report beside the test
    assert tested == sorted(tested)
    assert (tested[0] > 200, tested[-1]) == (True, 20_000)
    assert said == [rows < 20_000 for rows in tested]


def test_the_part_that_is_tested_takes_a_quarter_of_what_is_left_beside_the_report_with_its_loading(
    tmp_path: Path,
) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    found = Planned(recipe, tmp_path, seconds=60, test_rows=20_000)
    clock = found.planner.pace.clock
    assert 200 < clock.test_rows < 20_000
    assert clock.seconds_left is not None
    every = replace(clock, test_rows=20_000, now=lambda: found.at)  # by whose report the part is chosen
    to_share = clock.seconds_left - every.report_seconds
    assert clock.test_seconds == pytest.approx(PART_TESTING * to_share, rel=0.01)


def test_where_the_test_of_few_rows_alone_takes_longer_than_is_left_that_is_said(tmp_path: Path) -> None:
    alone = r"the test of 200 rows and the report alone take about (\d+) s, and (\d+) s are left in all; give it"
    recipe = read_recipe({"lora": {"r": [2, 4]}})
    timed = (Measured(recipe.backbone.model, 128, 16, 0.5, 0.1, 0.5),)
    with pytest.raises(BudgetError, match=alone) as no:
        Planned(recipe, tmp_path, seconds=30, timed=timed, test_rows=20_000)
    found = re.search(alone, str(no.value))
    assert found is not None
    assert int(found[1]) > int(found[2])


def test_what_came_before_the_plan_is_no_time_for_training(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=1_000.0, start_up=500.0)
    planned = found.planner.pace.plan
    found.trained({}, ROW_SECONDS)
    assert found.planner.pace.plan == planned


def test_time_that_trials_took_as_was_planned_changes_nothing_of_the_plan(tmp_path: Path) -> None:
    """A final's share is of all the time that was planned for, and not of what is left."""
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path)
    for _ in range(4):  # whose costs are all that counts
        found.trained({}, ROW_SECONDS)
    planned = found.planner.pace.plan
    assert len(planned.rungs) > 1
    for found.at in (50.0, 100.0, 150.0):
        found.trained({}, ROW_SECONDS)
        assert found.planner.pace.plan == planned


def test_where_rows_are_dearer_than_was_measured_a_final_on_the_kept_rows_still_fits_its_share(tmp_path: Path) -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    found = Planned(recipe, tmp_path, seconds=200.0)
    pace, training = found.planner.pace, found.planner.pace.clock.training_seconds_left
    assert pace.plan.top is not None  # not all rows fit
    assert training is not None
    top = pace.plan.top
    for _ in range(3):
        found.trained({}, 1.5 * ROW_SECONDS)
    assert pace.plan.top == top
    assert pace.seconds(recipe.configuration({}), top) <= 1.05 * CLOCKED_SHARE * training


@pytest.mark.parametrize("epochs", ["recipe", "clock"])
@pytest.mark.parametrize(("quicker", "begun", "more"), [(20.0, False, True), (20.0, True, False), (0.6, False, False)])
def test_where_rows_are_cheaper_than_was_measured_finals_have_more_of_them_if_none_was_begun(
    tmp_path: Path, epochs: str, quicker: float, *, begun: bool, more: bool
) -> None:
    """More passes over a part would not make up for it; what was compared on lower rungs stays."""
    axes = {"lora": {"r": {"min": 1, "max": 16}}, "search": {"epochs": epochs, "sampler": "random"}}
    found = Planned(read_recipe(axes), tmp_path, seconds=150)
    pace = found.planner.pace
    kept, pace.final_begun = pace.plan, begun
    assert len(kept.rungs) > 2
    assert kept.top is not None
    for _ in range(4):
        found.trained({}, ROW_SECONDS / quicker)
    assert (pace.plan.top is None) == more
    if not more:
        assert pace.plan.rungs == kept.rungs
        return
    assert pace.task is not None
    assert pace.plan.rungs == (*kept.rungs[:-1], None)
    anew = make_plan(pace.task, pace.costs, pace.clock.training_seconds_left, pace.slots)
    assert (pace.plan.finalists, pace.plan.seeds, pace.plan.epochs) == (anew.finalists, anew.seeds, anew.epochs)
    assert found.again().pace.plan.rungs == pace.plan.rungs


def test_where_rows_are_so_cheap_that_all_can_be_trained_in_full_all_are_finalists(tmp_path: Path) -> None:
    found = Planned(read_recipe({"lora": {"r": [2, 4, 8]}}), tmp_path, seconds=150)
    found.listing.configurations = 3
    pace = found.planner.pace
    pace.task = replace(cast(Task, pace.task), configurations=3)
    kept = pace.plan
    assert kept.top is not None
    for _ in range(4):
        found.trained({}, ROW_SECONDS / 100)
    assert pace.plan == Plan((*kept.rungs[:-1], None), 3, 1)


def test_a_trial_s_last_step_leaves_time_to_validate_and_for_what_is_beside(tmp_path: Path) -> None:
    found = Planned(read_recipe({}), tmp_path)
    end = found.planner.pace.clock.training_end
    deadline = found.planner.job_deadline(300, found.recipe.configuration({}))
    assert end is not None
    assert deadline == pytest.approx(end - TEST_CAUTION * (300 * ROW_SECONDS / 3 + 0.5))
