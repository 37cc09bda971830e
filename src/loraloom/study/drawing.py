"""Where a sampler proposes the next point, given trials: nothing is written.

Optuna's samplers read a study. They are given one in memory that shows the trials, so that what they see can be less
than the ledger holds (`search/history.py`), and what they note on the trial that they draw for stays out of the ledger.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

Trials = Sequence[FrozenTrial]
IsActive = Callable[[str, Mapping[str, Any]], bool]
"""Whether an axis is drawn, at what was drawn of those before it."""


def draw(
    sampler: optuna.samplers.BaseSampler,
    distributions: Mapping[str, BaseDistribution],
    trials: Callable[[], Trials],
    number: int,
    is_active: IsActive,
) -> dict[str, Any]:
    """A point for trial `number` of a search that maximises, as `Study.ask` would draw it.

    `trials` are asked for if the sampler looks at them, once.
    """
    study = optuna.create_study(storage=Shown(trials), sampler=sampler, direction="maximize")
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = number
    together = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
    point: dict[str, Any] = {}
    for name, distribution in distributions.items():
        if is_active(name, point):
            point[name] = together[name] if name in together else _alone(sampler, study, trial, name, distribution)
    return point


def _alone(
    sampler: optuna.samplers.BaseSampler, study: optuna.Study, trial: FrozenTrial, name: str, axis: BaseDistribution
) -> Any:
    """A value that doesn't hang on those of other axes; where there is one value, nothing is drawn."""
    match axis:
        case CategoricalDistribution() if axis.single():
            return axis.choices[0]
        case IntDistribution() | FloatDistribution() if axis.single():
            return axis.low
        case _:
            return sampler.sample_independent(study, trial, name, axis)


class Shown(InMemoryStorage):
    """A storage that holds given trials, and in `noted` what a sampler or a pruner notes on the one under way."""

    def __init__(self, trials: Callable[[], Trials]) -> None:
        super().__init__()
        self._ask = trials
        self.noted: dict[str, Any] = {}

    @cached_property
    def _given(self) -> Trials:
        return self._ask()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The given trials of these states, by number."""
        trials = [trial for trial in self._given if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps a note apart. TPE's, for samplers in other processes, serve nobody: the point is in the ledger soon."""
        self.noted[key] = value
