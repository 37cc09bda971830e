"""For a cap on trainable parameters, the preset of the learning curve: what loraloom's budget says can be had under it.

The first of these that fits, with the largest rank that fits: LoRA on all linear layers with rank 2 or more; on query
and value of all layers; on query and value of as many top layers as fit, with rank 1. Always without biases, with a
linear head on the mean of the tokens, alpha 4 r; rank 16 at most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loraloom import budget
from loraloom.errors import BudgetError
from loraloom.execute.workplace import Workplace
from loraloom.recipe import Recipe

CAPS = 10_000, 100_000, 1_000_000
MOST = 16
_BASE: dict[str, Any] = {"lora.bias": "none", "head.kind": "linear", "head.pooling": "mean"}


def best_preset(place: Workplace, recipe: Recipe, cap: int) -> dict[str, Any]:
    """The point, over the recipe's, that is trained under `cap`.

    Raises:
        BudgetError: not even one layer with rank 1 fits.
    """
    wide = {**_BASE, "lora.target_modules": "all-linear"}
    if (rank := _largest_rank(place, recipe, wide, cap)) >= 2:
        return _with_rank(wide, rank)
    if (rank := _largest_rank(place, recipe, _BASE, cap)) >= 1:
        return _with_rank(_BASE, rank)
    adapted = place.demands.adaptation(recipe.configuration(_BASE)).adapted
    layers = sorted({linear.layer for linear in adapted})
    for first in range(1, len(layers)):
        top = {**_BASE, "lora.layers_to_transform": tuple(layers[first:])}
        if _largest_rank(place, recipe, top, cap) >= 1:
            return _with_rank(top, 1)
    raise BudgetError(f"no preset of {recipe.configuration({}).backbone.model} fits {cap:,} parameters")


def _largest_rank(place: Workplace, recipe: Recipe, point: dict[str, Any], cap: int) -> int:
    adaptation = place.demands.adaptation(recipe.configuration(point))
    return min(MOST, budget.largest_rank(replace(adaptation, r=1), cap))


def _with_rank(point: dict[str, Any], rank: int) -> dict[str, Any]:
    return {**point, "lora.r": rank, "lora.lora_alpha": 4 * rank}
