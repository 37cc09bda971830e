"""Whole searches against a clock that the test moves: what a trial takes is known, nothing is trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.errors import BudgetError
from loraloom.recipe import Choices, Configuration, Recipe, read_recipe
from loraloom.recipe.fields import MORE_SEEDS
from loraloom.search.clock import Clock
from loraloom.search.costs import Costs, Measured, cost_key
from loraloom.search.finals import Finals, Wanted
from loraloom.search.outlook import look_ahead
from loraloom.search.pace import LeftOut, Pace
from loraloom.search.plan import FEWEST_ROWS, FINALISTS, SHARED_PARTS, NoTrialFitsError, Plan, make_plan
from loraloom.search.points import point_key
from loraloom.search.proposals import Proposal, Proposals
from loraloom.search.ranks import Ranks
from loraloom.search.space import default_space
from loraloom.search.task import Task
from loraloom.search.tried import Tried
from loraloom.study.ledger import Entry
from tests.search.in_memory import InMemoryLedger

EVAL_ROWS = 300
ROW_SECONDS, EVAL_SECONDS, BESIDE = 0.004, 0.001, 0.5
RATES = {1e-4: 0.70, 3e-4: 0.80, 1e-3: 0.90, 3e-3: 0.85}


def _recipe(**search: Any) -> Recipe:
    return read_recipe(
        {
            "lora": {"r": [2, 4, 8], "lora_alpha": [8, 16, 32]},
            "train": {"learning_rate": list(RATES)},
            "search": {"seeds": 2, **search},
        }
    )


@dataclass(slots=True)
class _Simulated:
    """A search whose trials take what they would: rows × epochs × seconds × load."""

    recipe: Recipe
    rows: int
    seconds: float | None
    load: float = 1.0
    at: float = 0.0
    trained: list[Proposal] = field(default_factory=list)
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    before: Callable[[], None] = lambda: None
    left_out: LeftOut = field(default_factory=dict)

    def run(self, limit: int = 10_000) -> Pace:
        clock = Clock(self.seconds, lambda: self.at, reserve=5.0)
        ledger: Any = self.ledger
        pace = Pace(clock=clock)
        proposals = Proposals(self.recipe, ledger, lambda _: None, pace, rows=(None, None))
        pace.left_out = self.left_out
        if self.left_out:
            proposals.listing.leave_out()
        pace.task = Task(self.recipe, self.rows, EVAL_ROWS, 4, proposals.listing.configurations)
        pace.costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
        pace.plan = make_plan(pace.task, pace.costs, clock.training_seconds_left, slots=1)
        self.before()
        for proposal in proposals.interrupted():
            self._train(proposal, ledger, pace)
        while len(self.trained) < limit and (proposal := proposals.next()) is not None:  # type: ignore[assignment]
            self._train(proposal, ledger, pace)
        return pace

    def _train(self, proposal: Proposal, ledger: Any, pace: Pace) -> None:
        self.trained.append(proposal)
        data, train = proposal.configuration.data, proposal.configuration.train
        rows, validated = data.max_train_samples or self.rows, data.max_eval_samples or EVAL_ROWS
        row, one = ROW_SECONDS * self.load, EVAL_SECONDS * self.load
        self.at += rows * train.num_train_epochs * row + train.evaluations * validated * one + BESIDE
        pace.costs.note(Measured("roberta-base", 128, train.per_device_train_batch_size, row, one, BESIDE))
        lora = proposal.configuration.lora
        value = RATES[train.learning_rate] + 0.001 * lora.r + 0.01 * rows / self.rows - 0.0001 * (train.seed - 42)
        value += 0.2 * (data.max_length > 128)
        ledger.tell(proposal.number, "complete", value)

    def by_rows(self) -> Counter[int | None]:
        return Counter(proposal.configuration.data.max_train_samples for proposal in self.trained)

    def finals(self) -> list[tuple[dict[str, Any], int]]:
        return [
            (p.point, p.configuration.train.seed)
            for p in self.trained
            if p.configuration.data.max_train_samples is None
        ]


# With a deadline


def test_a_list_of_two_is_trained_by_the_clock_and_what_is_left_is_known() -> None:
    recipe = default_space(read_recipe({"lora": {"r": [1, 2]}, "search": {"sampler": "auto"}}), deadline=True)
    search = _Simulated(recipe, 160, 180)
    pace = search.run()
    assert {proposal.configuration.train.num_train_epochs for proposal in search.trained} == {16}
    assert (len(search.trained), pace.task and pace.task.configurations) == (6, 2)
    assert pace.has_time
    assert not _Simulated(_recipe(), 20_000, 300).run().has_time


@settings(deadline=None, max_examples=12)
@given(
    rows=st.sampled_from([300, 2_000, 20_000]),
    seconds=st.floats(30, 900),
    load=st.floats(0.5, 1.05),
    sampler=st.sampled_from(["grid", "random"]),
)
def test_a_search_ends_in_time_uses_it_and_has_a_winner(rows: int, seconds: float, load: float, sampler: str) -> None:
    found = _Simulated(_recipe(sampler=sampler), rows, seconds, load)
    pace = found.run()
    end = seconds - 5.0
    assert found.at <= end
    most = max(p.configuration.data.max_train_samples or rows for p in found.trained)
    assert most == pace.task.rows(pace.plan.top) if pace.task else False
    spent = len({tuple(proposal.point.items()) for proposal in found.trained}) == 36
    assert spent or found.at > 0.8 * end


def test_a_grid_that_time_does_not_allow_for_is_tried_all_over() -> None:
    search = _Simulated(_recipe(pruner="none", seeds=1), 20_000, 1_000)
    search.run()
    tried = [p.configuration for p in search.trained]
    assert 8 < len(tried) < 18
    assert {c.lora.r for c in tried} == {2, 4, 8}
    assert {c.lora.lora_alpha for c in tried} == {8, 16, 32}
    assert {c.train.learning_rate for c in tried} == set(RATES)


@pytest.mark.parametrize("pruner", ["none", "halving"])
def test_what_is_trained_on_all_rows_has_as_many_as_the_recipe_asks_for(pruner: str) -> None:
    data = {"max_train_samples": 9_000, "max_eval_samples": 4_000}
    recipe = read_recipe({"data": data, "train": {"learning_rate": list(RATES)}, "search": {"pruner": pruner}})
    search = _Simulated(recipe, 9_000, None)
    search.run()
    last = search.trained[-1].configuration.data
    assert (last.max_train_samples, last.max_eval_samples) == (9_000, 4_000)


def test_finals_warm_up_as_the_recipe_says_on_a_part_of_the_rows_too_and_rungs_for_their_share_of_it() -> None:
    recipe = read_recipe({"train": {"warmup_steps": 60, "lr_scheduler_type": "linear", "learning_rate": list(RATES)}})
    search = _Simulated(recipe, 120_000, 600)
    top = search.run().plan.top
    assert top is not None
    data = [(p.configuration.data.max_train_samples or 0, p.configuration.train.warmup_steps) for p in search.trained]
    assert {steps for rows, steps in data if rows == top} == {60}
    assert all(steps == int(60 * rows / top) for rows, steps in data)


@pytest.mark.parametrize("seconds", [40, 600])
def test_a_warm_up_that_is_left_to_a_range_takes_a_quarter_of_the_steps_at_most(seconds: float) -> None:
    def trained(warm_up: Any) -> list[tuple[int, float]]:
        """Of each trial its warm-up and its steps."""
        axes = {"lr_scheduler_type": "linear", "learning_rate": list(RATES), "warmup_steps": warm_up}
        recipe = default_space(read_recipe({"train": axes, "search": {"sampler": "auto"}}), deadline=True)
        search = _Simulated(recipe, 20_000, seconds)
        search.run()
        found = [proposal.configuration for proposal in search.trained]
        return [
            (one.train.warmup_steps, (one.data.max_train_samples or 20_000) * one.train.num_train_epochs / 16)
            for one in found
        ]

    ranged, written = trained({"min": 200, "max": 5_000}), trained([2_000])
    assert all(warm_up <= steps / 4 for warm_up, steps in ranged)
    assert any(warm_up > steps / 4 for warm_up, steps in written)


@pytest.mark.parametrize("seconds", [None, 10_000.0])
def test_a_grid_that_was_broken_off_goes_on_with_what_was_not_tried(seconds: float | None) -> None:
    recipe = _recipe(pruner="none", seeds=1)
    unbroken = _Simulated(recipe, 300, 10_000)
    unbroken.run()
    search = _Simulated(recipe, 300, 10_000)
    search.run(limit=10)
    resumed = _Simulated(recipe, 300, seconds, at=search.at, ledger=search.ledger)
    resumed.run()
    points = [proposal.point for proposal in search.trained + resumed.trained]
    assert len({str(point) for point in points}) == len(points) == 36
    if seconds is not None:
        assert points == [proposal.point for proposal in unbroken.trained]


def test_another_seed_tries_a_grid_in_another_order() -> None:
    orders = []
    for seed in (1, 2):
        search = _Simulated(_recipe().with_fields(train={"seed": seed}), 300, 10_000)
        search.run(limit=5)
        orders.append([proposal.point for proposal in search.trained])
    assert orders[0] != orders[1]


def test_where_everything_fits_everything_is_trained_in_full() -> None:
    found = _Simulated(_recipe(), 300, 100_000)
    found.run()
    assert len(found.finals()) == len(found.trained) == 36 * 2


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_pruner_that_is_asked_for_has_its_rungs_where_everything_fits_too(pruner: str) -> None:
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    plan = make_plan(Task(_recipe(pruner=pruner), 2_000, EVAL_ROWS, 4, 36), costs, 100_000, slots=1)
    assert (plan.rungs, plan.finalists, plan.seeds) == ((223, 667, None), FINALISTS, MORE_SEEDS)


def test_where_not_everything_fits_few_rows_choose_the_finalists() -> None:
    found = _Simulated(_recipe(), 20_000, 1500)
    pace = found.run()
    assert pace.plan.finalists is not None
    assert len(pace.plan.rungs) > 2
    counts = found.by_rows()
    assert counts[pace.plan.rungs[0]] > counts[pace.plan.rungs[1]] > 0
    best = {"lora.r": 8, "train.learning_rate": 1e-3}
    assert any(best.items() <= point.items() for point, _ in found.finals())
    assert {seed for _, seed in found.finals()} >= {42, 43}


def test_where_not_one_trial_fits_on_all_rows_a_stratified_part_is_learnt() -> None:
    found = _Simulated(_recipe(), 1_000_000, 300)
    pace = found.run()
    assert pace.plan.top is not None
    assert 10_000 < pace.plan.top < 100_000
    assert found.by_rows()[pace.plan.top] >= 1
    outlook = look_ahead(pace, 36, tried=0, ended=0)
    assert outlook.part == pace.plan.top
    assert outlook.seeds == 1


@pytest.mark.parametrize("points", [{}, {"learning_rate": [1e-4, 1e-3]}])
def test_the_states_of_all_rows_are_not_taken_off_the_time_of_a_part(points: dict[str, Any]) -> None:
    """They alone would take longer than there is; those of a part are made for it alone."""
    given = {"backbone": {"dropout": "off"}, "lora": {"layers_to_transform": "top-half"}, "train": points}
    recipe = read_recipe(given)
    kinds = [recipe.configuration({})] if not points else [recipe.configuration({"train.learning_rate": 1e-4})]
    task = Task(recipe, 120_000, EVAL_ROWS, 4, max(1, 2 * len(points)), every=tuple(kinds) if points else ())
    row: dict[str, Any] = {"train_row_seconds": ROW_SECONDS, "eval_row_seconds": EVAL_SECONDS, "beside_seconds": BESIDE}
    kept: dict[str, Any] = {"layers": "top-half", "dropout": "off", "prefix_row_seconds": 0.002}
    costs = Costs([Measured(**cost_key(kind)._asdict(), **row, **kept) for kind in kinds])
    shared = costs.shared_seconds(kinds[0], task.train_rows, task.eval_rows)
    assert SHARED_PARTS * shared > 300
    plan = make_plan(task, costs, 300, slots=1)
    assert plan.top is not None
    assert 10_000 < plan.top < 60_000


def test_where_not_one_trial_fits_that_is_said_with_what_is_missing() -> None:
    with pytest.raises(NoTrialFitsError, match=r"takes about 1 s, 0 s are left for it$") as caught:
        _Simulated(_recipe(), 2_000, 5.5).run()
    assert 1 < caught.value.missing < 3


def test_a_part_of_the_rows_is_never_less_than_a_row_of_each_class() -> None:
    task = Task(read_recipe({}), 1_000_000, EVAL_ROWS, 77, 1)
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    with pytest.raises(BudgetError, match="one on 77 rows takes"):
        make_plan(task, costs, 1.2, slots=1)  # which would do for 50


def test_finals_are_kept_time_for_where_the_machine_slows_down() -> None:
    found = _Simulated(_recipe(), 20_000, 1500)
    found.load = 1.6
    found.run()
    assert found.finals()
    assert found.at <= 1495


def test_every_finalist_has_its_first_seed_before_any_has_its_second() -> None:
    found = _Simulated(_recipe(pruner="halving"), 2_000, None)
    pace = found.run()
    assert pace.plan.finalists == FINALISTS
    seeds = [seed for _, seed in found.finals()]
    assert seeds.index(43) >= FINALISTS


@pytest.mark.parametrize(("rows", "seconds"), [(2_000, None), (20_000, 1500), (200, None)])
def test_finals_that_were_begun_are_not_to_come(rows: int, seconds: float | None) -> None:
    found = _Simulated(_recipe(pruner="halving", n_trials=9), rows, seconds)
    pace, to_come = found.run(), list[int]()
    for count in range(len(found.trained) + 1):
        ledger: Any = InMemoryLedger()
        ledger.kept = found.ledger.kept[:count]
        begun = Proposals(found.recipe, ledger, lambda _: None, pace, rows=(None, None))
        outlook = look_ahead(pace, 9, tried=begun.tried, ended=count, finals_to_come=begun.finals_to_come)
        to_come.append(outlook.finals.trials)
    plan = pace.plan
    assert plan.finalists is not None
    assert to_come[0] == plan.finalists * (plan.seeds - (len(plan.rungs) == 1)) > 0
    planned = to_come[: to_come.index(0) + 1]  # then time that is left may find another finalist
    assert planned == sorted(planned, reverse=True)
    further = [proposal.configuration.train.seed > 42 for proposal in found.trained]
    assert all(left > 0 for left, is_final in zip(to_come, further, strict=False) if is_final)
    assert to_come[-1] == 0


def _after_a_change_of_leaders(seconds: float | None) -> tuple[Proposals, Pace]:
    """Of two finalists each had both seeds, by the second of which one fell behind a configuration that had one."""
    recipe, ledger = _recipe(pruner="halving"), InMemoryLedger()
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    pace = Pace(Task(recipe, 200, EVAL_ROWS, 4, 3), Plan((None,), 2, 2), Clock(seconds, lambda: 0.0), costs)
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    points = [{"lora.r": r, "lora.lora_alpha": 16, "train.learning_rate": 1e-3} for r in (2, 4, 8)]
    for point, seed, value in ((0, 0, 0.9), (1, 0, 0.8), (2, 0, 0.7), (0, 1, 0.9), (1, 1, 0.5)):
        ledger.tell(ledger.ask({}, points[point], seed_index=seed).number, "complete", value)
    return proposals, pace


def test_finals_of_a_finalist_who_came_up_later_are_to_come_though_as_many_as_planned_were_begun() -> None:
    proposals, pace = _after_a_change_of_leaders(None)
    outlook = look_ahead(pace, 3, tried=3, ended=5, finals_to_come=proposals.finals_to_come)
    assert outlook.trials == 1


@pytest.mark.parametrize(("seconds", "beyond"), [(None, False), (0.5, False), (1_000.0, True)])
def test_time_that_is_left_after_the_finals_goes_beyond_the_plan(seconds: float | None, beyond: bool) -> None:
    proposals, _ = _after_a_change_of_leaders(seconds)
    assert proposals.goes_beyond is beyond


def test_where_all_is_trained_in_full_nothing_is_beyond_it() -> None:
    proposals, pace = _after_a_change_of_leaders(1_000.0)
    pace.plan = Plan(seeds=2)
    assert not proposals.goes_beyond


def test_without_finals_all_seeds_are_to_come_but_those_that_have_ended() -> None:
    pace = Pace(Task(_recipe(), 2_000, EVAL_ROWS, 4, 4), Plan(seeds=3))
    outlook = look_ahead(pace, 4, tried=2, ended=5)
    assert (outlook.rungs, outlook.finals.trials, outlook.leading) == ((), 7, None)


@pytest.mark.parametrize("ended", [70, 72])
def test_where_the_time_is_over_no_trial_is_to_come(ended: int) -> None:
    found = _Simulated(_recipe(), 300, 100_000)
    pace = found.run()
    found.at = 100_100
    assert look_ahead(pace, 36, tried=36, ended=ended).trials == 0


@pytest.mark.parametrize(("finalists", "leading_rung"), [(None, 0), (1, 0), (1, 1)])
def test_a_first_trial_is_to_come_though_what_takes_longest_would_not_end_in_time(
    finalists: int | None, leading_rung: int
) -> None:
    """As texts of another length, which come after it."""
    recipe = _recipe()
    task = Task(recipe, 2_000, EVAL_ROWS, 4, 36, leading=(recipe.configuration({}),))
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    pace = Pace(task, Plan((200, None), finalists, 1, None, leading_rung), Clock(6, lambda: 0.0, reserve=5.5), costs)
    to_come = [look_ahead(pace, 36, tried=tried, ended=tried, finals_to_come=0).trials for tried in (0, 1)]
    assert to_come == [1, 0]


@pytest.mark.parametrize("configurations", [1, 2, 9])
def test_what_leads_is_to_come_once(configurations: int) -> None:
    recipe = _recipe()
    task = Task(recipe, 2_000, EVAL_ROWS, 4, configurations, leading=2 * (recipe.configuration({}),))
    outlooks = [
        look_ahead(
            Pace(task, Plan((200, None), 1, leading_rung=1)), configurations, tried=tried, ended=0, finals_to_come=0
        )
        for tried in range(configurations)
    ]
    assert [outlook.trials for outlook in outlooks] == list(range(configurations, 0, -1))


@pytest.mark.parametrize("configurations", [2, 3])
def test_there_are_no_more_finalists_to_come_than_configurations(configurations: int) -> None:
    task = Task(_recipe(pruner="halving"), 2_000, EVAL_ROWS, 4, configurations)
    pace = Pace(task, make_plan(task, Costs(), None, slots=1))
    outlook = look_ahead(pace, configurations, tried=0, ended=0)
    assert outlook.finalists == configurations
    assert outlook.finals.trials == 2 * configurations


def test_time_left_over_goes_to_more_seeds_and_finalists() -> None:
    found = _Simulated(_recipe(n_trials=6, pruner="halving"), 2_000, 1000)
    found.run()
    assert len(found.finals()) > FINALISTS * 2


@pytest.mark.parametrize(("seconds", "goes_beyond"), [(300, True), (None, False)])
def test_without_a_limit_a_search_that_goes_on_ends_with_what_its_recipe_asks_for(
    seconds: float | None, goes_beyond: bool
) -> None:
    recipe = _recipe(pruner="halving")
    search = _Simulated(recipe, 2_000, 300)
    search.run()
    assert len(search.finals()) > FINALISTS * 2
    resumed = _Simulated(recipe, 2_000, seconds, ledger=search.ledger)
    resumed.run()
    assert bool(resumed.trained) == goes_beyond


@pytest.mark.parametrize(("state", "value", "then"), [("complete", 0.91, None), ("failed", None, '{"place": 1}')])
def test_a_final_that_the_clock_cuts_short_is_begun_once(state: str, value: float | None, then: str | None) -> None:
    """One that failed would fail again on a row less: the next configuration has it."""
    recipe = _recipe()
    task = Task(recipe, 20_000, EVAL_ROWS, 4, 36)
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    pace = Pace(task, Plan((300, 900, None), 1, 1), Clock(20, lambda: 0.0, reserve=2.0), costs)
    ledger = InMemoryLedger()
    ledger.kept = [Entry(place, "complete", {"place": place}, 0, 900, 0.9 - 0.1 * place) for place in range(2)]
    ranks = Ranks(pace, tried := Tried(cast(Any, ledger), 1))

    def wanted() -> Wanted | None:
        tried.update()
        ranks.update()
        return Finals(pace, ranks, lambda _: recipe.configuration({})).next(pace.plan)

    final = wanted()
    assert final is not None
    assert final.key == '{"place": 0}'
    assert final.rows is not None
    assert 900 < final.rows < 20_000
    ledger.ask({}, {"place": 0}, rows=final.rows)
    assert wanted() is None
    ledger.tell(2, state, value)
    following = wanted()
    assert (None if following is None else following.key) == then


# Without


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_pruner_gives_more_rows_to_the_better_third(pruner: str) -> None:
    found = _Simulated(_recipe(pruner=pruner), 6_000, None)
    pace = found.run()
    counts = [found.by_rows()[rung] for rung in pace.plan.rungs]
    assert sum(counts[:-1]) < 36 * 2
    assert counts[0] == (36 if pruner == "halving" else counts[0])
    assert counts[-1] < 36


def test_nobody_leaves_a_rung_while_another_worker_is_at_a_trial_on_it() -> None:
    recipe, ledger, pace = _recipe(pruner="halving"), InMemoryLedger(), Pace()
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    pace.task = Task(recipe, 6_000, EVAL_ROWS, 4, proposals.listing.configurations)
    pace.plan = make_plan(pace.task, pace.costs, None, slots=1)
    rungs = []
    while going := list(iter(proposals.next, None)):
        rungs.append({proposal.configuration.data.max_train_samples for proposal in going})
        for proposal in going:
            assert proposals.next() is None
            ledger.tell(proposal.number, "complete", proposal.number / 1000)
    assert rungs == [{rows} for rows in pace.plan.rungs]


@pytest.mark.parametrize(("pruner", "rows"), [("halving", 300), ("hyperband", 6_000)])
def test_no_finalist_is_chosen_while_another_worker_tries_a_configuration_on_the_last_rung(
    pruner: str, rows: int
) -> None:
    """On one rung, or by hyperband, whose last brackets begin there."""
    recipe, ledger, pace = _recipe(pruner=pruner), InMemoryLedger(), Pace()
    proposals = Proposals(recipe, cast(Any, ledger), lambda _: None, pace, rows=(None, None))
    pace.task = Task(recipe, rows, EVAL_ROWS, 4, proposals.listing.configurations)
    pace.plan = make_plan(pace.task, pace.costs, None, slots=1)
    going: list[Proposal] = []
    repeated = 0
    while going or not repeated:
        while (proposal := proposals.next()) is not None:
            going.append(proposal)
        tried = [one for one in going if not ledger.entry(one.number).seed_index]
        repeated += len(going) - len(tried)
        assert len(tried) in (0, len(going))
        first = going.pop(0)
        ledger.tell(first.number, "complete", first.number / 1000)
    finals = Counter(point_key(entry.params) for entry in ledger.kept if entry.seed_index)
    assert len(finals) == FINALISTS


def test_only_the_last_rung_is_evaluated_on_the_way() -> None:
    found = _Simulated(_recipe(pruner="halving"), 6_000, None)
    last = found.run().plan.top
    ways = {
        (one.configuration.data.max_train_samples == last, one.configuration.train.eval_strategy)
        for one in found.trained
    }
    assert ways == {(True, "auto"), (False, "end")}


@pytest.mark.parametrize("epochs", ["auto", "clock"])
def test_a_configuration_that_has_all_the_time_for_a_part_of_the_rows_is_validated_once(epochs: str) -> None:
    """Twice, on as many rows as it learns from, took two fifths of the time."""
    recipe = _recipe(pruner="halving", epochs=epochs)
    costs = Costs([Measured("roberta-base", 128, 16, 0.05, 0.02, 0.5)])
    task = Task(recipe, 6_000, 6_000, 4, None)
    plan = make_plan(task, costs, 40, slots=1)
    assert (len(plan.rungs), plan.finalists) == (1, 1)
    assert plan.top is not None
    planned = plan.planned(task.kinds[0], plan.top)
    assert planned.train.evaluations == 1
    assert 36 < costs.seconds(planned, plan.top, task.validated(plan.top)) < 40
    assert plan.planned(task.kinds[0], None).train.evaluations == 2


@pytest.mark.parametrize("broken_at", [1, 7, 30, 50])
def test_a_search_on_rungs_that_was_broken_off_goes_on_as_it_would_have(broken_at: int) -> None:
    recipe = _recipe(pruner="halving", sampler="random", n_trials=24)
    whole = _Simulated(recipe, 6_000, None)
    whole.run()
    first = _Simulated(recipe, 6_000, None)
    first.run(limit=broken_at)
    rest = _Simulated(recipe, 6_000, None, ledger=first.ledger)
    rest.run()
    assert [*first.trained, *rest.trained] == whole.trained


def test_a_configuration_that_fails_on_all_rows_is_no_finalist() -> None:
    found = _Simulated(_recipe(pruner="halving"), 2_000, None)
    pace = found.run()
    assert pace.plan.finalists is not None
    assert len({tuple(point.items()) for point, _ in found.finals()}) >= FINALISTS


LONG = {("roberta-base", 256): "memory did not suffice"}


def _of_two_lengths(**search: Any) -> Recipe:
    return _recipe(**search).model_copy(update={"axes": {**_recipe().axes, "data.max_length": Choices((256, 128))}})


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "auto"])
def test_what_could_not_be_measured_is_neither_proposed_nor_counted(sampler: str) -> None:
    found = _Simulated(_of_two_lengths(sampler=sampler, pruner="none", seeds=1), 500, 3_000, left_out=LONG)
    pace = found.run()
    assert pace.task is not None
    assert pace.task.configurations == len(found.trained) == 36
    assert {proposal.configuration.data.max_length for proposal in found.trained} == {128}


def test_presets_are_tried_with_what_is_not_left_out() -> None:
    found = _Simulated(_of_two_lengths(sampler="auto"), 2_000, 300, left_out=LONG)
    found.run()
    before = _Simulated(_recipe(sampler="auto"), 2_000, 300)
    before.run()
    shown = [proposal.configuration.lora for proposal in found.trained]
    assert shown[:4] == [proposal.configuration.lora for proposal in before.trained][:4]


@pytest.mark.parametrize("limit", [12, 22])
def test_where_a_search_goes_on_with_less_memory_the_best_that_fit_are_promoted_and_finalists(limit: int) -> None:
    first = _Simulated(_of_two_lengths(pruner="halving"), 2_000, 300)
    first.run(limit)
    rest = _Simulated(first.recipe, 2_000, 300, ledger=first.ledger, left_out=LONG)
    rest.run()
    assert {proposal.configuration.data.max_length for proposal in rest.trained} == {128}
    assert len({tuple(point.items()) for point, _ in rest.finals()}) >= FINALISTS


def test_where_a_search_goes_on_with_less_memory_all_that_fit_are_tried() -> None:
    first = _Simulated(_of_two_lengths(pruner="none", seeds=1), 500, 3_000)
    first.run(limit=10)
    rest = _Simulated(first.recipe, 500, 3_000, ledger=first.ledger, left_out=LONG)
    rest.run()
    tried = [one.configuration.data.max_length for one in (*first.trained, *rest.trained)]
    assert tried[:10].count(256) > 2
    assert tried.count(128) == 36


def test_without_a_deadline_nothing_is_left_out() -> None:
    found = _Simulated(_of_two_lengths(seeds=1), 500, None, left_out=LONG)
    found.run()
    assert len(found.trained) == 72


def test_one_configuration_has_all_the_time() -> None:
    recipe = read_recipe({"search": {"seeds": 2}})
    whole = _Simulated(recipe, 2_000, 60)
    assert whole.run().plan.rungs == (None,)
    assert len(whole.finals()) == 2
    part = _Simulated(recipe, 1_000_000, 60)
    pace = part.run()
    assert pace.plan.finalists is None
    assert len(part.trained) == 1
    assert part.at > 0.8 * 55


def test_one_configuration_is_tried_on_no_fewer_rows_without_a_deadline() -> None:
    task = Task(read_recipe({"search": {"pruner": "halving"}}), 2_000, 300, 4, 1)
    assert make_plan(task, Costs(), None, slots=1) == Plan()


@pytest.mark.parametrize(("trials", "slots", "seeds"), [(3, 1, 3), (2.9, 1, 2), (1.9, 1, 1), (1.9, 2, 2), (1, 3, 3)])
def test_one_configuration_has_the_seeds_that_there_is_time_for(trials: float, slots: int, seeds: int) -> None:
    task = Task(read_recipe({"search": {"seeds": 3}}), 1_000, 300, 4, 1)
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    each = costs.seconds(task.kinds[0], 1_000, 300)
    assert make_plan(task, costs, trials * each, slots) == Plan(seeds=seeds)
    part = make_plan(task, costs, 0.9 * each, slots)
    assert (part.finalists, part.seeds) == (None, 1)
    assert 800 < (part.top or 0) < 900


@pytest.mark.parametrize("pruner", ["auto", "none"])
def test_token_ids_have_their_time_in_a_plan(pruner: str) -> None:
    task = Task(read_recipe({"search": {"pruner": pruner}}), 1_000, 300, 4, 1)
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5, encode_row_seconds=0.01)])
    each, shared = costs.seconds(task.kinds[0], 1_000, 300), costs.shared_seconds(task.kinds[0], 1_000, 300)
    assert make_plan(task, costs, each + SHARED_PARTS * shared + 0.1, slots=1) == Plan()
    part = make_plan(task, costs, each + shared, slots=1)
    assert (part.finalists, part.seeds) == (None, 1)
    assert 0 < (part.top or 0) < 1_000


def _pace_with_token_ids(seconds: float) -> Pace:
    """Of so many seconds for training; the token ids of a row take as long as a pass over it."""
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5, encode_row_seconds=0.01)])
    clock = Clock(seconds, lambda: 0.0, reserve=0.0)
    clock.loading_seconds = 0.0
    return Pace(Task(read_recipe({}), 9_000, 300, 4, 12), Plan((1_000, None), 1), clock, costs)


def test_a_trial_on_few_rows_is_begun_where_there_is_time_for_its_token_ids_and_those_of_all() -> None:
    one, pace = read_recipe({}).configuration({}), _pace_with_token_ids(0)
    token_ids = pace.costs.shared_seconds(one, 1_000, 300) + pace.costs.shared_seconds(one, 9_000, 300)
    needs = pace.seconds(one, 1_000) + token_ids
    assert _pace_with_token_ids(needs + 0.1).allows(one, 1_000)
    assert not _pace_with_token_ids(needs - 0.1).allows(one, 1_000)


@pytest.mark.parametrize("finalists", [1, 2])
def test_what_finals_make_has_its_time_once_of_each_kind_that_may_come_to_be_among_them(finalists: int) -> None:
    recipe = read_recipe({"data": {"max_length": [64, 128]}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5, encode_row_seconds=0.01, train_rows=1_000)])
    costs.note(Measured("roberta-base", 64, 16, 0.01, 0.001, 0.5, encode_row_seconds=0.02, train_rows=1_000))
    task, plan = Task(recipe, 9_000, 300, 4, 2), Plan((1_000, None), finalists)
    short, long = (recipe.configuration({"data.max_length": length}) for length in (64, 128))
    ids = {one.data.max_length: costs.shared_seconds(one, 9_000, 300) for one in (short, long)}
    assert 0 < ids[128] < ids[64]
    for tried, made in ((short, ids[64]), (long, ids[64] if finalists == 1 else ids[64] + ids[128])):

        def allows(seconds: float, tried: Configuration = tried) -> bool:
            clock = Clock(seconds, lambda: 0.0, reserve=0.0)
            clock.loading_seconds = 0.0
            pace = Pace(task, plan, clock, costs)
            return pace.allows(tried, 1_000, pace.kept(20.0, [short, short]))

        needs = costs.seconds(plan.planned(tried, 1_000), 1_000, task.validated(1_000)) + 20.0 + made
        assert allows(needs + 0.1)
        assert not allows(needs - 0.1)


def test_a_final_that_is_cut_short_has_time_for_its_token_ids() -> None:
    one, pace = read_recipe({}).configuration({}), _pace_with_token_ids(100)
    assert pace.task is not None
    rows = pace.most_rows(one, None)
    shared = pace.costs.shared_seconds(one, rows, pace.task.validated(rows))
    assert 99 < pace.seconds(one, rows) + shared <= 100


def test_a_trial_that_fits_into_all_the_time_is_trained_though_it_takes_more_than_the_finals_share() -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"sampler": "random"}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    task = Task(recipe, 20_000, 300, 4, 3)
    least = costs.seconds(task.dearest(costs), FEWEST_ROWS, task.validated(FEWEST_ROWS))
    plan = make_plan(task, costs, 1.1 * least, slots=1)
    assert (plan.finalists, plan.seeds) == (1, 1)
    assert FEWEST_ROWS <= (plan.top or 0) < 100


def test_trials_that_run_at_once_take_the_time_of_one() -> None:
    recipe = _recipe(n_trials=4)
    task = Task(recipe, 5_000, EVAL_ROWS, 4, 4)
    costs = Costs([Measured("roberta-base", 128, 16, ROW_SECONDS, EVAL_SECONDS, BESIDE)])
    one = costs.seconds(task.dearest(costs), 5_000, EVAL_ROWS)
    assert make_plan(task, costs, 2.5 * one, slots=4) == Plan(seeds=2)  # 8 trials, 4 at once
    assert make_plan(task, costs, 2.5 * one, slots=1).finalists == 1
    assert make_plan(task, costs, 1.7 * one, slots=2).finalists == 1  # each of them still takes its own time


def test_the_time_of_finals_that_are_trained_at_once_is_kept_whole() -> None:
    recipe = read_recipe(
        {
            "lora": {"r": [2, 4, 8], "lora_alpha": [8, 16, 32]},
            "train": {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]},
            "search": {"sampler": "random"},
        }
    )
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    task = Task(recipe, 9_000, 300, 4, 36)
    plan = make_plan(task, costs, 200, slots=4)
    assert plan.finalists == 3
    pace = Pace(task, plan, Clock(96.6, lambda: 0.0, reserve=5.0), costs, slots=4)
    ranks = Ranks(pace, Tried(cast(Any, InMemoryLedger()), 1))
    finals = Finals(pace, ranks, lambda _: recipe.configuration({}))
    one = pace.seconds(recipe.configuration({}), None)
    assert finals.missing.seconds == pytest.approx(one)  # three at once
    assert not pace.allows(recipe.configuration({}), 334, finals.missing)
    pace.slots = 2
    assert finals.missing.seconds == pytest.approx(2 * one)
    pace.slots = 1
    assert finals.missing.seconds == pytest.approx(3 * one)


def test_finals_that_are_trained_at_once_take_the_time_of_the_longest() -> None:
    recipe = read_recipe({"train": {"num_train_epochs": [1, 4]}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    pace = Pace(Task(recipe, 9_000, 300, 4, 2), Plan((300, None), 2, 1), Clock(900, lambda: 0.0), costs, slots=2)
    ledger = InMemoryLedger()
    for epochs, value in ((1, 0.9), (4, 0.8)):
        ledger.tell(ledger.ask({}, {"train.num_train_epochs": epochs}, rows=300).number, "complete", value)
    tried = Tried(cast(Any, ledger), 1)
    tried.update()
    finals = Finals(pace, Ranks(pace, tried), lambda key: recipe.configuration(json.loads(key)))
    longest = pace.seconds(recipe.configuration({"train.num_train_epochs": 4}), None)
    assert finals.missing.seconds == longest


def test_a_grid_whose_points_fit_is_trained_in_full_though_as_many_of_the_dearest_would_not() -> None:
    recipe = read_recipe({"train": {"num_train_epochs": [1, 2, 4, 8]}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    every = tuple(map(recipe.configuration, recipe.grid()))
    assert make_plan(Task(recipe, 1_000, 300, 4, 4), costs, 200, slots=1).finalists is not None
    assert make_plan(Task(recipe, 1_000, 300, 4, 4, every=every), costs, 200, slots=1).finalists is None
    assert make_plan(Task(recipe, 1_000, 300, 4, 4, every=every), costs, 150, slots=1).finalists is not None
    twice = recipe.with_fields(search={"seeds": 2})
    assert make_plan(Task(twice, 1_000, 300, 4, 4, every=every), costs, 200, slots=1).finalists is not None
    assert make_plan(Task(twice, 1_000, 300, 4, 4, every=every), costs, 400, slots=1).finalists is None
    # Four at once take a quarter of the time, but the dearest may be the last that is begun.
    assert make_plan(Task(recipe, 1_000, 300, 4, 4, every=every), costs, 100, slots=4).finalists is not None
    assert make_plan(Task(recipe, 1_000, 300, 4, 4, every=every), costs, 140, slots=4).finalists is None


@pytest.mark.parametrize("epochs", ["recipe", "clock"])
def test_where_rungs_would_compare_one_or_two_the_final_has_the_rows_of_all_the_time(epochs: str) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"epochs": epochs, "sampler": "random"}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.003, 0.5)])
    task = Task(recipe, 20_000, 300, 4, 3)

    def planned(seconds: float) -> tuple[Plan, float]:
        plan = make_plan(task, costs, seconds, slots=1)
        final = plan.planned(recipe.configuration({}), plan.top)
        return plan, costs.seconds(final, task.rows(plan.top), task.validated(plan.top))

    plan, final = planned(10)
    assert (len(plan.rungs), plan.finalists, plan.seeds) == (1, 1, 1)
    assert 9 < final <= 10
    plan, final = planned(60)
    assert len(plan.rungs) > 2
    assert final <= 0.71 * 60


def test_all_rows_are_not_cut_where_a_final_on_them_fits_and_others_are_tried_in_what_it_leaves() -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"sampler": "random"}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.003, 0.5)])  # a final takes 12.4 s
    task = Task(recipe, 900, 300, 4, 3)
    assert make_plan(task, costs, 19, slots=1).rungs == (300, None)
    assert make_plan(task, costs, 12.5, slots=1).rungs == (None,)


@pytest.mark.parametrize("seconds", [15, 18])
def test_a_final_has_the_passes_of_what_it_leaves_where_that_does_not_do_for_two_to_compare(seconds: float) -> None:
    recipe = read_recipe({"lora": {"r": [2, 4, 8]}, "search": {"epochs": "clock", "sampler": "auto"}})
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.003, 0.5)])
    plan = make_plan(Task(recipe, 900, 300, 4, None), costs, seconds, slots=1)
    assert plan.rungs == (None,)
    final = costs.seconds(plan.planned(recipe.configuration({}), None), 900, 300)
    assert 0.9 * seconds < final <= seconds


def test_rows_between_two_rungs_belong_to_the_lower_one() -> None:
    plan = Plan((300, 900, None))
    assert [plan.rung(rows) for rows in (222, 300, 899, 900, 5_000, None)] == [0, 0, 0, 1, 1, 2]


def test_the_first_trial_is_begun_though_planning_took_a_while() -> None:
    found = _Simulated(_recipe(), 1_000_000, 60)
    clock_passed = 0.4

    def late() -> None:
        found.at += clock_passed

    found.before = late
    found.run()
    assert found.trained


def test_a_final_that_was_broken_off_is_the_first_until_one_has_ended() -> None:
    ledger = InMemoryLedger()
    proposals = Proposals(
        _recipe(), cast(Any, ledger), lambda _: None, Pace(plan=Plan((300, None), 1, 2)), rows=(None, None)
    )
    for seed, rows in ((0, 300), (0, None), (1, None)):
        ledger.ask({}, {}, seed_index=seed, rows=rows)
    ledger.tell(0, "complete", 0.9)
    assert [proposals.is_first_final(number) for number in range(3)] == [False, True, True]
    ledger.tell(1, "failed", None)
    assert proposals.is_first_final(2)
    ledger.tell(1, "complete", 0.8)
    assert not proposals.is_first_final(2)


def test_where_a_trial_of_the_most_epochs_is_too_long_those_of_fewer_are_tried() -> None:
    recipe = read_recipe(
        {
            "train": {"num_train_epochs": [1, 16], "learning_rate": {"min": 1e-4, "max": 1e-3, "log": True}},
            "search": {"sampler": "random", "pruner": "none"},
        }
    )
    costs = Costs([Measured("roberta-base", 128, 16, 0.01, 0.001, 0.5)])
    task = Task(recipe, 1_000, 100, 4, None)
    pace = Pace(task, Plan((None,), None, 1), Clock(45, lambda: 0.0, reserve=2.0), costs)  # a pass takes 10 s
    proposals = Proposals(recipe, cast(Any, InMemoryLedger()), lambda _: None, pace, rows=(None, None))
    pace.nothing_yet = False
    assert pace.allows_some(None)
    assert not pace.has_time
    found = proposals.next()
    assert found is not None
    assert found.configuration.train.num_train_epochs in (1, 16)  # the first is begun, whatever it takes
    second = proposals.next()
    assert second is not None
    assert second.configuration.train.num_train_epochs == 1
