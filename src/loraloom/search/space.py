"""The space that `auto` searches where a recipe has no axes: what matters for a LoRA classifier, in sensible ranges.

What the recipe writes stays as it is written. Numbers are ranges, so that the sampler knows that 8 lies between 4 and
16. Not varied: dropout of the adapters, which short trainings hardly need; sgd, which needs rates far above this range.
Decay is varied with adamw alone: without decay adamw is adam.
"""

from __future__ import annotations

from typing import Any

from loraloom.errors import RecipeError
from loraloom.recipe import Axis, Choices, Condition, Range, Recipe
from loraloom.recipe.conditions import without_impossible

SPACE: dict[str, Axis] = {
    "lora.r": Range(1, 32, log=True),
    "lora.lora_alpha": Range(8, 64, log=True),
    "lora.bias": Choices(("lora_only", "none")),
    "lora.target_modules": Choices((None, "all-linear")),
    "head.kind": Choices(("native", "linear")),
    "head.pooling": Choices(("native", "mean")),
    "train.optim": Choices(("adam", "adamw", "muon")),
    "train.weight_decay": Range(0.001, 0.1, log=True, when=(Condition("train.optim", ("adamw",)),)),
    "train.learning_rate": Range(1e-4, 5e-3, log=True),
    "train.per_device_train_batch_size": Choices((8, 16, 32)),
    "train.num_train_epochs": Choices((1, 2, 4)),
    "train.lr_scheduler_type": Choices(("constant", "linear", "cosine")),
    "train.warmup_steps": Range(0, 100, log=False, when=(Condition("train.lr_scheduler_type", ("linear", "cosine")),)),
}


def default_space(recipe: Recipe) -> Recipe:
    """A recipe that asks for `auto` and has no axes, with those of `SPACE` that it does not write; others as they are.

    Raises:
        RecipeError: it writes every field of the space.
    """
    if recipe.axes or recipe.search.sampler != "auto":
        return recipe
    axes = {name: axis for name, axis in SPACE.items() if not _is_written(recipe, name)}
    # a condition on a field that the recipe writes may be one that never holds
    searched = without_impossible(recipe.model_copy(update={"axes": axes}), set(SPACE))
    if not searched.axes:
        raise RecipeError(
            "search.sampler: 'auto' has nothing to vary: the recipe writes every field of the default space "
            f"({', '.join(SPACE)}); leave some out, or write a list or a range in one"
        )
    return _with_bases(searched)


def _is_written(recipe: Recipe, name: str) -> bool:
    section, leaf = name.split(".")
    return leaf in getattr(recipe, section).model_fields_set


def _with_bases(recipe: Recipe) -> Recipe:
    """The recipe with each axis's first value in its field, as one that is read has it."""
    firsts: dict[str, dict[str, Any]] = {}
    for name, axis in recipe.axes.items():
        if not axis.when:
            section, leaf = name.split(".")
            firsts.setdefault(section, {})[leaf] = axis.first
    sections = {name: getattr(recipe, name).model_copy(update=values) for name, values in firsts.items()}
    return recipe.model_copy(update=sections)
