"""The plan in words."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from loraloom.recipe import read_recipe
from loraloom.search.outlook import Outlook, Step
from loraloom.terminal.live import Terminal
from loraloom.terminal.outlook import in_words, plan_lines
from tests.terminal.plans import make_plan


def _outlook(rungs: tuple[Step, ...], finals: Step, part: int | None = None) -> Outlook:
    return Outlook(rungs, finals, 3, 2, 9000, part, None, None)


def test_rungs_and_finals_are_said() -> None:
    outlook = _outlook((Step(9, 1000), Step(3, 3000)), Step(6, 9000))
    assert (
        in_words(outlook)
        == "about 9 trials on 1,000 rows, 3 trials on 3,000 rows, then 3 finalists × 2 seeds on all 9,000 rows"
    )


def test_of_finals_that_were_begun_in_part_those_to_come_are_said() -> None:
    assert in_words(_outlook((), Step(5, 9000))) == "5 trials of 3 finalists on all 9,000 rows"
    assert in_words(_outlook((), Step(1, 9000))) == "1 trial of 3 finalists on all 9,000 rows"
    assert in_words(_outlook((), Step(3, 9000))) == "3 finalists × 1 seed on all 9,000 rows"


@pytest.mark.parametrize(
    ("lacks_some", "seconds", "said"),
    [
        (True, 60.0, "no further trial fits the time"),
        (False, 60.0, "all was trained"),
        (True, None, "all was trained"),
    ],
)
def test_where_no_trial_is_to_come_it_is_said_whether_the_time_is_why(
    seconds: float | None, said: str, *, lacks_some: bool
) -> None:
    """However many trials were finished: a configuration has several, of its seeds and on several rungs."""
    outlook = replace(_outlook((), Step(0, 9000)), seconds_left=seconds)
    plan = make_plan(outlook, configurations=2, finished=4, lacks_some=lacks_some)
    assert f"plan    {said}" in plan_lines(plan)


def test_where_all_that_was_planned_was_trained_and_time_is_left_it_is_said_what_it_goes_to() -> None:
    """Such a run trains on, and may be broken off."""
    outlook, out = replace(_outlook((), Step(0, 9000)), seconds_left=60.0), io.StringIO()
    plan = make_plan(outlook, configurations=1, finished=1, goes_beyond=True)
    Terminal(Console(file=out, width=120), quiet=False).planned(plan)
    said = "what was planned was trained; the time goes to further seeds and finalists"
    assert f"plan    {said}\n" in out.getvalue()
    assert "all was trained" not in out.getvalue()
    assert "run     run; if it is broken off: " in out.getvalue()


@pytest.mark.parametrize(("seconds", "form"), [(3600.0, "%H:%M:%S"), (200_000.0, "%Y-%m-%d %H:%M:%S")])
def test_the_end_is_as_far_away_as_the_time_that_is_left_and_has_its_date_where_that_is_a_day(
    monkeypatch: pytest.MonkeyPatch, seconds: float, form: str
) -> None:
    monkeypatch.setattr("loraloom.terminal.outlook.time.time", lambda: 1_000_000.0)
    plan = make_plan(replace(_outlook((), Step(6, 9000)), seconds_left=seconds, examples_per_second=1_234.5))
    ends = time.strftime(form, time.localtime(1_000_000.0 + seconds))
    last = [*plan_lines(plan)][-1]
    assert last.endswith(f" left, ends by {ends}; measured here: 1,234 training rows/s")


@pytest.mark.parametrize(
    ("configurations", "said"),
    [(3, "3 configurations × 2 seeds, 2 of 6 trials done"), (None, "configurations × 2 seeds")],
)
def test_how_much_of_a_grid_is_done_is_said_where_its_size_is_known(configurations: int | None, said: str) -> None:
    outlook = replace(_outlook((), Step(4, 9000)), finalists=None)
    assert next(plan_lines(make_plan(outlook, configurations=configurations, finished=2))) == f"plan    {said}"


@pytest.mark.parametrize(("trials", "said"), [(3, ["        about 3 of 7 trials fit the time"]), (7, [])])
def test_trials_of_a_grid_that_the_time_leaves_out_are_those_that_were_not_done_before(
    trials: int, said: list[str]
) -> None:
    outlook = replace(_outlook((), Step(trials, 9000)), finalists=None, seconds_left=60.0)
    lines = plan_lines(make_plan(outlook, configurations=4, finished=1))
    assert [line for line in lines if "fit the time" in line] == said


def test_of_finals_on_the_rows_of_the_last_rung_the_further_seeds_are_said() -> None:
    begun = "about 4 trials on all 9,000 rows, then "
    assert in_words(_outlook((Step(4, 9000),), Step(6, 9000))) == begun + "3 finalists × 2 further seeds"
    assert in_words(_outlook((Step(4, 9000),), Step(1, 9000))) == begun + "1 further trial of 3 finalists"


@pytest.mark.parametrize(
    ("configurations", "tried", "further", "said"),
    [
        (3, 3, 6, "about 3 configurations × 3 seeds on all 9,000 rows"),
        (3, 3, 0, "about 3 configurations × 1 seed on all 9,000 rows"),
        (5, 3, 6, "about 3 trials on all 9,000 rows, then 3 finalists × 2 further seeds"),  # two were tried before
        (3, 2, 6, "about 2 trials on all 9,000 rows, then 3 finalists × 2 further seeds"),
        (3, 3, 5, "about 3 trials on all 9,000 rows, then 5 further trials of 3 finalists"),
        (None, 3, 6, "about 3 trials on all 9,000 rows, then 3 finalists × 2 further seeds"),
    ],
)
def test_where_all_are_finalists_the_first_seeds_count_with_the_others(
    configurations: int | None, tried: int, further: int, said: str
) -> None:
    outlook = _outlook((Step(tried, 9000),), Step(further, 9000))
    assert in_words(outlook, configurations) == said
    assert f"plan    {said}" in plan_lines(make_plan(outlook, configurations=configurations))


def test_where_no_rung_fits_there_are_finals_alone() -> None:
    assert in_words(_outlook((), Step(6, 500), part=500)) == "3 finalists × 2 seeds on 500 rows"


def test_on_one_rung_with_one_seed_there_are_no_finals() -> None:
    assert in_words(_outlook((Step(4, 243),), Step(0, 243))) == "about 4 trials on all 243 rows"


@pytest.mark.parametrize(
    ("passes", "said"), [((1, 1), ", 1 pass each"), ((2.5, 2.5), ", 2.5 passes each"), ((0.5, 4), ", 0.5 to 4 passes")]
)
def test_passes_of_finals_are_said(passes: tuple[float, float], said: str) -> None:
    outlook = replace(_outlook((), Step(6, 500), part=500), passes=passes)
    assert in_words(outlook) == f"3 finalists × 2 seeds on 500 rows{said}"


def test_passes_are_said_where_there_are_no_finals() -> None:
    outlook = replace(_outlook((Step(4, 243),), Step(0, 243)), passes=(16, 16))
    assert in_words(outlook) == "about 4 trials on all 243 rows, 16 passes each"


def test_that_fewer_rows_are_validated_is_said_with_the_rows_that_are_trained_on() -> None:
    outlook = replace(_outlook((), Step(1, 306), part=306), eval_rows=445, validated=306)
    assert (
        "        trained on 306 of 9,000 rows (3.4 %, stratified by class) and validated on 306 of 445: "
        "the time does not allow for all"
    ) in plan_lines(make_plan(outlook))


@pytest.mark.parametrize(("wanted", "said"), [(3, True), (2, False)])
def test_seeds_that_the_time_leaves_out_are_said(wanted: int, said: bool) -> None:
    plan = make_plan(_outlook((), Step(6, 9000)), recipe=read_recipe({"search": {"seeds": wanted}}))
    assert (f"        2 of {wanted} seeds: the time does not allow for all" in plan_lines(plan)) is said


def test_presets_that_are_compared_first_are_said_first() -> None:
    outlook = replace(_outlook((Step(9, 1000),), Step(1, 9000)), leading=Step(2, 3000), finalists=1, seeds=1)
    assert (
        in_words(outlook) == "about 2 presets on 3,000 rows, 9 trials on 1,000 rows, then 1 finalist × 1 seed on all "
        "9,000 rows"
    )
    assert outlook.trials == 2 + 9 + 1


@pytest.mark.parametrize(
    ("leading", "trials", "broken_off", "tried"),
    [(2, 9, 0, 11), (2, 18, 0, None), (0, 9, 2, 11), (0, 18, 2, None), (2, 0, 1, 3), (0, 0, 1, 1)],
)
def test_configurations_that_the_time_leaves_out_are_those_that_are_nowhere_to_be_tried(
    leading: int, trials: int, broken_off: int, tried: int | None
) -> None:
    outlook = _outlook((Step(trials, 1000), Step(3, 3000)) if trials else (), Step(6, 9000))
    outlook = replace(outlook, leading=Step(leading, 3000) if leading else None)
    lines = [*plan_lines(make_plan(outlook, configurations=20, broken_off=broken_off))][1:]
    said = f"        about {tried} of 20 configurations are tried: the time does not allow for all"
    assert lines == ([] if tried is None else [said])


@pytest.mark.parametrize(
    ("command", "rank", "said"),
    [("search", 8, True), ("search", [8], True), ("search", [4, 8], False), ("train", 8, False), ("train", [8], False)],
)
def test_that_nothing_is_searched_is_said_to_who_wanted_a_search(command: str, rank: Any, said: bool) -> None:
    made = {"command": ["loraloom", command, "recipe.yaml", "--out", "run"]}
    recipe = read_recipe({"lora": {"r": rank}}).model_copy(update={"provenance": made})
    outlook = replace(_outlook((), Step(1, 500)), finalists=None)
    assert any("nothing is searched" in line for line in plan_lines(make_plan(outlook, recipe=recipe))) is said


@pytest.mark.parametrize("command", [None, 3, "loraloom train recipe.yaml"])
def test_a_command_of_another_kind_is_as_if_it_were_not_stated(command: Any) -> None:
    recipe = read_recipe({}).model_copy(update={"provenance": {"command": command}})
    outlook = replace(_outlook((), Step(1, 500)), finalists=None)
    assert any("nothing is searched" in line for line in plan_lines(make_plan(outlook, recipe=recipe)))


@pytest.mark.parametrize(
    ("broken_off", "to_come", "said"),
    [
        (0, 0, "all was trained"),
        (1, 0, "1 trial that was broken off"),
        (2, 4, "2 trials that were broken off, then about 4 trials on all 243 rows"),
    ],
)
def test_a_trial_that_goes_on_is_said_and_a_run_that_has_one_may_be_broken_off_again(
    broken_off: int, to_come: int, said: str
) -> None:
    outlook, out = _outlook((Step(to_come, 243),) if to_come else (), Step(0, 243)), io.StringIO()
    plan = make_plan(outlook, broken_off=broken_off)
    Terminal(Console(file=out, width=120), quiet=False).planned(plan)
    assert f"plan    {said}\n" in out.getvalue()
    assert ("if it is broken off: " in out.getvalue()) is bool(broken_off)
