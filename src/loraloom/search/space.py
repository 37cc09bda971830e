"""The space that `auto` searches where a recipe has no axes: what matters for a LoRA classifier, in sensible ranges.

What the recipe writes stays as it is written. Numbers are ranges, so that the sampler knows that 8 lies between 4 and
16. Under a deadline epochs are no axis, unless the search has no rungs of rows: a finalist has as many as fit
(`search.epochs`), here and where a recipe that asks for `auto` has axes of its own. Not varied: dropout of the
adapters, which short trainings hardly need; sgd, which needs rates far above this range. Decay is varied with adamw
alone: without decay adamw is adam.
"""

from __future__ import annotations

import math
from typing import Any

from loraloom.errors import RecipeError
from loraloom.recipe import Axis, Choices, Condition, Range, Recipe
from loraloom.recipe.conditions import without_impossible

# The first of the choices are those of the first preset, so that the warm-up measures what that takes.
SPACE: dict[str, Axis] = {
    "backbone.dropout": Choices(("off", "keep")),
    "lora.r": Range(1, 32, log=True),
    "lora.lora_alpha": Range(8, 64, log=True),
    "lora.bias": Choices(("none", "lora_only")),
    "lora.target_modules": Choices(("all-linear", None)),
    "lora.layers_to_transform": Choices(("top-half", None)),
    "head.kind": Choices(("linear", "native")),
    "head.pooling": Choices(("native", "mean")),
    "train.optim": Choices(("adamw", "adam", "muon")),
    "train.weight_decay": Range(0.001, 0.1, log=True, when=(Condition("train.optim", ("adamw",)),)),
    "train.learning_rate": Range(1e-4, 5e-3, log=True),
    "train.per_device_train_batch_size": Choices((16, 8, 32)),
    "train.label_smoothing_factor": Choices((0.1, 0.0)),
    "train.num_train_epochs": Choices((1, 2, 4)),
    "train.lr_scheduler_type": Choices(("linear", "cosine", "constant")),
    "train.warmup_steps": Range(0, 300, log=False, when=(Condition("train.lr_scheduler_type", ("linear", "cosine")),)),
}


LENGTHS = (256, 512)
"""Tokens to which texts are kept too, where more than a twentieth are longer than `data.max_length`."""
_EPOCHS, _MODEL, _LENGTH = "train.num_train_epochs", "backbone.model", "data.max_length"


def default_space(recipe: Recipe, *, deadline: bool = False) -> Recipe:
    """A recipe that asks for `auto` and has no axes, with those of `SPACE` that it does not write; others as they are.

    A list of models is no space of its own: they are searched together with all else. With a `deadline`, epochs that
    a recipe that asks for `auto` does not write are as many as the time allows, whatever its axes, unless its search
    has no rungs of rows; and a recipe of data, models and budget alone is one that asks for `auto`.

    Raises:
        RecipeError: it writes every field of the space; or it asks for rungs of rows and for a search without them, or
            for epochs by a clock that there is not, or by the clock and by its own list or range.
    """
    _refuse_contradictions(recipe, deadline)
    own_axes = recipe.axes.keys() - {_MODEL}
    if deadline and not own_axes and _writes_no_configuration(recipe):
        recipe = recipe.with_fields(search={"sampler": "auto"})
    if recipe.search.sampler != "auto":
        return recipe
    epochs = recipe.search.epochs
    if epochs == "auto":
        epochs = "clock" if deadline and not _is_written(recipe, _EPOCHS) and has_rungs(recipe) else "recipe"
    if own_axes:
        return recipe.with_fields(search={"epochs": epochs}) if epochs == "clock" else recipe
    axes = {**recipe.axes, **{name: axis for name, axis in SPACE.items() if not _is_written(recipe, name)}}
    if epochs == "clock":
        axes.pop(_EPOCHS, None)
    recipe = recipe.with_fields(search={"epochs": epochs})
    # a condition on a field that the recipe writes may be one that never holds
    searched = without_impossible(recipe.model_copy(update={"axes": axes}), set(SPACE))
    if not searched.axes.keys() - {_MODEL}:
        raise RecipeError(
            "search.sampler: 'auto' has nothing to vary: the recipe writes every field of the default space "
            f"({', '.join(SPACE)}); leave some out, or write a list or a range in one"
        )
    return _with_bases(searched)


def leaves_length_open(asked: Recipe, searched: Recipe) -> bool:
    """Whether a recipe whose default space is `searched` by the clock leaves it to that how long texts are."""
    own = asked.axes.keys() - {_MODEL} or _is_written(asked, _LENGTH)
    return not own and (searched.search.sampler, searched.search.epochs) == ("auto", "clock")


def with_length(recipe: Recipe, tokens: int, most: int | None) -> Recipe:
    """The space with a longer `data.max_length` before the recipe's, where a twentieth of the texts has over `tokens`.

    The two are compared by what they reach in the same time. `most` is what the models read.
    """
    short = recipe.data.max_length
    longer = min(next((length for length in LENGTHS if length >= tokens), LENGTHS[-1]), most or LENGTHS[-1])
    if tokens <= short or longer <= short:
        return recipe
    return _with_bases(recipe.model_copy(update={"axes": {**recipe.axes, _LENGTH: Choices((longer, short))}}))


def compared_lengths(recipe: Recipe) -> tuple[int, ...]:
    """The lengths of texts that a search by the clock compares, shortest first; one where it has no choice of them."""
    axis, search = recipe.axes.get(_LENGTH), recipe.search
    by_clock = search.sampler == "auto" and search.epochs == "clock"
    values = axis.values if by_clock and isinstance(axis, Choices) and not axis.when else (recipe.data.max_length,)
    return tuple(sorted(values))


def without_longer(recipe: Recipe, longest: int) -> Recipe:
    """The space with those alone of the lengths that it compares that are no longer than `longest` tokens."""
    kept = Choices(tuple(length for length in recipe.axes[_LENGTH].values if length <= longest))
    return _with_bases(recipe.model_copy(update={"axes": {**recipe.axes, _LENGTH: kept}}))


def has_rungs(recipe: Recipe) -> bool:
    """Whether its search may try configurations on rungs of rows, which epochs by the clock need."""
    return recipe.search.pruner != "none" and recipe.search.resource == "rows"


def may_be_clocked(recipe: Recipe) -> bool:
    """Whether its search may be told to have epochs by the clock, where there is one."""
    return has_rungs(recipe) and _EPOCHS not in recipe.axes


def refuse_no_clock(recipe: Recipe, options: str) -> None:
    """Refuses epochs by a clock where there is none; `options` would give one.

    Raises:
        RecipeError: the recipe asks for them.
    """
    if recipe.search.epochs == "clock":
        raise RecipeError(f"search.epochs: clock needs a deadline: {options}")


def again_seconds(recipe: Recipe, max_seconds: float | None) -> int | None:
    """What a command that goes on is to be given: as much again, where passes are by the clock, and no recipe's."""
    if max_seconds is None or recipe.search.epochs != "clock" or recipe.budget.max_seconds is not None:
        return None
    return max(1, math.ceil(max_seconds))


def _refuse_contradictions(recipe: Recipe, deadline: bool) -> None:
    search = recipe.search
    if not deadline:
        refuse_no_clock(recipe, "budget.max_seconds or --deadline")
    if search.epochs == "clock" and not has_rungs(recipe):
        field = "pruner" if search.pruner == "none" else "resource"
        raise RecipeError(
            f"search.epochs: 'clock' needs rungs of rows, which search.{field}: {getattr(search, field)} rules out; "
            f"write search.epochs: auto, or leave search.{field} out"
        )
    if search.epochs == "clock" and _EPOCHS in recipe.axes:
        raise RecipeError(
            f"search.epochs: 'clock' would train all values of {_EPOCHS} alike; write search.epochs: recipe, "
            "or one value"
        )
    if deadline and search.pruner == "auto" and search.resource == "epochs":
        raise RecipeError(
            "search.pruner: 'auto' gives more rows under a deadline, and search.resource asks for more epochs; "
            "write halving, hyperband or none"
        )
    _refuse_a_pruner_that_sees_nothing(recipe)


def _refuse_a_pruner_that_sees_nothing(recipe: Recipe) -> None:
    search, schedules = recipe.search, recipe.values("train.lr_scheduler_type")
    once = set(recipe.values("train.eval_strategy")) == {"end"} and "reduce_lr_on_plateau" not in schedules
    if once and search.resource == "epochs" and search.names_a_pruner:
        raise RecipeError(
            f"train.eval_strategy: 'end' leaves search.pruner: {search.pruner} nothing to end a trial by, since "
            "none is evaluated before its end; leave one of them out"
        )


def _writes_no_configuration(recipe: Recipe) -> bool:
    """Whether it says neither what is to be trained, but for its seeds and number type, nor how that is drawn."""
    written = (getattr(recipe, section).model_fields_set for section in ("lora", "head", "train"))
    return "sampler" not in recipe.search.model_fields_set and not set().union(*written) - {"seed", "bf16", "fp16"}


def _is_written(recipe: Recipe, name: str) -> bool:
    """Whether the recipe says what a field is, or gives it an axis."""
    section, leaf = name.split(".")
    return leaf in getattr(recipe, section).model_fields_set


def _with_bases(recipe: Recipe) -> Recipe:
    """The recipe with each axis's first value in its field, as one that is read has it."""
    firsts: dict[str, dict[str, Any]] = {}
    for name, axis in recipe.axes.items():
        if not axis.when:
            section, leaf = name.split(".")
            firsts.setdefault(section, {})[leaf] = axis.first
    return recipe.with_fields(**firsts)
