"""fANOVA importances: how much of what a forest predicts varies with each axis alone (Optuna's).

Source: Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance", algorithm
2. Shares, not effects: they have no sign and no interval, they sum to one whatever the data, and noise gets its share
too. So they stand beside the model, with `explained`, the model's own share, to weigh them by. What other rows make is
no axis's: each block's mean is taken off first. The forest is small
and seeded, and sees at most `MOST_TRIALS` configurations drawn by chance: under a second. Optuna gives each name a
column, and goes through 2^k cells of k of them: more than `MOST_NAMES` are numbered instead, in an order that knows
nothing of results: by their mean results, noise of many names would explain half of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loraloom.report.effects.axes import Axis
from loraloom.report.effects.observations import Table

MOST_TRIALS = 250
TREES = 12
LEAST_TRIALS = 10
MOST_NAMES = 8


def importances(table: Table, axes: Sequence[Axis]) -> Mapping[str, float] | None:
    """Each axis's share, the largest first; None where there are too few configurations, or all came to the same."""
    if table.size < LEAST_TRIALS or not axes or float(np.ptp(metric := table.within)) == 0:
        return None
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    rows = table.drawn(MOST_TRIALS).tolist()
    distributions: dict[str, BaseDistribution] = {}
    columns: dict[str, Sequence[Any]] = {}
    for axis in axes:
        if axis.numbers is None and len(axis.labels) <= MOST_NAMES:
            columns[axis.name] = [int(axis.level_of[row]) for row in rows]
            distributions[axis.name] = CategoricalDistribution(tuple(range(len(axis.labels))))
        else:
            numbers = axis.level_of.astype(np.float64) if axis.numbers is None else axis.numbers
            columns[axis.name] = [float(numbers[row]) for row in rows]
            distributions[axis.name] = FloatDistribution(float(numbers.min()), float(numbers.max()))
    trials = [
        optuna.trial.create_trial(
            params={name: column[place] for name, column in columns.items()},
            distributions=distributions,
            value=float(metric[row]),
        )
        for place, row in enumerate(rows)
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=16, seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except RuntimeError:  # every tree predicts one value alone
        return None
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in sorted(found.items(), key=lambda item: -item[1])}
