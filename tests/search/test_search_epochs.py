"""Epochs by the clock: a finalist uses its share of the time, whatever its rows cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.recipe import Configuration, Recipe, read_recipe
from loraloom.search.clock import Clock
from loraloom.search.costs import Costs, Measured, cost_key
from loraloom.search.finals import WORTH, Finals
from loraloom.search.ladder import REDUCTION_FACTOR
from loraloom.search.outlook import look_ahead
from loraloom.search.pace import Pace
from loraloom.search.passes import EPOCHS, FITTED_EPOCHS, MOST_EPOCHS, most_passes, with_epochs
from loraloom.search.passes import passes as passes_in_time
from loraloom.search.plan import (
    BEGUN_APART,
    CLOCKED_SHARE,
    FEWEST_ROWS,
    FINALS_SHARE,
    LEADING_SHARE,
    Plan,
    as_begun,
    fitted,
    foreseen,
    is_hurried,
    make_plan,
    recounted,
)
from loraloom.search.points import ledger_params
from loraloom.search.presets import in_order, preset_points
from loraloom.search.presets import leading as how_many_lead
from loraloom.search.proposals import Proposals
from loraloom.search.ranks import Ranks
from loraloom.search.replanning import MORE_ROWS, extended, planned_anew
from loraloom.search.space import default_space
from loraloom.search.task import Task
from loraloom.search.tried import Tried
from loraloom.study.ledger import Entry
from tests.search.in_memory import InMemoryLedger

EVAL_ROWS = 500
SMALL, LARGE = "small", "large"


def _recipe(**search: Any) -> Recipe:
    axes = {"backbone": {"model": [SMALL, LARGE]}, "lora": {"target_modules": ["all-linear", None]}}
    return read_recipe({**axes, "search": {"epochs": "clock", "sampler": "auto", **search}})


def _costs(recipe: Recipe, encoding: float = 0.0) -> Costs:
    """A row of the large model is eight times as dear, one with all layers adapted half as dear again.

    The token ids of a row take `encoding` seconds, once.
    """
    found = []
    for kind in Task(recipe, 1, 1, 2, None).kinds:
        key = cost_key(kind)
        row = (0.008 if key.model == LARGE else 0.001) * (1.5 if key.adapted.startswith("all") else 1)
        times: dict[str, Any] = {"train_row_seconds": row, "eval_row_seconds": row / 3, "beside_seconds": 0.5}
        found.append(Measured(**key._asdict(), **times, encode_row_seconds=encoding))
    return Costs(found)


def _plan(rows: int, seconds: float, **search: Any) -> tuple[Plan, Task, Costs]:
    recipe = _recipe(**search)
    task, costs = Task(recipe, rows, EVAL_ROWS, 4, None), _costs(recipe)
    return make_plan(task, costs, seconds, slots=1), task, costs


def _seconds(plan: Plan, task: Task, costs: Costs) -> list[float]:
    return [costs.seconds(plan.planned(kind, None), task.rows(plan.top), EVAL_ROWS) for kind in task.kinds]


@given(st.integers(2_000, 200_000), st.floats(60, 20_000))
def test_every_kind_of_finalist_ends_in_the_share_of_the_finals(rows: int, seconds: float) -> None:
    plan, task, costs = _plan(rows, seconds)
    assert plan.epochs is not None
    share = 1 if len(plan.rungs) == 1 else CLOCKED_SHARE
    for taken, passes in zip(_seconds(plan, task, costs), plan.epochs.values(), strict=True):
        assert taken <= 1.001 * share * seconds or passes == EPOCHS[-1]


@pytest.mark.parametrize("rows", [20_000, 1_000_000])
def test_a_finalist_ends_in_its_share_with_the_token_ids_that_it_makes_for_all(rows: int) -> None:
    recipe = _recipe()
    task, costs = Task(recipe, rows, EVAL_ROWS, 4, None), _costs(recipe, 0.002)
    plan = make_plan(task, costs, 300, slots=1)
    trained, validated = task.rows(plan.top), task.validated(plan.top)
    for kind in task.kinds:
        final = plan.planned(kind, plan.top)
        taken = costs.seconds(final, trained, validated) + costs.shared_seconds(final, trained, validated)
        assert taken <= 1.001 * CLOCKED_SHARE * 300


@pytest.mark.parametrize("seconds", [0, 5, 30, 120, 600, 10_000])
def test_a_kind_has_the_most_passes_that_end_in_its_time_and_the_fewest_where_none_do(seconds: float) -> None:
    rows, recipe = 20_000, _recipe()
    task, costs = Task(recipe, rows, EVAL_ROWS, 4, None), _costs(recipe)
    found = passes_in_time(task, costs, rows, seconds)
    for kind in task.kinds:
        worth = [epochs for epochs in EPOCHS if epochs <= most_passes(rows)]
        ending = [epochs for epochs in worth if costs.seconds(with_epochs(kind, epochs), rows, EVAL_ROWS) <= seconds]
        assert found[cost_key(kind)] == max(ending, default=EPOCHS[-1])


@pytest.mark.parametrize(
    ("rows", "seconds", "slots", "seeds"),
    [(20_000, 120, 1, 1), (300, 600, 1, 3), (300, 330, 1, 3), (20_000, 120, 3, 3)],
)
def test_one_configuration_has_all_the_time_since_there_is_nothing_to_choose(
    rows: int, seconds: int, slots: int, seeds: int
) -> None:
    recipe = _recipe(n_trials=1)
    task, costs = Task(recipe, rows, EVAL_ROWS, 4, 1), _costs(recipe)
    plan = make_plan(task, costs, seconds, slots)
    assert (plan.rungs, plan.finalists, plan.seeds) == ((None,), 1, seeds)
    assert plan.epochs == passes_in_time(task, costs, rows, seconds - BEGUN_APART * (slots - 1), FITTED_EPOCHS)
    assert recounted(plan, task, costs, seconds, slots) == plan  # once its first trial has ended


@pytest.mark.parametrize("seconds", range(14, 26))
def test_seeds_that_fill_the_time_side_by_side_are_all_begun(seconds: int) -> None:
    """Each is asked for a moment after the one before it, when there is less time than it was planned with."""
    recipe, at, ledger = _recipe(n_trials=1, seeds=3), [0.0], InMemoryLedger()

    def now() -> float:
        at[0] += 0.2
        return at[0]

    pace = Pace(clock=Clock(seconds, now, reserve=0.0), costs=_costs(recipe), slots=3)
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    pace.task = Task(recipe, 4_000, EVAL_ROWS, 4, proposals.listing.configurations, proposals.listing.leading)
    assert pace.clock.training_seconds_left is not None
    pace.plan = make_plan(pace.task, pace.costs, pace.clock.training_seconds_left, pace.slots)
    assert pace.plan.seeds == 3
    begun = [proposals.next() for _ in range(4)]
    assert [one and one.configuration.train.seed for one in begun] == [42, 43, 44, None]


def test_the_cheaper_a_row_is_the_more_passes_it_gets() -> None:
    plan, task, costs = _plan(20_000, 120)
    passes = {cost_key(kind)[:2]: plan.planned(kind, None).train.num_train_epochs for kind in task.kinds}
    assert passes == {
        (SMALL, "all-linear"): 2.5,
        (SMALL, "None"): 3,
        (LARGE, "all-linear"): 0.25,
        (LARGE, "None"): 0.4,
    }
    assert min(_seconds(plan, task, costs)) > 0.7 * max(_seconds(plan, task, costs))
    assert plan.top is None


def test_lower_rungs_have_as_many_passes_as_the_finals() -> None:
    plan, task, _ = _plan(20_000, 120)
    kind = task.kinds[0]
    assert plan.planned(kind, plan.rungs[0]).train.num_train_epochs == plan.planned(kind, None).train.num_train_epochs


@pytest.mark.parametrize(
    ("field", "inner"), [("train.per_device_train_batch_size", (8, 16, 32)), ("data.max_length", (64, 96, 128))]
)
def test_within_a_range_a_row_has_as_many_passes_as_those_that_are_most_like_it(
    field: str, inner: tuple[int, ...]
) -> None:
    section, leaf = field.split(".")
    axes = {"backbone": {"model": [SMALL, LARGE]}, "lora": {"target_modules": ["all-linear", None]}}
    axes[section] = {leaf: {"min": inner[0], "max": inner[-1]}}
    recipe = read_recipe({**axes, "search": {"epochs": "clock", "sampler": "auto"}})
    plan = make_plan(Task(recipe, 20_000, EVAL_ROWS, 4, None), _costs(recipe), 120, slots=1)
    for model, adapted, passes in ((SMALL, "all-linear", 2.5), (SMALL, None, 3), (LARGE, None, 0.4)):
        point = {"backbone.model": model, "lora.target_modules": adapted}
        for value in inner:
            configuration = recipe.configuration({**point, field: value})
            assert plan.planned(configuration, None).train.num_train_epochs == passes
    muon = recipe.configuration({"backbone.model": SMALL, "train.optim": "muon"})
    assert plan.planned(muon, None).train.num_train_epochs == 2.5  # not planned for: the fewest of its model


def test_what_costs_the_same_is_planned_for_once() -> None:
    recipe = default_space(read_recipe({"search": {"sampler": "auto"}}), deadline=True)
    kinds = Task(recipe, 20_000, EVAL_ROWS, 4, None).kinds
    assert len({cost_key(kind) for kind in kinds}) == len(kinds) == 36  # adam's steps are as dear as adamw's


def test_what_is_foreseen_is_what_the_leading_one_that_sees_the_fewest_sees_in_a_final() -> None:
    recipe = _recipe()
    small, large = (recipe.configuration({"backbone.model": model}) for model in (SMALL, LARGE))
    costs = _costs(recipe)
    for leading, seconds in (((small, large), 300.0), ((small,), 300.0), ((large,), 3_000.0)):
        task = Task(recipe, 20_000, EVAL_ROWS, 4, None, leading)
        plan = make_plan(task, costs, seconds, slots=1)
        seen = [20_000 * plan.planned(one, None).train.num_train_epochs for one in leading]
        assert foreseen(task, costs, seconds, leading) == min(seen)
    assert foreseen(task, costs, 300.0, ()) == 0
    assert foreseen(task, costs, None, (small,)) == 20_000
    by_recipe = replace(task, recipe=_recipe(epochs="recipe"))
    assert foreseen(by_recipe, costs, 3_000.0, (small,)) == 20_000 < foreseen(task, costs, 3_000.0, (small,))


@pytest.mark.parametrize("rows", [100_000, 2_000_000])
@pytest.mark.parametrize("seconds", [0.0, 20.0, 200.0])
def test_no_more_is_foreseen_than_ends_in_time_where_that_is_less_than_the_fewest_passes(
    rows: int, seconds: float
) -> None:
    recipe = read_recipe({"search": {"epochs": "clock", "sampler": "auto"}})
    task, costs = Task(recipe, rows, EVAL_ROWS, 2, None), Costs([Measured("roberta-base", 128, 16, 0.05, 0.001, 0.5)])
    assert foreseen(task, costs, seconds, task.kinds) <= max(FEWEST_ROWS, seconds / 0.05)


def test_more_time_than_passes_can_use_goes_to_finalists_and_seeds() -> None:
    plan, _, _ = _plan(16_000, 20_000, seeds=3)
    assert plan.epochs is not None
    assert set(plan.epochs.values()) == {MOST_EPOCHS}
    assert (plan.finalists, plan.seeds) == (3, 3)


@pytest.mark.parametrize(("rows", "most"), [(500, 16), (2_000, 8), (16_000, 4), (20_000, 3.2), (80_000, 2)])
def test_the_more_rows_there_are_the_fewer_passes_are_worth_their_time(rows: int, most: float) -> None:
    assert most_passes(rows) == most
    plan, _, _ = _plan(rows, 10 * rows)
    assert plan.epochs is not None
    assert set(plan.epochs.values()) == {max(epochs for epochs in EPOCHS if epochs <= most)}


def test_a_run_that_goes_on_with_more_time_has_rungs_above_those_it_had() -> None:
    kept, task, costs = _plan(1_000_000, 100)
    assert extended(kept, task, costs, 100, slots=1) == kept
    assert extended(kept, task, costs, 0.1, slots=1) == kept
    assert make_plan(task, costs, 120, slots=1).rungs != kept.rungs  # for a few more rows no final is trained anew
    assert extended(kept, task, costs, 120, slots=1).rungs == kept.rungs
    longer = extended(kept, task, costs, 50_000, slots=1)
    assert longer.rungs[: len(kept.rungs)] == kept.rungs
    sizes = [task.rows(rung) for rung in longer.rungs]
    assert sizes[-1] == 1_000_000
    assert longer.epochs == make_plan(task, costs, 50_000, slots=1).epochs != kept.epochs
    assert extended(kept, task, costs, None, slots=1).epochs == kept.epochs  # no clock says how many
    assert all(REDUCTION_FACTOR - 0.01 < more / fewer <= REDUCTION_FACTOR**2 for fewer, more in pairwise(sizes))


def test_a_search_under_way_has_no_final_of_so_many_rows_that_it_takes_all_the_time() -> None:
    """Costs fall: begun now, the first would have all the time, of which a part is used."""
    recipe = default_space(read_recipe({"backbone": {"model": SMALL}, "search": {"sampler": "auto"}}), deadline=True)
    leading = tuple(map(recipe.configuration, preset_points(recipe, lambda _: None)[:2]))
    task = Task(recipe, 50_000, EVAL_ROWS, 8, None, leading)

    def costs(row: float) -> Costs:
        times: dict[str, Any] = {"train_row_seconds": row, "eval_row_seconds": row / 3, "beside_seconds": 0.5}
        return Costs([Measured(**cost_key(kind)._asdict(), **times) for kind in task.kinds])

    before, now = costs(0.057), costs(0.0456)
    kept, new = make_plan(task, before, 200, slots=1), make_plan(task, now, 200, slots=1)
    assert (len(kept.rungs), len(new.rungs), new.finalists) == (3, 1, 1)
    assert task.rows(new.top) >= MORE_ROWS * task.rows(kept.top)
    found = planned_anew(kept, new, task, now, 200, begun=False)
    assert found.rungs == kept.rungs
    assert found.epochs == passes_in_time(task, now, task.rows(kept.top), CLOCKED_SHARE * 200)


def test_where_nothing_that_was_tried_is_a_candidate_the_passes_are_those_of_one_final() -> None:
    plan, task, costs = _plan(2_000, 20_000)
    assert plan.finalists == 3
    for candidates, finals in ((0, 1), (1, 1), (2, 2), (5, 3)):
        each = 300 / (finals * plan.seeds)
        found = fitted(plan, task, costs, 300, slots=1, candidates=candidates)
        assert found.epochs == passes_in_time(task, costs, 2_000, each, FITTED_EPOCHS)


@pytest.mark.parametrize(("asked", "planned"), [(1, 3), (2, 3), (3, 3), (5, 5)])
def test_finalists_have_more_seeds_than_asked_for_where_the_time_of_finals_allows(asked: int, planned: int) -> None:
    plan, _, _ = _plan(2_000, 20_000, seeds=asked)
    assert (plan.finalists, plan.seeds) == (3, planned)


@pytest.mark.parametrize(
    ("finals", "planned"), [(9.1, (3, 3)), (8.9, (3, 2)), (5.9, (3, 1)), (2.9, (2, 1)), (1.1, (1, 1)), (0.9, (1, 1))]
)
def test_more_seeds_of_all_finalists_come_after_all_finalists(finals: float, planned: tuple[int, int]) -> None:
    plan, task, costs = _plan(2_000, 20_000)
    one = max(_seconds(plan, task, costs))
    found = recounted(plan, task, costs, finals * one / CLOCKED_SHARE, slots=1)
    assert (found.finalists, found.seeds) == planned


def test_a_run_that_goes_on_with_more_time_has_the_finalists_and_seeds_of_it() -> None:
    hurried = Plan((100, 300, None), finalists=1, seeds=1)
    task = Task(read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"seeds": 3}}), 900, EVAL_ROWS, 4, 12)
    costs = Costs([Measured("demo", 256, 16, 0.001, 0.0003, 0.5)])
    longer = extended(hurried, task, costs, None, slots=1)
    assert (longer.rungs, longer.finalists, longer.seeds) == (hurried.rungs, 12, 3)
    on_more_rows = extended(replace(hurried, rungs=(100, 300)), task, costs, None, slots=1)
    assert (on_more_rows.top, on_more_rows.finalists, on_more_rows.seeds) == (None, 12, 3)
    assert extended(replace(hurried, rungs=(100, 800)), task, costs, None, slots=1).top is None
    assert extended(Plan(), task, costs, None, slots=1) == Plan(seeds=3)
    seconds = 8 * costs.seconds(task.dearest(costs), 900, EVAL_ROWS) / FINALS_SHARE
    assert extended(hurried, task, costs, seconds, slots=1) == replace(hurried, finalists=2, seeds=3)


def test_passes_that_are_kept_have_the_finalists_and_seeds_that_more_time_allows_for_with_them() -> None:
    kept, task, costs = _plan(50_000, 300, seeds=3)
    assert (kept.finalists, kept.seeds) == (1, 1)
    assert make_plan(task, costs, 2_900, slots=1).finalists == 1  # with as many passes as fit
    final = max(_seconds(kept, task, costs))
    counts = {9: (3, 3), 6: (2, 3), 4: (1, 3), 2: (1, 2), 1.9: (1, 1)}
    for finals, counted in counts.items():
        longer = extended(kept, task, costs, (finals + 0.01) * final / CLOCKED_SHARE, slots=1)
        assert longer == replace(kept, finalists=counted[0], seeds=counted[1])


def test_few_rows_and_no_time_for_a_second_trial_give_the_first_all_of_it() -> None:
    recipe = read_recipe({"search": {"epochs": "clock", "sampler": "auto"}})
    task, costs = Task(recipe, 300, EVAL_ROWS, 4, None), Costs([Measured("demo", 256, 16, 0.04, 0.013, 2.0)])
    plan = make_plan(task, costs, 60, slots=1)
    assert (plan.rungs, plan.finalists, plan.seeds) == ((None,), 1, 1)
    assert all(0.9 * 60 < one <= 60 for one in _seconds(plan, task, costs))
    assert make_plan(task, costs, 5_000, slots=1).finalists == 3
    assert make_plan(task, costs, 60, slots=4).finalists == 3  # there is room for others beside it


@pytest.mark.parametrize("seconds", [8.0, 9.0, 12.0, 20.0])
def test_where_there_is_time_for_one_trial_on_the_lowest_rung_alone_the_final_has_it(seconds: float) -> None:
    task = Task(_recipe(), 900, EVAL_ROWS, 4, None)
    costs = Costs([Measured("small", 128, 16, 0.004, 0.001, 0.5)])
    plan = make_plan(task, costs, seconds, slots=1)
    final = costs.seconds(plan.planned(task.kinds[0], plan.top), 900, EVAL_ROWS)
    if len(plan.rungs) == 1:
        assert 0.9 * seconds < final <= seconds
    else:
        lowest = costs.seconds(plan.planned(task.kinds[0], plan.rungs[0]), 300, task.validated(300))
        assert final + 2 * lowest <= seconds


@pytest.mark.parametrize(("trials", "alone"), [(1.95, True), (2.05, False), (2.95, False)])
def test_of_so_few_rows_that_they_are_one_rung_two_trials_are_a_choice(trials: float, *, alone: bool) -> None:
    """The final is one of the two; where there is time for both, what is dearer leaves time for another too."""
    recipe = _recipe()
    task, costs = Task(recipe, 300, EVAL_ROWS, 4, None), _costs(recipe)
    whole = [costs.seconds(with_epochs(kind, most_passes(300)), 300, EVAL_ROWS) for kind in task.kinds]
    seconds = trials * min(whole)
    plan = make_plan(task, costs, seconds, slots=1)
    assert (plan.rungs, plan.finalists, plan.seeds) == ((None,), 1, 1)
    shared, all_of_it = passes_in_time(task, costs, 300, CLOCKED_SHARE * seconds), (seconds, FITTED_EPOCHS)
    assert plan.epochs == (passes_in_time(task, costs, 300, *all_of_it) if alone else shared)


@pytest.mark.parametrize(("seconds", "alone"), [(110.0, True), (230.0, True), (290.0, False), (590.0, False)])
def test_the_states_that_are_made_for_all_leave_no_time_for_one_trial_on_the_lowest_rung_alone(
    seconds: float, *, alone: bool
) -> None:
    """Unless the final has all passes that are worth it, and no use for more time."""
    recipe = default_space(read_recipe({"backbone": {"model": SMALL}, "search": {"sampler": "auto"}}), deadline=True)
    first = recipe.configuration(preset_points(recipe, lambda _: None)[0])
    kept: dict[str, Any] = {"layers": "top-half", "dropout": "off", "prefix_row_seconds": 0.004 / 3}
    times: dict[str, Any] = {"train_row_seconds": 0.004, "eval_row_seconds": 0.004 / 3, "beside_seconds": 0.5}
    costs = Costs([Measured(**cost_key(first)._asdict(), **times, **kept)])
    plan = make_plan(Task(recipe, 9_000, 1_000, 77, None, (first,)), costs, seconds, slots=1)
    assert (plan.rungs == (None,)) == alone
    if alone:
        final = costs.seconds(plan.planned(first, None), 9_000, 1_000) + costs.shared_seconds(first, 9_000, 1_000)
        assert final > 0.9 * seconds or plan.planned(first, None).train.num_train_epochs == most_passes(9_000)


def test_models_that_the_budget_excludes_are_not_planned_for() -> None:
    recipe = _recipe()
    both, one = (
        Task(recipe, 1_000, EVAL_ROWS, 4, None),
        Task(recipe, 1_000, EVAL_ROWS, 4, None, fitting=((SMALL, 128),)),
    )
    assert both.dearest(_costs(recipe)).backbone.model == LARGE
    assert one.dearest(_costs(recipe)).backbone.model == SMALL


def test_few_rows_are_seen_more_often_than_many() -> None:
    few, many = _plan(500, 20_000)[0].epochs, _plan(20_000, 20_000)[0].epochs
    assert few is not None
    assert many is not None
    assert min(few.values()) > max(many.values())


def test_where_no_model_sees_all_rows_once_the_fastest_sees_a_part_once() -> None:
    plan, task, _ = _plan(1_000_000, 100)
    assert plan.top is not None
    assert plan.top < 1_000_000
    fastest = next(kind for kind in task.kinds if cost_key(kind)[:2] == (SMALL, "None"))
    assert plan.planned(fastest, plan.top).train.num_train_epochs == 1


def test_without_a_deadline_epochs_are_the_recipes() -> None:
    recipe = _recipe()
    assert make_plan(Task(recipe, 50_000, EVAL_ROWS, 4, None), _costs(recipe), None, slots=1).epochs is None


@pytest.mark.parametrize("seconds", [30.0, 300.0, 3_000.0])
def test_a_plan_made_again_is_the_same(seconds: float) -> None:
    assert _plan(20_000, seconds)[0] == _plan(20_000, seconds)[0]


def _gone_on_with(recipe: Recipe, seconds: float) -> Pace:
    """A search that was planned for 300 seconds, and has `seconds` now."""
    task, costs = Task(recipe, 20_000, EVAL_ROWS, 4, None), _costs(recipe)
    planned = extended(make_plan(task, costs, 300, slots=1), task, costs, seconds, slots=1)
    return Pace(task, planned, Clock(seconds + 2, lambda: 0.0, reserve=2.0), costs)


@pytest.mark.parametrize(("seconds", "begins"), [(6.0, False), (10.0, False), (15.0, True)])
def test_a_part_of_a_pass_is_a_final_only_where_it_sees_more_than_the_rungs_have_seen(
    seconds: float, begins: bool
) -> None:
    recipe = _recipe()
    pace = _gone_on_with(recipe, seconds)
    planned, rung = pace.plan, pace.plan.rungs[-2]
    assert rung == 6_667
    small = recipe.configuration({"backbone.model": SMALL, "lora.target_modules": None})
    ledger: Any = InMemoryLedger()
    ledger.kept = [Entry(place, "complete", {"place": place}, 0, rung, 0.9 - place / 100) for place in range(3)]
    tried = Tried(ledger, 1)
    tried.update()
    pace.fit()
    passes = pace.plan.planned(small, None).train.num_train_epochs
    assert (20_000 * passes > WORTH * 6_667) == begins
    wanted = Finals(pace, Ranks(pace, tried), lambda _: small).next(planned)
    assert (wanted is not None) == begins


@pytest.mark.parametrize(("seconds", "begins"), [(10.0, False), (15.0, True)])
def test_what_a_final_is_to_see_more_than_is_told_by_the_passes_that_the_rungs_had(
    seconds: float, begins: bool
) -> None:
    """And not by those that finals are fitted with: in little time they are few, and any would be more."""
    recipe = _recipe()
    pace, ledger = _gone_on_with(recipe, seconds), InMemoryLedger()
    point = recipe.point({"backbone.model": SMALL}.get)
    ledger.tell(ledger.ask({}, ledger_params(recipe.axes, point), rows=pace.plan.rungs[-2]).number, "complete", 0.9)
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    proposal = proposals.next()
    assert (proposal is not None and proposal.configuration.data.max_train_samples is None) == begins
    assert pace.plan.fitted == begins


def test_a_model_that_leads_has_its_final_though_a_quicker_one_saw_more_of_the_rows_that_both_were_tried_on() -> None:
    """By the clock the quicker one saw all of them, and was behind all the same."""
    recipe = _recipe()
    task, costs = Task(recipe, 20_000, EVAL_ROWS, 4, None), _costs(recipe)
    plan = Plan((6_667, None), 1, 1, passes_in_time(task, costs, 20_000, 84))
    ledger = InMemoryLedger()
    for model, value in ((SMALL, 0.8), (LARGE, 0.9)):
        point = recipe.point({"backbone.model": model, "lora.target_modules": None}.get)
        ledger.tell(ledger.ask({}, ledger_params(recipe.axes, point), rows=6_667).number, "complete", value)
    pace = Pace(task, plan, Clock(60, lambda: 0.0, reserve=2.0), costs)
    proposal = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None)).next()
    assert proposal is not None
    final = proposal.configuration
    assert (final.backbone.model, final.data.max_train_samples) == (LARGE, None)
    assert final.train.num_train_epochs < 6_667 / 20_000 < plan.planned(final, None).train.num_train_epochs


def test_a_final_that_sees_no_more_than_its_rung_is_not_begun_by_time_that_is_left_over() -> None:
    recipe = _recipe()
    task, costs = Task(recipe, 20_000, EVAL_ROWS, 4, None), _costs(recipe)
    large = recipe.configuration({"backbone.model": LARGE, "lora.target_modules": None})
    plan = Plan((19_000, None), 1, 1, {cost_key(large): 0.5})
    ledger: Any = InMemoryLedger()
    ledger.kept = [Entry(0, "complete", {"place": 0}, 0, 19_000, 0.9)]
    pace = Pace(task, plan, Clock(95, lambda: 0.0, reserve=0.0), costs)
    tried = Tried(ledger, 1)
    tried.update()
    finals = Finals(pace, Ranks(pace, tried), lambda _: large)
    assert pace.allows(large, None)
    assert (finals.next(plan), finals.more()) == (None, None)


def test_once_one_final_has_seen_a_part_the_others_are_compared_with_it_on_as_much() -> None:
    recipe = _recipe()
    task, costs = Task(recipe, 20_000, EVAL_ROWS, 4, None), _costs(recipe)
    plan = Plan((6_667, None), 2, 1, {cost_key(kind): 0.5 for kind in task.kinds})
    ledger: Any = InMemoryLedger()
    ledger.kept = [Entry(place, "complete", {"place": place}, 0, 6_667, 0.9 - place / 100) for place in range(3)]
    ledger.kept.append(Entry(3, "complete", {"place": 0}, 0, None, 0.92))
    tried = Tried(ledger, 1)
    tried.update()
    pace = Pace(task, plan, Clock(1_000, lambda: 0.0), costs)
    wanted = Finals(pace, Ranks(pace, tried), lambda _: task.kinds[0]).next(plan)
    assert wanted is not None
    assert (wanted.key, wanted.rows) == ('{"place": 1}', None)


def test_a_single_configuration_that_goes_on_has_the_seeds_that_there_is_time_for() -> None:
    recipe = read_recipe({"search": {"seeds": 3, "pruner": "none"}})
    task, costs = Task(recipe, 1_000, EVAL_ROWS, 4, 1), _costs(_recipe())
    kept = Plan((None,), None, 2)
    assert extended(kept, task, costs, None, slots=1).seeds == 3


def test_once_the_search_has_ended_the_finals_have_the_passes_of_all_that_is_left() -> None:
    plan, task, costs = _plan(20_000, 100)
    longer = fitted(plan, task, costs, 93, 1)
    assert plan.epochs is not None
    assert longer.epochs is not None
    assert all(longer.epochs[key] > epochs for key, epochs in plan.epochs.items())
    assert max(_seconds(longer, task, costs)) <= 93
    assert max(_seconds(fitted(plan, task, costs, 50, 1), task, costs)) <= 50
    for finalists, seeds, slots, rounds in ((3, 1, 3, 1), (3, 1, 1, 3), (2, 3, 4, 2)):
        seconds = 93 * rounds + BEGUN_APART * (min(finalists * seeds, slots) - 1)
        several = fitted(replace(plan, finalists=finalists, seeds=seeds), task, costs, seconds, slots)
        assert several.epochs == longer.epochs
    few = replace(plan, finalists=3)
    assert fitted(few, task, costs, 93, 1, candidates=1).epochs == longer.epochs
    assert fitted(few, task, costs, 93, 1, candidates=5) == fitted(few, task, costs, 93, 1)
    by_the_recipe = replace(plan, epochs=None)
    assert fitted(by_the_recipe, task, costs, 93, 1) == by_the_recipe


@pytest.mark.parametrize("begun", [False, True])
def test_finals_have_as_many_passes_as_the_one_that_was_begun(*, begun: bool) -> None:
    plan, task, costs = _plan(20_000, 100)
    pace = Pace(task, plan, Clock(200, lambda: 0.0), costs, final_begun=begun)
    pace.fit()
    assert (pace.plan == plan) == begun


def test_a_trial_goes_on_with_the_passes_it_was_begun_with_if_it_is_the_same_one() -> None:
    now = read_recipe({}).configuration({}).with_fields(train={"num_train_epochs": 2, "bf16": False})
    begun = now.with_fields(train={"num_train_epochs": 5, "eval_strategy": "end", "bf16": "auto"})
    assert as_begun(now, begun) == begun.with_fields(train={"bf16": False})
    assert as_begun(now, begun.with_fields(lora={"r": 3})) == now
    assert as_begun(now, begun.with_fields(train={"learning_rate": 0.5})) == now


# The presets that lead


@pytest.mark.parametrize(("seconds", "slots", "encoding"), [(3_600, 1, 0.0), (1_800, 2, 0.0), (900, 2, 0.002)])
def test_leading_presets_are_compared_on_as_many_rows_as_their_share_of_the_time_allows(
    seconds: float, slots: int, encoding: float
) -> None:
    """Of the time of all that are trained at once, token ids of a rung's rows included."""
    recipe = _recipe()
    leading = tuple(map(recipe.configuration, preset_points(recipe, lambda _: None)[:3]))
    task, costs = Task(recipe, 76_000, EVAL_ROWS, 4, None, leading), _costs(recipe, encoding)
    plan, share = make_plan(task, costs, seconds, slots), LEADING_SHARE * slots * seconds
    assert 0 < plan.leading_rung < len(plan.rungs) - 1

    def taken(number: int) -> float:
        rung = plan.rungs[number]
        rows, validated = task.rows(rung), task.validated(rung)
        planned = [plan.planned(one, rung) for one in leading]
        return sum(costs.seconds(one, rows, validated) + costs.shared_seconds(one, rows, validated) for one in planned)

    assert taken(plan.leading_rung) <= share
    assert plan.leading_rung + 2 == len(plan.rungs) or taken(plan.leading_rung + 1) > share


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize(
    ("rows", "rungs", "seconds", "compares"), [(4_917, 4, 67, False), (4_917, 4, 600, True), (1_639, 3, 40, False)]
)
def test_presets_are_not_compared_on_a_rung_of_very_few_rows_and_the_first_has_the_time(
    models: int, rows: int, rungs: int, seconds: float, *, compares: bool
) -> None:
    """Of 183 rows of 4,917 the leader was luck. Which of two models leads is still asked, as where rungs are fewer."""
    given = [SMALL, LARGE][:models]
    recipe = default_space(read_recipe({"backbone": {"model": given}, "search": {"sampler": "auto"}}), deadline=True)
    leading = tuple(map(recipe.configuration, preset_points(recipe, lambda _: None)[: 2 * models]))
    task = Task(recipe, rows, EVAL_ROWS, 8, None, leading)
    cost: dict[str, Any] = {
        "train_row_seconds": 0.01,
        "eval_row_seconds": 0.003,
        "beside_seconds": 0.5,
        "encode_row_seconds": 0.0,
    }
    costs = Costs([Measured(**cost_key(kind)._asdict(), **cost) for kind in task.kinds])
    plan = make_plan(task, costs, seconds, slots=1)
    if models == 1 and rungs == 4 and not compares:
        assert (len(plan.rungs), plan.finalists, plan.seeds) == (1, 1, 1)
        assert plan.epochs is not None
        assert 0.9 * seconds < 1.1 * task.rows(plan.top) * 0.01 * min(plan.epochs.values()) + 2 < seconds
    else:
        assert len(plan.rungs) == rungs
        assert (plan.leading_rung > 0) >= compares


def _of_layers(
    rows: int, given: dict[str, Any], *, every_layer_first: bool, states: float = 0.0, every_layers_rank: int = 16
) -> tuple[Task, Costs]:
    """The default space as far as `given` leaves it; a row of every layer is twice as dear as one of the upper half.

    The states of the lower half take so many seconds a row, once. With every layer no higher a rank fits.
    """

    def fits(one: Configuration) -> str | None:
        return "too many" if one.lora.layers_to_transform is None and one.lora.r > every_layers_rank else None

    asked = read_recipe(
        {"backbone": {"model": SMALL}, **given, "search": {"sampler": "auto", **given.get("search", {})}}
    )
    recipe = default_space(asked, deadline=True)
    points = preset_points(recipe, fits, in_order(every_layer_first=every_layer_first))
    task = Task(recipe, rows, EVAL_ROWS, 4, None, tuple(map(recipe.configuration, points[: how_many_lead(points)])))
    row: dict[str, Any] = {"eval_row_seconds": 0.001, "beside_seconds": 0.5}
    kept: dict[str, Any] = {"layers": "top-half", "dropout": "off", "prefix_row_seconds": states}
    costs = Costs(
        Measured(
            **cost_key(kind)._asdict(),
            **row,
            **(kept if states and "top-half off" in cost_key(kind).adapted else {}),
            train_row_seconds=0.004 if "top-half" in cost_key(kind).adapted else 0.008,
        )
        for kind in task.kinds
    )
    return task, costs


@pytest.mark.parametrize(
    ("given", "every_layer_first", "seconds", "slots", "alone"),
    [
        ({}, True, 600, 1, True),
        ({}, False, 600, 1, False),
        ({}, True, 1_500, 1, True),  # 1,340 of which two passes take, all that are worth it
        ({}, True, 1_700, 1, False),
        ({}, True, 600, 2, False),
        ({"search": {"n_trials": 12}}, True, 600, 1, False),
        ({"search": {"pruner": "halving"}}, True, 600, 1, False),
        ({"lora": {"r": [2, 4]}}, True, 600, 1, False),
        ({"lora": {"r": 16}, "train": {"optim": "adamw"}}, True, 600, 1, True),
        ({"train": {"lr_scheduler_type": "linear"}}, True, 600, 1, True),
        ({"lora": {"layers_to_transform": None}}, True, 600, 1, False),
        ({"lora": {"layers_to_transform": [None, "top-half"]}}, True, 600, 1, False),
        ({"backbone": {"model": [SMALL, LARGE]}}, True, 600, 1, False),
    ],
)
def test_every_layer_has_all_the_time_where_more_passes_are_worth_more_than_a_choice(
    given: dict[str, Any], seconds: float, slots: int, *, every_layer_first: bool, alone: bool
) -> None:
    task, costs = _of_layers(76_000, given, every_layer_first=every_layer_first)
    plan = make_plan(task, costs, seconds, slots)
    assert (len(plan.rungs) == 1) is alone
    if alone:
        planned = plan.planned(task.leading[0], None)
        assert (plan.top, planned.lora.layers_to_transform) == (None, None)
        assert 0.88 * seconds < costs.seconds(planned, 76_000, EVAL_ROWS) <= seconds


@pytest.mark.parametrize(
    ("rank", "seconds", "alone"),
    [
        (16, 600, False),
        (8, 600, True),  # of 670 which two passes take
        (8, 900, False),
        (8, 70, True),  # 11,000 examples
        (8, 45, False),  # 7,000, fewer than 2,000 of each of four classes
    ],
)
def test_the_upper_half_has_all_the_time_where_the_cap_leaves_every_layer_a_lower_rank(
    rank: int, seconds: float, *, alone: bool
) -> None:
    task, costs = _of_layers(76_000, {}, every_layer_first=False, every_layers_rank=rank)
    assert is_hurried(task, costs, seconds, 1) is alone
    if alone:
        planned = make_plan(task, costs, seconds, 1).planned(task.leading[0], None)
        assert (planned.lora.r, planned.lora.layers_to_transform) == (16, "top-half")


@pytest.mark.parametrize("rows", [1_500, 4_000, 17_000, 20_000, 30_000, 76_000])
def test_every_layer_leaves_time_for_a_choice_where_it_has_all_the_passes_that_are_worth_it(rows: int) -> None:
    task, costs = _of_layers(rows, {}, every_layer_first=True)
    final = task.leading[0].with_fields(train={"num_train_epochs": most_passes(rows)})
    takes = costs.seconds(final, rows, EVAL_ROWS)
    assert is_hurried(task, costs, takes, 1)
    assert not is_hurried(task, costs, 1.2 * takes, 1)


@pytest.mark.parametrize("seconds", [200, 600, 1_200])
def test_every_layer_is_the_one_that_has_all_the_time_where_that_does_for_a_part_of_a_pass_too(seconds: float) -> None:
    task, costs = _of_layers(76_000, {}, every_layer_first=True)
    pace = Pace(task, make_plan(task, costs, seconds, slots=1), Clock(seconds, lambda: 0.0, reserve=0.0), costs)
    proposals = Proposals(task.recipe, cast(Any, InMemoryLedger()), lambda _: None, pace, rows=(None, None))
    proposals.listing.foresee(0.0, every_layer_first=True)
    proposal = proposals.next()
    assert proposal is not None
    assert proposal.configuration.lora.layers_to_transform is None
    passes = [pace.plan.planned(one, pace.plan.top).train.num_train_epochs for one in task.leading]
    assert (passes[0] < 1 <= passes[1]) is (seconds < 1_000)
    assert look_ahead(pace, None, tried=0, ended=0).passes == (passes[0], passes[0])


@pytest.mark.parametrize("seconds", [1_700, 1_800, 2_000])
def test_what_every_layer_is_compared_with_has_time_though_its_states_would_take_a_while_on_all_rows(
    seconds: float,
) -> None:
    task, costs = _of_layers(76_000, {}, every_layer_first=True, states=0.008)
    at, ledger = [0.0], InMemoryLedger()
    pace = Pace(task, make_plan(task, costs, seconds, slots=1), Clock(seconds, lambda: at[0], reserve=0.0), costs)
    assert pace.plan.leading_rung > 0
    proposals = Proposals(task.recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    proposals.listing.foresee(0.0, every_layer_first=True)
    layers = []
    for value in (0.9, 0.8):
        proposal = proposals.next()
        assert proposal is not None
        layers.append(proposal.configuration.lora.layers_to_transform)
        at[0] += pace.seconds(proposal.configuration, proposal.configuration.data.max_train_samples)
        ledger.tell(proposal.number, "complete", value)
    assert layers == [None, "top-half"]


def test_where_few_are_held_out_nothing_takes_the_place_of_what_leads_and_has_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, costs = _of_layers(76_000, {}, every_layer_first=True)
    pace, ledger = Pace(task, Plan((2_000, None), 1), Clock(1_000, lambda: 0.0), costs), InMemoryLedger()
    proposals = Proposals(task.recipe, cast(Any, ledger), lambda _: None, pace, rows=(76_000, 40))
    proposals.listing.foresee(0.0, every_layer_first=True)
    monkeypatch.setattr(Pace, "allows", lambda _, one, *__: one.lora.layers_to_transform is None)
    tried = []
    for value in (0.9, 0.8, 0.7):
        if (proposal := proposals.next()) is not None:
            tried.append((proposal.configuration.head.kind, proposal.configuration.data.max_train_samples))
            ledger.tell(proposal.number, "complete", value)
    assert tried == [("linear", 2_000), *[("linear", None)] * 2]  # a final, and a seed of it


def test_one_that_leads_alone_begins_with_all_others() -> None:
    recipe = read_recipe({"lora": {"r": [4, 8]}, "search": {"epochs": "clock", "sampler": "auto"}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.001, 0.0003, 0.5)])
    for leading in ((), (recipe.configuration({}),)):
        assert make_plan(Task(recipe, 50_000, EVAL_ROWS, 4, None, leading), costs, 300, slots=1).leading_rung == 0


def test_what_leads_begins_on_its_rung_and_all_else_on_the_lowest() -> None:
    recipe = _recipe()
    task = Task(recipe, 3_000, EVAL_ROWS, 4, None, (recipe.configuration({}),) * 2)
    pace = Pace(task=task, plan=Plan((100, 300, 900, None), 1, leading_rung=2))
    assert [pace.first_rung(place) for place in range(4)] == [2, 2, 0, 0]
    pace.plan = Plan((100, 300, 900, None), 1)
    assert [pace.first_rung(place) for place in range(4)] == [0, 0, 0, 0]


def _searched(
    models: list[str],
    value: Callable[[Configuration, int | None], float],
    rows: int = 76_000,
    seconds: float = 3_600,
    tick: float = 0.0,
    failing: int = 0,
) -> tuple[list[tuple[Configuration, int | None]], Pace]:
    """A search in which nothing is trained: its trials with their rows. A look at the clock takes `tick` seconds.

    So many finals fail when they have taken a tenth of their time.
    """
    recipe = default_space(read_recipe({"backbone": {"model": models}, "search": {"sampler": "auto"}}), deadline=True)
    at, ledger = [0.0], InMemoryLedger()

    def now() -> float:
        at[0] += tick
        return at[0]

    pace = Pace(clock=Clock(seconds, now, reserve=5.0))
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    pace.task = Task(recipe, rows, EVAL_ROWS, 4, None, proposals.listing.leading)
    pace.costs = _costs(_recipe())
    pace.plan = make_plan(pace.task, pace.costs, pace.clock.training_seconds_left, slots=1)
    begun: list[tuple[Configuration, int | None]] = []
    while (proposal := proposals.next()) is not None:
        configuration, part = proposal.configuration, proposal.configuration.data.max_train_samples
        begun.append((configuration, part))
        if failing and part is None:
            failing -= 1
            at[0] += 0.1 * pace.seconds(configuration, part)
            ledger.tell(proposal.number, "failed", None)
            continue
        at[0] += pace.seconds(configuration, part)
        ledger.tell(proposal.number, "complete", value(configuration, part))
    assert at[0] < seconds
    return begun, pace


@pytest.mark.parametrize("seconds", [40.0, 60.0, 90.0, 120.0])
def test_a_final_that_fills_what_is_left_has_all_rows_though_planning_took_its_time(seconds: float) -> None:
    begun, pace = _searched([SMALL], lambda one, _: 0.9 - one.train.learning_rate, 1_125, seconds, tick=0.2)
    parts = {part for _, part in begun}
    assert None in parts
    assert parts <= set(pace.plan.rungs)  # and no final lacks a row or two
    fewest = min(one.train.num_train_epochs for one, _ in begun)
    assert fewest >= 0.5 * max(one.train.num_train_epochs for one, _ in begun)


def test_where_no_final_is_begun_the_rungs_keep_their_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_to: list[float] = []
    fit = Pace.fit

    def noted(pace: Pace, candidates: int) -> None:
        fit(pace, candidates)
        fitted_to.extend((pace.plan.epochs or {}).values())

    monkeypatch.setattr(Pace, "fit", noted)
    monkeypatch.setattr(Finals, "next", lambda *_: None)
    monkeypatch.setattr(Finals, "more", lambda _: None)
    begun, _ = _searched([SMALL], lambda one, _: 0.9 - one.train.learning_rate, 20_000, 300)
    passes = {(one.lora.layers_to_transform, one.train.num_train_epochs) for one, _ in begun}
    assert len(passes) == len({layers for layers, _ in passes})
    assert set(fitted_to) - {epochs for _, epochs in passes}


def test_a_final_that_fails_leaves_its_time_to_another_on_all_rows() -> None:
    begun, pace = _searched([SMALL], lambda one, _: 0.9 - one.train.learning_rate, seconds=300, failing=1)
    finals = [one for one, part in begun if part is None]
    assert len(finals) >= 2
    assert finals[1] != finals[0]
    assert pace.seconds_left is not None
    assert pace.seconds_left < 0.1 * 300


def test_a_final_that_is_cut_short_is_validated_on_as_many_rows_as_trials_on_a_part_are() -> None:
    recipe = read_recipe({})
    costs = Costs([Measured("roberta-base", 128, 16, 0.004, 0.0015, 0.5)])
    task = Task(recipe, 300_000, 30_000, 4, 36)
    pace = Pace(task, Plan((1_000, 3_000, 9_000), 1, 1), Clock(45, lambda: 0.0, reserve=2.0), costs)
    rows = pace.most_rows(recipe.configuration({}), 9_000)
    assert 4_000 < rows < 9_000
    assert pace.allows(recipe.configuration({}), rows)
    assert not pace.allows(recipe.configuration({}), rows + 100)


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_the_first_trial_on_all_rows_says_how_many_passes_the_others_have(sampler: str) -> None:
    recipe = _recipe(sampler=sampler)
    pace = Pace(Task(recipe, 300, EVAL_ROWS, 4, None), costs=_costs(recipe))
    pace.plan = Plan((None,), 1, epochs={cost_key(kind): 4.0 for kind in pace.task.kinds} if pace.task else None)
    assert Proposals(recipe, cast(Any, InMemoryLedger()), lambda _: None, pace, rows=(None, None)).next() is not None
    assert pace.final_begun


@pytest.mark.parametrize("better", [SMALL, LARGE])
def test_a_search_compares_models_first_and_trains_the_better_one_on_all_rows(better: str) -> None:
    def value(one: Configuration, rows: int | None) -> float:
        return 0.9 + 0.02 * (one.backbone.model == better) + 1e-7 * (rows or 76_000)

    begun, pace = _searched([SMALL, LARGE], value)
    on = pace.plan.rungs[pace.plan.leading_rung]
    assert [(one.backbone.model, rows) for one, rows in begun[:3]] == [(SMALL, on), (LARGE, on), (SMALL, on)]
    assert begun[3][1] == pace.plan.rungs[0]
    assert (better, None) in [(one.backbone.model, rows) for one, rows in begun]


@pytest.mark.parametrize("seconds", [300.0, 3_000.0])
def test_of_those_that_lead_what_sees_all_rows_comes_before_what_sees_a_part(seconds: float) -> None:
    begun, pace = _searched([LARGE, SMALL], lambda *_: 0.9, rows=30_000, seconds=seconds)
    assert pace.task is not None
    passes = {one.backbone.model: one.train.num_train_epochs for one, _ in begun[:2]}
    assert (passes[LARGE] < 1) == (seconds < 3_000)
    first, second = (SMALL, LARGE) if seconds < 3_000 else (LARGE, SMALL)
    assert [one.backbone.model for one, _ in begun[:2]] == [first, second]


@pytest.mark.parametrize("better", ["top-half", None])
def test_two_presets_are_told_apart_on_many_rows_where_few_would_mislead(better: str | None) -> None:
    def value(one: Configuration, rows: int | None) -> float:
        on_many = (rows or 76_000) > 5_000
        return 0.9 + 0.01 * (one.lora.layers_to_transform == better) * (1 if on_many else -1)

    begun, pace = _searched([LARGE], value)
    on = pace.plan.rungs[pace.plan.leading_rung]
    assert on is not None
    assert on > 5_000
    assert [(one.lora.layers_to_transform, rows) for one, rows in begun[:2]] == [("top-half", on), (None, on)]
    assert next(one.lora.layers_to_transform for one, rows in begun if rows is None) == better
