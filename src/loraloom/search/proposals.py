"""Which trial comes next: broken trials again, missing seeds of a configuration, then a new configuration.

The next trial is a function of the recipe and the ledger alone, samplers included (each proposal has its own seed), so
a resumed search proposes what it would have proposed. tpe is Bergstra et al. 2011, "Algorithms for Hyper-Parameter
Optimization", section 4, as Optuna has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from loraloom.recipe import Axis, Choices, Configuration, Range, Recipe
from loraloom.study.ledger import Entry, Ledger

DEFAULT_TRIALS = 20
MAX_REJECTED = 200
"""Proposals in a row that may be over the cap or already tried before the space counts as spent."""

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
        self._distributions = {name: distribution(axis) for name, axis in recipe.axes.items()}
        self._grid = (
            [] if self._samples else [point for point in recipe.grid() if fits(recipe.configuration(point)) is None]
        )

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
            if entry.state == "running":
                sampler = make_sampler(self._recipe, entry.number)
                yield from self._fitting(self._ledger.ask_again(entry.number, self._distributions, sampler))

    def _fitting(self, entry: Entry) -> Iterator[Proposal]:
        """The proposal of an entry, unless it was to be rejected when the kill came."""
        proposal, key = self._proposal(entry), _key(entry.params)
        twice = any(
            other.number < entry.number and other.seed_index == entry.seed_index and _key(other.params) == key
            for other in self._ledger.entries()
            if other.state not in ("rejected", "waiting")
        )
        why = "already tried" if twice else self._fits(proposal.configuration)
        if why is None:
            yield proposal
        else:
            self._ledger.reject(entry.number, why)

    def next(self) -> Proposal | None:
        """The next trial, begun in the ledger; None where the plan is done or the space is spent."""
        tried = self._tried()
        for key, entries in tried.items():
            if len(entries) < self._recipe.search.seeds and all(e.state == "complete" for e in entries):
                return self._proposal(self._ask(json.loads(key), seed_index=len(entries)))
        if len(tried) >= self.configurations:
            return None
        return self._sampled(tried) if self._samples else self._from_grid(tried)

    def _tried(self) -> dict[str, list[Entry]]:
        """Trials by configuration, in the order in which configurations were first tried."""
        tried: dict[str, list[Entry]] = {}
        for entry in self._ledger.entries():
            if entry.state not in ("rejected", "waiting"):
                tried.setdefault(_key(entry.params), []).append(entry)
        return tried

    def _from_grid(self, tried: dict[str, list[Entry]]) -> Proposal | None:
        for point in self._grid:
            params = ledger_params(self._recipe.axes, point)
            if _key(params) not in tried:
                return self._proposal(self._ask(params))
        return None

    def _sampled(self, tried: dict[str, list[Entry]]) -> Proposal | None:
        for _ in range(MAX_REJECTED):
            entry = self._ask(None)
            proposal = self._proposal(entry)
            why = "already tried" if _key(entry.params) in tried else self._fits(proposal.configuration)
            if why is None:
                return proposal
            self._ledger.reject(entry.number, why)
        return None

    def _ask(self, params: Mapping[str, Any] | None, seed_index: int = 0) -> Entry:
        sampler = make_sampler(self._recipe, len(self._ledger.entries()))
        return self._ledger.ask(self._distributions, sampler, params, seed_index)

    def _proposal(self, entry: Entry) -> Proposal:
        point = {name: _value(axis, entry.params[name]) for name, axis in self._recipe.axes.items()}
        base = self._recipe.configuration(point)
        seed = base.train.seed + entry.seed_index
        train = base.train.model_copy(update={"seed": seed})
        return Proposal(entry.number, point, base.model_copy(update={"train": train}))


def make_sampler(recipe: Recipe, asked: int) -> optuna.samplers.BaseSampler:
    """The sampler of the proposal after `asked` others."""
    seed = (recipe.train.seed + asked) % 2**32
    if recipe.search.sampler == "tpe":
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


def ledger_params(axes: Mapping[str, Axis], point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as the ledger holds it."""
    return {
        name: axis.names[axis.values.index(point[name])] if isinstance(axis, Choices) else point[name]
        for name, axis in axes.items()
    }


def _value(axis: Axis, param: Any) -> Any:
    """The value of an axis that the ledger holds as `param`."""
    return axis.values[axis.names.index(param)] if isinstance(axis, Choices) else param


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(params.items())))
