"""Points are drawn as Optuna's own `Study.ask` draws them, and nothing is written for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from loraloom.study.drawing import Trials, draw

AXES: dict[str, BaseDistribution] = {
    "r": IntDistribution(1, 64, log=True),
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "optim": CategoricalDistribution(("adam", "sgd", "muon")),
    "one": CategoricalDistribution((0,)),
    "fixed": IntDistribution(3, 3),
}
SAMPLERS: list[Callable[[int], BaseSampler]] = [
    lambda seed: RandomSampler(seed=seed),
    lambda seed: TPESampler(seed=seed),
]


def _draw(sampler: BaseSampler, trials: Callable[[], Trials], number: int) -> dict[str, Any]:
    return draw(sampler, AXES, trials, number, lambda *_: True)


@pytest.mark.parametrize("make", SAMPLERS, ids=["random", "tpe"])
def test_a_point_is_what_optuna_draws_itself(make: Callable[[int], BaseSampler]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    states = TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, None
    for number in range(40):
        drawn = _draw(make(number), lambda: study.get_trials(deepcopy=False), number)
        study.sampler = make(number)
        trial = study.ask(AXES)
        assert drawn == trial.params
        trial.report(trial.params["r"] / 64, 1)
        if (state := states[number % len(states)]) is not None:  # each fifth stays under way
            study.tell(trial, trial.params["r"] if state == TrialState.COMPLETE else None, state=state)


def test_a_sampler_that_learns_nothing_is_shown_no_trials() -> None:
    def never() -> list[optuna.trial.FrozenTrial]:
        raise AssertionError("was asked for trials")

    assert set(_draw(RandomSampler(seed=1), never, 0)) == set(AXES)


def test_trials_are_asked_for_once() -> None:
    asked: list[int] = []

    def trials() -> list[optuna.trial.FrozenTrial]:
        asked.append(1)
        return []

    _draw(TPESampler(seed=1), trials, 0)
    assert len(asked) == 1
