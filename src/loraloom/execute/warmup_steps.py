"""`train.warmup_steps` that no training comes to the end of: its rate then never comes to `train.learning_rate`.

A warm-up that is drawn of a range is kept short enough (`search/proposals.py`), and is no matter here.
"""

from __future__ import annotations

from loraloom.data import Finding
from loraloom.recipe import Range, Recipe, Train
from loraloom.search.plan import Plan
from loraloom.search.task import Task

FIELD = "train.warmup_steps"


def told_by_recipe(recipe: Recipe, rows: int) -> Finding | None:
    """Where the recipe leaves trainings on `rows` too few steps for it; None too where a clock gives the passes."""
    if recipe.search.epochs == "clock":
        return None
    longest = {
        "num_train_epochs": max(recipe.values("train.num_train_epochs")),
        "per_device_train_batch_size": min(recipe.values("train.per_device_train_batch_size")),
        "gradient_accumulation_steps": min(recipe.values("train.gradient_accumulation_steps")),
    }
    sentence = _sentence(recipe, _steps(recipe.train.model_copy(update=longest), rows), "a training has")
    return None if sentence is None else Finding("warm_up", "warning", _warm_up(recipe), f"{sentence}.")


def told_by_plan(plan: Plan, task: Task) -> str | None:
    """Where the time leaves finals too few steps for it; None too where `told_by_recipe` has told it."""
    if told_by_recipe(task.recipe, task.train_rows) is not None:
        return None
    finals = (plan.planned(kind, plan.top) for kind in task.kinds)
    longest = max(_steps(final.train, task.rows(plan.top)) for final in finals)
    return _sentence(task.recipe, longest, "the time allows a training")


def _warm_up(recipe: Recipe) -> int:
    """The longest that is tried."""
    return int(max(recipe.values(FIELD)))


def _steps(train: Train, rows: int) -> int:
    from loraloom.engine.progress import plan_schedule  # with torch

    return plan_schedule(train, rows).total


def _sentence(recipe: Recipe, longest: int, who: str) -> str | None:
    """What is told where `who` has so many steps at most; None where the warm-up is shorter."""
    warm_up = _warm_up(recipe)
    if isinstance(recipe.axes.get(FIELD), Range) or warm_up < longest:
        return None
    rate = "the rate never comes to train.learning_rate"
    return f"{FIELD}: {rate}, rising for {warm_up:,} steps where {who} {longest:,} at most"
