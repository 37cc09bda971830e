"""Who stands where on the rungs is what a look at all that was tried would give, and costs the same with any number."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.recipe import read_recipe
from loraloom.search.clock import Clock
from loraloom.search.pace import Pace
from loraloom.search.plan import Plan, make_plan
from loraloom.search.proposals import Proposals
from loraloom.search.ranks import Ranks
from loraloom.search.task import Task
from loraloom.search.tried import Tried
from loraloom.study.leaderboard import mean_of
from loraloom.study.ledger import Entry
from tests.search.in_memory import InMemoryLedger

RUNGS = (300, 900, None)
ROWS = (*RUNGS, 2_000)
STATES = "complete", "complete", "complete", "failed", "pruned", "rejected"


def _whole(tried: dict[str, list[Entry]], plan: Plan, bracket: Callable[[int], int]) -> tuple[Any, ...]:
    """Those in the running, each rung's results by bracket, and the rung that each was begun on, by sorting all."""
    values = {
        (r, rung): [one.value for one in entries if one.value is not None and plan.rung(one.rows) == rung]
        for r, entries in tried.items()
        for rung in range(len(plan.rungs))
    }
    failed = {r for r, all_ in tried.items() for one in all_ if plan.is_final(one.rows) and one.state in STATES[3:5]}
    farthest = {r: (rung, mean_of(found)) for (r, rung), found in values.items() if found}
    running = sorted((r for r in tried if r in farthest and r not in failed), key=farthest.__getitem__, reverse=True)
    results: list[dict[int, list[str]]] = []
    for rung in range(len(plan.rungs)):
        first = {r: -values[r, rung][0] for r in tried if values[r, rung]}
        on = sorted(first, key=first.__getitem__)
        places = {r: bracket(place) for place, r in enumerate(tried)}
        results.append({number: [r for r in on if places[r] == number] for number in {places[r] for r in on}})
    begun = {r: max(plan.rung(one.rows) for one in entries) for r, entries in tried.items()}
    return running, results, begun


def _pace(pruner: str = "halving") -> Pace:
    return Pace(Task(read_recipe({"search": {"pruner": pruner}}), 2_000, 300, 2, None), Plan(RUNGS, 1))


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(ROWS), st.booleans()), max_size=40),
    st.data(),
)
def test_it_is_what_sorting_all_that_was_tried_gives(
    pruner: str, events: list[tuple[int, int | None, bool]], data: st.DataObject
) -> None:
    ledger, pace = InMemoryLedger(), _pace(pruner)
    tried: Any = Tried(ledger, seeds=2)  # type: ignore[arg-type]
    ranks = Ranks(pace, tried)
    for r, rows, ends in events:
        running = [entry.number for entry in ledger.kept if entry.state == "running"]
        if ends and running:
            state = data.draw(st.sampled_from(STATES))
            value = data.draw(st.sampled_from((0.5, 0.7, 0.9))) if state == "complete" else None
            ledger.tell(data.draw(st.sampled_from(running)), state, value)
        else:
            ledger.ask({}, {"lora.r": r}, rows=rows, seed_index=data.draw(st.integers(0, 1)))
        if data.draw(st.booleans()):
            continue
        if data.draw(st.booleans()):
            pace.plan = replace(pace.plan, rungs=data.draw(st.sampled_from((RUNGS, (100, *RUNGS)))))
        tried.update()
        ranks.update()
        order, results, begun = _whole(tried.by_key, pace.plan, pace.first_rung)
        assert ranks.first(len(ranks)) == order
        for rung, found in enumerate(results):
            ranked = [[key for *_, key in one] for one in ranks.results(rung)]
            assert ranked == [found[number] for number in sorted(found)]
        assert all(ranks.is_above(key, rung) == (reached > rung) for key, reached in begun.items() for rung in range(3))
        states = [(one.rows, one.state, one.seed_index > 0) for one in ledger.kept if one.state != "rejected"]
        assert {of: count for of, count in tried.counts.items() if count} == {of: states.count(of) for of in states}


def test_where_a_configuration_is_no_longer_tried_the_brackets_are_of_those_that_are() -> None:
    ledger, pace = InMemoryLedger(), _pace("hyperband")
    tried = Tried(ledger, seeds=1)  # type: ignore[arg-type]
    first, *others = [ledger.ask({}, {"lora.r": r}, rows=300).number for r in range(10)]
    for number in others:
        ledger.tell(number, "complete", 0.5)
    tried.update()
    ranks = Ranks(pace, tried)
    assert [len(bracket) for bracket in ranks.results(0)] == [8, 1]
    ledger.reject(first, "already tried")
    tried.update()
    ranks.update()
    assert [len(bracket) for bracket in ranks.results(0)] == [9]


def test_who_began_on_other_rows_is_compared_with_those_that_did() -> None:
    """And who was promoted was ahead, whatever came of it on more rows; one under way is known by its first trial."""
    ledger, pace = InMemoryLedger(), Pace(plan=Plan(RUNGS, 1))
    tried = Tried(ledger, seeds=1)  # type: ignore[arg-type]
    for r, rows, value in ((1, 900, 0.9), (2, 900, 0.8), (3, 300, 0.5), (4, 300, 0.6), (5, 300, 0.7), (5, 900, 0.4)):
        ledger.tell(ledger.ask({}, {"lora.r": r}, rows=rows).number, "complete", value)
    for r, rows in ((6, 300), (4, 900)):
        ledger.ask({}, {"lora.r": r}, rows=rows)
    tried.update()
    scores = Ranks(pace, tried).scores()
    first_under_way = 6
    assert scores.pop(first_under_way) is None
    assert scores == pytest.approx({0: 0.75, 1: 0.25, 4: 5 / 6, 3: 0.5, 2: 1 / 6})


def test_of_equal_results_the_earlier_is_the_first() -> None:
    ledger, pace = InMemoryLedger(), Pace(plan=Plan(RUNGS, 1))
    for r in (4, 2, 3):
        ledger.tell(ledger.ask({}, {"lora.r": r}, rows=300).number, "complete", 0.5)
    tried = Tried(ledger, seeds=1)  # type: ignore[arg-type]
    tried.update()
    ranks = Ranks(pace, tried)
    assert ranks.first(1) == ['{"lora.r": 4}']
    assert [place for _, place, _ in ranks.results(0)[0]] == [0, 1, 2]


def test_of_means_of_as_many_right_rows_the_earlier_is_the_first() -> None:
    ledger, pace = InMemoryLedger(), Pace(plan=Plan(RUNGS, 1))
    for r, right in ((8, 213), (8, 215), (2, 214)):
        ledger.tell(ledger.ask({}, {"lora.r": r}, rows=None).number, "complete", right / 222)
    tried = Tried(ledger, seeds=2)  # type: ignore[arg-type]
    tried.update()
    assert (213 / 222 + 215 / 222) / 2 < 214 / 222
    assert Ranks(pace, tried).first(1) == ['{"lora.r": 8}']


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
@pytest.mark.parametrize("seconds", [None, 1e6])
def test_a_trial_is_chosen_by_as_many_looks_among_a_thousand_as_among_a_hundred(
    pruner: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, rung = [0], Plan.rung

    def counted(plan: Plan, rows: int | None) -> int:
        looks[0] += 1
        return rung(plan, rows)

    monkeypatch.setattr(Plan, "rung", counted)
    axes = {"lora": {"r": {"min": 1, "max": 64}, "lora_alpha": {"min": 1.0, "max": 64.0}}}
    recipe = read_recipe(axes | {"search": {"sampler": "random", "pruner": pruner, "n_trials": 2_000}})
    found = {}
    for trials in (100, 1_000):
        ledger: Any = InMemoryLedger()
        proposals = Proposals(recipe, ledger, lambda _: None, pace := Pace(clock=Clock(seconds)), rows=(None, None))
        pace.task = Task(recipe, 6_000, 300, 2, 2_000)
        pace.plan = make_plan(pace.task, pace.costs, None, slots=1)
        values = random.Random(0)  # noqa: S311
        for _ in range(trials):
            proposal = proposals.next()
            assert proposal is not None
            ledger.tell(proposal.number, "complete", values.random())
        looks[0] = 0
        assert proposals.next() is not None
        assert proposals.finals_to_come >= 0
        found[trials] = looks[0]
    assert found[1_000] <= found[100] + 10


def test_what_is_tried_again_after_its_only_trial_was_rejected_comes_last() -> None:
    ledger, pace = InMemoryLedger(), Pace(plan=Plan(RUNGS, 1))
    tried = Tried(ledger, seeds=1)  # type: ignore[arg-type]
    ranks = Ranks(pace, tried)
    ledger.reject(ledger.ask({}, {"lora.r": 1}, rows=300).number, "already tried")
    for r in (2, 1):
        ledger.tell(ledger.ask({}, {"lora.r": r}, rows=300).number, "complete", 0.5)
    tried.update()
    ranks.update()
    assert ranks.first(2) == ['{"lora.r": 2}', '{"lora.r": 1}'] == list(tried.by_key)
