"""Who is promoted, and which final comes next, from what was tried."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from loraloom.recipe import Configuration, Recipe, read_recipe
from loraloom.recipe.fields import MORE_SEEDS
from loraloom.search.clock import Clock
from loraloom.search.costs import Costs, Measured
from loraloom.search.finals import Finals, promotion
from loraloom.search.pace import NOTHING, Pace
from loraloom.search.plan import Plan
from loraloom.search.ranks import Ranks
from loraloom.search.task import Task
from loraloom.search.tried import Tried
from tests.search.in_memory import InMemoryLedger

RUNGS = (1_000, 3_000, None)
RECIPE = read_recipe({})


def _pace(seconds: float | None, *, pruner: str = "halving", leading: int = 0, recipe: Recipe = RECIPE) -> Pace:
    """A pass over 9,000 rows takes some 100 s."""
    recipe = recipe.with_fields(search={"pruner": pruner})
    task = Task(recipe, 9_000, 300, 4, None, (recipe.configuration({}),) * leading)
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    plan = Plan(RUNGS, 3, leading_rung=1 if leading else 0)
    return Pace(task, plan, Clock(seconds, lambda: 0.0, reserve=0.0), costs)


def _tried(pace: Pace, ledger: InMemoryLedger, rows: dict[int | None, list[int]], state: str = "complete") -> Ranks:
    """Trials of configurations that are the better the higher their number, on so many rows."""
    for on, numbers in rows.items():
        for number in numbers:
            value = number / 100 if state == "complete" else None
            ledger.tell(ledger.ask({}, {"number": number}, rows=on).number, state, value)
    tried = Tried(cast(Any, ledger), 1)
    tried.update()
    return Ranks(pace, tried)


def _key(number: int) -> str:
    return json.dumps({"number": number})


def _same(key: str) -> Configuration:
    del key
    return RECIPE.configuration({})


def _promoted(pace: Pace, rows: dict[int | None, list[int]], keep: float = 0.0) -> tuple[int, int | None] | None:
    wanted = promotion(pace, _tried(pace, InMemoryLedger(), rows), _same, NOTHING._replace(seconds=keep))
    if wanted is None:
        return None
    assert wanted.seed_index == 0
    return json.loads(wanted.key)["number"], wanted.rows


SIX = [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("rows", "by_the_clock", "else_"),
    [
        ({1_000: [0, 1]}, None, None),
        ({1_000: SIX}, (5, 3_000), (5, 3_000)),
        ({1_000: SIX, 3_000: [5]}, (4, 3_000), (4, 3_000)),
        ({1_000: SIX, 3_000: [5, 4]}, None, None),
        ({1_000: [*SIX, 6, 7, 8], 3_000: [8, 7, 5]}, (8, None), (6, 3_000)),  # the highest rung's, or the lowest's
        ({1_000: [*SIX, 6, 7, 8], 3_000: [8, 7, 5], None: [8]}, (6, 3_000), (6, 3_000)),
    ],
)
def test_the_best_third_of_a_rung_goes_on_and_without_a_clock_up_to_the_last_rung(
    rows: dict[int | None, list[int]], by_the_clock: Any, else_: Any
) -> None:
    assert _promoted(_pace(10_000), rows) == by_the_clock
    assert _promoted(_pace(None), rows) == else_


def test_hyperband_promotes_to_the_last_rung_too() -> None:
    rows: dict[int | None, list[int]] = {1_000: [0], 3_000: [1, 2, 3]}
    assert _promoted(_pace(None), rows) is None
    assert _promoted(_pace(None, pruner="hyperband"), rows) == (3, None)
    assert _promoted(_pace(None, pruner="hyperband"), rows | {None: [1, 2, 3]}) is None


def test_by_the_clock_nobody_waits_for_a_trial_under_way() -> None:
    for seconds, promoted in ((10_000, 5), (None, None)):
        pace, ledger = _pace(seconds), InMemoryLedger()
        _tried(pace, ledger, {1_000: SIX})
        wanted = promotion(pace, _tried(pace, ledger, {1_000: [6]}, "running"), _same, NOTHING)
        assert (wanted and json.loads(wanted.key)["number"]) == promoted


@pytest.mark.parametrize(
    ("rows", "promoted"),
    [
        ({3_000: [0, 1, 2]}, None),
        ({3_000: [0, 1, 2], 1_000: [3, 4, 5]}, (5, 3_000)),
        ({3_000: [0, 1, 2, 5], 1_000: [3, 4, 5]}, (5, None)),
    ],
)
def test_those_that_lead_wait_for_others_that_come_up_to_them(
    rows: dict[int | None, list[int]], promoted: tuple[int, int | None] | None
) -> None:
    assert _promoted(_pace(10_000, leading=3), rows) == promoted


def test_a_promotion_leaves_the_time_of_the_finals_unless_it_is_one_of_them() -> None:
    pace = _pace(150)
    rung, final = (pace.seconds(RECIPE.configuration({}), rows) for rows in (3_000, None))
    assert rung + final < 150 < 2 * final
    low: dict[int | None, list[int]] = {1_000: [0, 1, 2]}
    assert _promoted(pace, low, keep=final) == (2, 3_000)
    assert _promoted(pace, low, keep=150 - rung + 1) is None
    high: dict[int | None, list[int]] = {1_000: [0], 3_000: [1, 2, 3]}
    assert _promoted(pace, high, keep=final) == (3, None)
    assert _promoted(pace, high, keep=2 * final) is None
    assert _promoted(_pace(0.9 * final), high, keep=final) is None


@pytest.mark.parametrize("found", [[], [5], [1, 2, 3, 4, 5]])
def test_time_is_kept_for_all_seeds_of_finalists_that_are_yet_to_be_found(found: list[int]) -> None:
    pace = _pace(10_000)
    pace.plan = replace(pace.plan, seeds=2)
    one = pace.seconds(RECIPE.configuration({}), None)
    finals = Finals(pace, _tried(pace, InMemoryLedger(), {1_000: found}), _same)
    assert finals.missing.seconds == pytest.approx(3 * 2 * one)


@pytest.mark.parametrize(
    ("configurations", "under_way", "finalists"), [(None, [], 3), (4, [], 3), (3, [], 2), (3, [2], 2), (2, [], 1)]
)
def test_no_finalist_is_waited_for_that_can_not_come(
    configurations: int | None, under_way: list[int], finalists: int
) -> None:
    """One of those that were tried has failed, and one has a result."""
    pace, ledger = _pace(10_000), InMemoryLedger()
    assert pace.task is not None
    pace.task, pace.plan = replace(pace.task, configurations=configurations), replace(pace.plan, seeds=2)
    for number, state in ((0, "failed"), (1, "complete"), *((number, "running") for number in under_way)):
        _tried(pace, ledger, {1_000: [number]}, state)
    finals = Finals(pace, _tried(pace, ledger, {}), _same)
    assert finals.to_come() == 2 * finalists
    assert finals.missing.seconds == pytest.approx(2 * finalists * pace.seconds(RECIPE.configuration({}), None))


def test_of_finals_at_once_the_longest_are_what_they_take() -> None:
    recipe = read_recipe({"train": {"num_train_epochs": [2, 1]}})
    pace = _pace(10_000, recipe=recipe)
    pace.plan, pace.slots = replace(pace.plan, finalists=2), 2

    def at(key: str) -> Configuration:
        return recipe.configuration({"train.num_train_epochs": 1 + json.loads(key)["number"]})

    finals = Finals(pace, _tried(pace, InMemoryLedger(), {1_000: [0, 1]}), at)
    longest = pace.seconds(at(_key(1)), None)
    assert finals.missing.seconds == pytest.approx(longest) != pytest.approx(pace.seconds(at(_key(0)), None))


def _left_over(plan: Plan, rows: dict[int | None, list[int]], *, asked: int = 1) -> list[tuple[int, int]]:
    """Configurations and seeds that time left over goes to, where so many seeds were `asked` for."""
    pace, ledger = _pace(10_000, recipe=RECIPE.with_fields(search={"seeds": asked})), InMemoryLedger()
    pace.plan = plan
    _tried(pace, ledger, rows)
    got = []
    for _ in range(8):
        wanted = Finals(pace, _tried(pace, ledger, {}), _same).more()
        if wanted is not None:
            got.append((json.loads(wanted.key)["number"], wanted.seed_index))
            ledger.ask({}, json.loads(wanted.key), seed_index=wanted.seed_index, rows=None)
    return got


@pytest.mark.parametrize(
    ("configurations", "state", "to_come", "begun"),
    [(1, "running", 2, [1, 2]), (2, "running", 2, []), (1, "failed", 0, [])],
)
def test_seeds_of_the_only_configuration_are_trained_at_once_and_others_wait_for_results(
    configurations: int, state: str, to_come: int, begun: list[int]
) -> None:
    """Else two of three workers would have nothing to do for all of the time, which the first seed takes."""
    pace, ledger = _pace(150), InMemoryLedger()
    assert pace.task is not None
    pace.task, pace.slots = replace(pace.task, configurations=configurations), 3
    pace.plan, got = Plan((None,), 1, 3), []
    _tried(pace, ledger, {None: [1]}, state)
    assert Finals(pace, _tried(pace, ledger, {}), _same).to_come() == to_come
    while (wanted := Finals(pace, _tried(pace, ledger, {}), _same).next(pace.plan)) is not None:
        got.append(wanted.seed_index)
        ledger.ask({}, json.loads(wanted.key), seed_index=wanted.seed_index, rows=wanted.rows)
    assert got == begun


def test_time_left_over_goes_to_seeds_of_the_two_that_lead_then_of_all_finalists_then_to_further_ones() -> None:
    got = _left_over(Plan(RUNGS, 3), {3_000: [1, 2, 3, 4, 5], None: [5, 4, 3]})
    assert got == [(5, 1), (4, 1), (5, 2), (4, 2), (3, 1), (3, 2), (2, 0), (1, 0)]


def test_time_left_over_goes_to_all_seeds_of_a_single_finalist_before_any_other() -> None:
    got = _left_over(Plan(RUNGS, 1, MORE_SEEDS + 1), {3_000: [4, 5], None: [5]})
    assert got == [(5, 1), (5, 2), (5, 3), (4, 0), (4, 1), (4, 2), (4, 3)]


def test_time_left_over_goes_to_the_seeds_that_were_asked_for_where_the_plan_had_fewer() -> None:
    got = _left_over(Plan(RUNGS, 1, 2), {3_000: [4, 5], None: [5]}, asked=MORE_SEEDS + 2)
    assert got == [(5, 1), (5, 2), (5, 3), (5, 4), (4, 0), (4, 1)]


def test_a_final_that_a_damaged_ledger_lost_is_trained_and_no_other_seed_twice() -> None:
    pace, ledger = _pace(10_000), InMemoryLedger()
    pace.plan = Plan(RUNGS, 1, 3)
    for seed_index in (0, 2):
        ledger.tell(ledger.ask({}, {"number": 1}, seed_index=seed_index).number, "complete", 0.9)
    wanted = Finals(pace, _tried(pace, ledger, {1_000: [0]}), _same).next(pace.plan)
    assert wanted is not None
    assert (wanted.key, wanted.seed_index) == (_key(1), 1)


def test_time_left_over_is_not_for_a_worse_one_that_merely_takes_less() -> None:
    recipe = read_recipe({"train": {"num_train_epochs": [2, 1]}})
    pace = _pace(150, recipe=recipe)
    ranks = _tried(pace, InMemoryLedger(), {3_000: [0, 1], None: [0, 1]})

    def at(key: str) -> Configuration:
        return recipe.configuration({"train.num_train_epochs": 1 + json.loads(key)["number"]})

    assert pace.allows(at(_key(0)), None)
    assert Finals(pace, ranks, at).more() is None


@pytest.mark.parametrize(
    ("seen", "seconds", "least"), [(8_900, 150, 9_000), (8_900, 99, None), (3_000, 50, 3_300), (3_000, 30, None)]
)
def test_a_final_that_is_cut_short_sees_more_than_was_seen_and_a_whole_pass_need_not(
    seen: int, seconds: float, least: int | None
) -> None:
    pace = _pace(seconds)
    finals = Finals(pace, _tried(pace, InMemoryLedger(), {1_000: [0, 1], seen: [1]}), _same)
    wanted = finals.next(pace.plan)
    if least is None:
        assert wanted is None
    else:
        assert wanted is not None
        assert (wanted.key, wanted.seed_index) == (_key(1), 0)
        assert (wanted.rows or 9_000) >= least


def test_a_final_that_is_cut_short_is_begun_once() -> None:
    pace, ledger = _pace(50), InMemoryLedger()
    wanted = Finals(pace, _tried(pace, ledger, {1_000: [0, 1], 3_000: [1]}), _same).next(pace.plan)
    assert wanted is not None
    assert wanted.rows is not None
    under_way = _tried(pace, ledger, {wanted.rows: [1]}, "running")
    assert Finals(pace, under_way, _same).next(pace.plan) is None


def test_where_nothing_has_a_result_there_is_no_final() -> None:
    pace = _pace(50)
    assert Finals(pace, _tried(pace, InMemoryLedger(), {1_000: [0]}, "failed"), _same).next(pace.plan) is None


@pytest.mark.parametrize("number", [0, 1], ids=["behind", "leading"])
@pytest.mark.parametrize(("state", "is_cut"), [("running", False), ("complete", False), ("failed", True)])
def test_no_final_is_cut_short_beside_one_on_all_rows(state: str, number: int, *, is_cut: bool) -> None:
    pace, ledger = _pace(50), InMemoryLedger()
    _tried(pace, ledger, {3_000: [0, 1]})
    wanted = Finals(pace, _tried(pace, ledger, {None: [number]}, state), _same).next(pace.plan)
    assert (wanted is not None) == is_cut
    assert wanted is None or wanted.key == _key(1 - number)
