"""What TPE is shown of a long search: the trials that its two densities hang on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import copy
from itertools import pairwise

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState, create_trial

from loraloom.search import history
from loraloom.search.history import BEST, LIMIT, NEWEST, shown

AXIS = {"x": FloatDistribution(0, 1)}


def _trial(number: int, state: TrialState = TrialState.COMPLETE, value: float | None = None) -> FrozenTrial:
    trial = create_trial(
        state=state,
        params={"x": 0.5},
        distributions=dict(AXIS),
        value=value if state == TrialState.COMPLETE else None,
        intermediate_values={} if value is None else {1: value},
    )
    trial.number = number
    return trial


def _search(count: int, seed: int = 1) -> list[FrozenTrial]:
    chance = random.Random(seed)  # noqa: S311
    return [_trial(number, value=round(chance.random(), 2)) for number in range(count)]  # two digits: there are ties


def _numbers(trials: Sequence[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


@pytest.mark.parametrize("count", [0, 1, LIMIT])
def test_a_short_search_is_shown_whole(count: int) -> None:
    assert _numbers(shown(_search(count))) == list(range(count))


@pytest.mark.parametrize("count", [LIMIT + 1, 2 * LIMIT, 3000])
def test_of_a_long_search_no_more_is_shown_than_the_limit(count: int) -> None:
    assert LIMIT / 2 < len(shown(_search(count))) <= LIMIT


def test_what_is_shown_is_in_order() -> None:
    numbers = _numbers(shown(_search(2000)))
    assert numbers == sorted(numbers)


def test_optuna_takes_the_same_trials_for_the_best_as_of_the_whole() -> None:
    trials, study = _search(1500), optuna.create_study(direction="maximize")
    some = list(shown(trials))
    of_whole, _ = _split_trials(study, trials, default_gamma(len(trials)))
    of_shown, _ = _split_trials(study, some, default_gamma(len(some)))
    assert _numbers(of_shown) == _numbers(of_whole)


def test_pruned_trials_are_ranked_as_optuna_ranks_them() -> None:
    chance, study = random.Random(3), optuna.create_study(direction="maximize")  # noqa: S311
    trials = [
        _trial(n, TrialState.PRUNED, chance.random() if n % 7 else None)
        if n % 100
        else _trial(n, value=chance.random())
        for n in range(900)
    ]
    some = list(shown(trials))
    of_whole, _ = _split_trials(study, trials, default_gamma(len(trials)))
    of_shown, _ = _split_trials(study, some, default_gamma(len(some)))
    assert _numbers(of_shown) == _numbers(of_whole)


def test_where_values_are_of_different_rows_each_is_shown_by_its_place() -> None:
    trials = [_trial(number, value=value) for number, value in enumerate((0.88, 0.89, 0.70, 0.75, 0.72))]
    trials[4].state = TrialState.RUNNING
    trials.append(_trial(5, TrialState.RUNNING))  # on more rows, of a configuration that is shown already
    scores = {0: 0.25, 2: 0.5, 3: 0.9, 4: None}
    found = shown(trials, scores)
    assert [(one.number, one.value) for one in found[:-1]] == list(scores.items())[:-1]
    assert found[-1] is trials[4]
    assert trials[0].value == 0.88


def test_of_a_long_search_those_alone_that_are_shown_are_given_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """To copy thousands of trials for each proposal took many times as long as to choose among them."""
    copied: list[int] = []

    def noted(trial: FrozenTrial) -> FrozenTrial:
        copied.append(trial.number)
        return copy(trial)

    monkeypatch.setattr(history, "copy", noted)
    trials = _search(5000)
    scores = {trial.number: (trial.number * 7 % 5000) / 5000 for trial in trials}
    found = shown(trials, scores)
    assert copied == _numbers(found)
    assert len(found) <= LIMIT
    best = sorted(scores, key=lambda number: -scores[number])[:BEST]
    assert set(best) <= set(copied)
    assert all(one.value == scores[one.number] for one in found)


def test_the_newest_are_shown() -> None:
    assert _numbers(shown(_search(1000)))[-NEWEST:] == list(range(1000 - NEWEST, 1000))


def test_what_is_under_way_is_shown_and_what_failed_takes_no_place() -> None:
    trials = _search(1000)
    trials[3] = _trial(3, TrialState.RUNNING)
    trials[5:400] = [_trial(number, TrialState.FAIL) for number in range(5, 400)]
    states = {trial.number: trial.state for trial in shown(trials)}
    assert states[3] == TrialState.RUNNING
    assert TrialState.FAIL not in states.values()


def test_the_others_are_thinned_evenly_over_the_search() -> None:
    trials = [_trial(number, value=1.0 if number < BEST else 0.0) for number in range(4000)]
    others = [number for number in _numbers(shown(trials)) if BEST <= number < 4000 - NEWEST]
    assert len({after - before for before, after in pairwise(others)}) == 1


def test_as_the_search_goes_on_what_was_left_out_does_not_come_back() -> None:
    trials = [_trial(number, value=-float(number)) for number in range(1600)]
    earlier, later = set(_numbers(shown(trials[:900]))), set(_numbers(shown(trials)))
    assert {number for number in later if number < 900 - NEWEST} <= earlier
