"""Which trial comes next: broken trials again, missing seeds of a configuration, then a new configuration.

The next trial is a function of the recipe and the ledger alone, samplers included (each proposal has its own seed), so
a resumed search proposes what it would have proposed. tpe is Bergstra et al. 2011, "Algorithms for Hyper-Parameter
Optimization", section 4, as Optuna has it: axes that are always active are drawn together (multivariate), conditional
ones each by itself. auto tries the presets first, and goes on as tpe, which learns from them. Rejected: Optuna's
`group=True`, which draws conditional axes together too; it is experimental, and was no better (docs/log.md).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from loraloom.recipe import Axis, Choices, Configuration, Range, Recipe
from loraloom.search.presets import preset_points
from loraloom.study.ledger import Entry, Ledger

DEFAULT_TRIALS = 20
MAX_REJECTED = 200
"""Proposals in a row that may be over the cap or already tried before the space counts as spent."""
STUCK_AFTER = 20
"""Rejected proposals in a row after which the next is drawn at random: tpe learns nothing from a rejected one."""

Fits = Callable[[Configuration], str | None]
"""Why a configuration is not to be trained (over the cap, say), or None."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to train: its number in the ledger, its point, and which of the configuration's seeds."""

    number: int
    point: dict[str, Any]
    configuration: Configuration


class Proposals:
    """The trials of a search, one after another."""

    def __init__(self, recipe: Recipe, ledger: Ledger, fits: Fits) -> None:
        self._recipe, self._ledger, self._fits = recipe, ledger, fits
        self._distributions = {name: distribution(recipe.axes[name]) for name in recipe.ordered()}
        self._grid = (
            [] if self._samples else [point for point in recipe.grid() if fits(recipe.configuration(point)) is None]
        )
        self._presets = preset_points(recipe, fits) if recipe.search.sampler == "auto" else []

    @property
    def _samples(self) -> bool:
        return self._recipe.search.sampler != "grid"

    @property
    def configurations(self) -> int:
        """How many configurations the search will try, at most."""
        wanted = self._recipe.search.n_trials
        if self._samples:
            return wanted or DEFAULT_TRIALS
        return min(len(self._grid), wanted or len(self._grid))

    @property
    def trials(self) -> int:
        return self.configurations * self._recipe.search.seeds

    def interrupted(self) -> Iterator[Proposal]:
        """Trials that were under way when the run was broken off, to be begun again."""
        for entry in self._ledger.entries():
            if entry.state == "running" and self._is_whole(entry):
                yield self._proposal(entry)
            elif entry.state == "running":
                self._ledger.reject(entry.number, "broken off before its point was written")

    def _is_whole(self, entry: Entry) -> bool:
        return _point(self._recipe, entry.params) is not None

    def next(self) -> Proposal | None:
        """The next trial, begun in the ledger; None where the plan is done or the space is spent."""
        tried = self._tried()
        for key, entries in tried.items():
            if len(entries) < self._recipe.search.seeds and all(e.state == "complete" for e in entries):
                return self._proposal(self._ask(json.loads(key), seed_index=len(entries)))
        if len(tried) >= self.configurations:
            return None
        return self._sampled(tried) if self._samples else self._first_of(self._grid, tried)

    def _tried(self) -> dict[str, list[Entry]]:
        """Trials by configuration, in the order in which configurations were first tried."""
        tried: dict[str, list[Entry]] = {}
        for entry in self._ledger.entries():
            if entry.state not in ("rejected", "waiting"):
                tried.setdefault(_key(entry.params), []).append(entry)
        return tried

    def _first_of(self, points: Sequence[dict[str, Any]], tried: dict[str, list[Entry]]) -> Proposal | None:
        """The first of `points` that was not tried."""
        for point in points:
            params = _params(self._recipe.axes, point)
            if _key(params) not in tried:
                return self._proposal(self._ask(params))
        return None

    def _sampled(self, tried: dict[str, list[Entry]]) -> Proposal | None:
        if (preset := self._first_of(self._presets, tried)) is not None:
            return preset
        for _ in range(MAX_REJECTED):
            entry = self._ask(None)
            proposal = self._proposal(entry)
            why = "already tried" if _key(entry.params) in tried else self._fits(proposal.configuration)
            if why is None:
                return proposal
            self._ledger.reject(entry.number, why)
        return None

    def _ask(self, params: Mapping[str, Any] | None, seed_index: int = 0) -> Entry:
        entries = self._ledger.entries()
        rejected = len(list(itertools.takewhile(lambda entry: entry.state == "rejected", reversed(entries))))
        sampler = make_sampler(self._recipe, len(entries), rejected)
        return self._ledger.ask(self._distributions, sampler, params, seed_index, self._is_active)

    def _is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        axes = self._recipe.axes
        return self._recipe.is_active(name, {other: _value(axes[other], param) for other, param in params.items()})

    def _proposal(self, entry: Entry) -> Proposal:
        point = _point(self._recipe, entry.params)
        assert point is not None
        base = self._recipe.configuration(point)
        seed = base.train.seed + entry.seed_index
        train = base.train.model_copy(update={"seed": seed})
        return Proposal(entry.number, point, base.model_copy(update={"train": train}))


def make_sampler(recipe: Recipe, asked: int, rejected: int = 0) -> optuna.samplers.BaseSampler:
    """The sampler of the proposal after `asked` others, of which the last `rejected` were rejected."""
    seed = (recipe.train.seed + asked) % 2**32
    if recipe.search.sampler in ("tpe", "auto") and rejected < STUCK_AFTER:
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def distribution(axis: Axis) -> BaseDistribution:
    """An axis as Optuna has it."""
    match axis:
        case Choices():
            return CategoricalDistribution(axis.names)
        case Range(int(low), int(high), log):
            return IntDistribution(low, high, log=log)
        case Range(low, high, log):
            return FloatDistribution(low, high, log=log)


def _params(axes: Mapping[str, Axis], point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as the ledger holds it."""
    return {
        name: axis.names[axis.values.index(point[name])] if isinstance(axis, Choices) else point[name]
        for name, axis in axes.items()
        if name in point
    }


def _point(recipe: Recipe, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point that the ledger holds as `params`; None where an active axis is not written yet."""
    point: dict[str, Any] = {}
    for name in recipe.ordered():
        if recipe.is_active(name, point):
            if name not in params:
                return None
            point[name] = _value(recipe.axes[name], params[name])
    return {name: point[name] for name in recipe.axes if name in point}


def _value(axis: Axis, param: Any) -> Any:
    """The value of an axis that the ledger holds as `param`."""
    return axis.values[axis.names.index(param)] if isinstance(axis, Choices) else param


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(params.items())))
