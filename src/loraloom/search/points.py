"""How a point of a recipe stands in the ledger: as `params` by axis, a list's values by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from loraloom.recipe import Axis, Choices, Range, Recipe


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
    """A point as the ledger holds it; lists in it may have been read from JSON, where a tuple is one."""
    return {
        name: axis.names[axis.values.index(_frozen(point[name]))] if isinstance(axis, Choices) else point[name]
        for name, axis in axes.items()
        if name in point
    }


def point_of(recipe: Recipe, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point that the ledger holds as `params`; None where an active axis is not written yet."""
    try:
        return recipe.point(lambda name: value_of(recipe.axes[name], params[name]))
    except KeyError:
        return None


def value_of(axis: Axis, param: Any) -> Any:
    """The value of an axis that the ledger holds as `param`."""
    return axis.values[axis.names.index(param)] if isinstance(axis, Choices) else param


def point_key(params: Mapping[str, Any]) -> str:
    """A configuration's name: its params as the ledger holds them, as JSON."""
    return json.dumps(dict(sorted(params.items())))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
