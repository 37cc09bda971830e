"""When a poor trial ends early: by its validation metric after each evaluation.

halving is asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning",
algorithm 2), hyperband is Li et al. 2018, algorithm 1; both are Optuna's. The resource is the evaluation's number: the
minimum resource r is 1, the reduction factor eta is 3. Where the resource is rows, no trial ends early: `ladder.py`
decides which configurations get more of them.
"""

from __future__ import annotations

import itertools

import optuna

from loraloom.recipe import Recipe
from loraloom.search.ladder import REDUCTION_FACTOR


def make_pruner(recipe: Recipe) -> optuna.pruners.BasePruner:
    """The recipe's pruner of trials under way."""
    if recipe.search.resource == "rows":
        return optuna.pruners.NopPruner()
    match recipe.search.pruner:
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION_FACTOR)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=_most_evaluations(recipe), reduction_factor=REDUCTION_FACTOR
            )
        case "auto" | "none":
            return optuna.pruners.NopPruner()


def _most_evaluations(recipe: Recipe) -> int:
    """R: as often as any trial is evaluated. Optuna would take it from the first trial that ends."""
    told_by = ("num_train_epochs", "lr_scheduler_type", "eval_strategy")
    every = itertools.product(*(recipe.values(f"train.{name}") for name in told_by))
    return max(recipe.train.model_copy(update=dict(zip(told_by, values, strict=True))).evaluations for values in every)
