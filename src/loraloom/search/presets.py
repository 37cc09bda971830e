"""Configurations that are known to be good: where `auto` begins, before it has learnt anything of the data at hand.

Each is a whole configuration as its source has it, fitted to the axes that a recipe has: the nearest allowed number,
the same word, or the axis's first value; and to the cap, by a smaller rank with the same alpha / r. Epochs are fewer
than the sources', which train for dozens. Figures for encoders were preferred; what was found on large language models
is taken for the settings that carried over there.

Rejected: presets that learn from earlier runs, which would make a proposal depend on more than recipe and ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from loraloom.recipe import Axis, Choices, Configuration, Recipe
from loraloom.recipe.axes import is_number

FEW_ROWS = 500
"""Below this number of training rows a preset that is ours pools by the mean: the first token has no time to learn."""

MOST_WARM_UP = 300
"""Steps: many rows are seen often enough to need no tenth of them."""
MANY_SEEN = 48_000
"""Examples, passes counted, beyond which a preset that is ours learns at half the rate (docs/log.md, "Search")."""
EACH_SEEN = 2_000
"""Examples of a class, passes counted, of which the preset with every layer adapted comes first: as long trained as the
other, over less than half as many examples, it is the better one by then (docs/log.md, "Search")."""
TELLING_ROWS = 50
"""Held-out rows below which an accuracy of 0.8 has a standard error of more than 5 points: the best of many trials on
them is the luckiest, so that by the clock the presets that lead are tried alone."""
_COMPARED = ("backbone.model", "data.max_length")
"""What the first preset comes with all values of."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A good configuration: where it is from, and its values by field; whether it is fitted to what it will see."""

    source: str
    values: Mapping[str, Any]
    fitted: bool = False

    def over(self, rows: int | None, seen: float = 0) -> Mapping[str, Any]:
        """The values for so many training rows (None: any), of which `seen` examples are seen in all passes.

        A warm-up of a tenth of a few rows' sixteen passes; with every layer adapted, of a tenth of four passes (Mosbach
        et al. 2021, "On the Stability of Fine-tuning BERT"), within limits: with a shorter one some trainings end by
        chance.
        """
        if not self.fitted:
            return self.values
        values = dict(self.values)
        if seen > MANY_SEEN:
            values["train.learning_rate"] /= 2
        if rows is not None and rows < FEW_ROWS:
            values |= {"head.pooling": "mean", "train.warmup_steps": rows // 10}
        elif rows is not None and values["lora.layers_to_transform"] is None:
            values["train.warmup_steps"] = min(MOST_WARM_UP, max(values["train.warmup_steps"], rows // 40))
        return values

    def within(self, recipe: Recipe) -> Preset:
        """The preset with the layers that `recipe` has it train, by which (null: all of them) its warm-up is chosen."""
        layers = recipe.configuration(_nearest_point(recipe, self.values)).lora.layers_to_transform
        return replace(self, values={**self.values, "lora.layers_to_transform": layers})


_BEST_RUN: dict[str, Any] = {
    "backbone.dropout": "keep",
    "lora.r": 4,
    "lora.lora_alpha": 16,
    "lora.lora_dropout": 0.0,
    "lora.bias": "lora_only",
    "lora.target_modules": None,  # the default: query and value
    "lora.layers_to_transform": None,
    "lora.use_rslora": False,
    "head.kind": "native",
    "head.pooling": "native",
    "train.optim": "adam",
    "train.label_smoothing_factor": 0.0,
    "train.learning_rate": 1e-3,
    "train.per_device_train_batch_size": 16,
    "train.gradient_accumulation_steps": 1,
    "train.num_train_epochs": 1,
    "train.weight_decay": 0.0,
    "train.lr_scheduler_type": "constant",
    "train.warmup_steps": 0,
}

_OWN: dict[str, Any] = {
    **_BEST_RUN,
    "backbone.dropout": "off",
    "lora.r": 16,
    "lora.lora_alpha": 32,
    "lora.bias": "none",
    "lora.target_modules": "all-linear",
    "lora.layers_to_transform": "top-half",
    "head.kind": "linear",
    "train.optim": "adamw",
    "train.label_smoothing_factor": 0.1,
    "train.num_train_epochs": 2,
    "train.weight_decay": 0.01,
    "train.lr_scheduler_type": "linear",
    "train.warmup_steps": 60,
}

PRESETS: tuple[Preset, ...] = (
    Preset("loraloom's own; docs/defaults.md says what was measured of it", _OWN, fitted=True),
    # Which of the two is better depends on the data (docs/log.md, "Search").
    Preset("the same, with every layer adapted", {**_OWN, "lora.layers_to_transform": None}, fitted=True),
    Preset("the best run of a contest on AG News (recipes/agnews-roberta-base.yaml)", _BEST_RUN),
    Preset(
        "Hu et al. 2021, 'LoRA: Low-Rank Adaptation of Large Language Models', appendix D, RoBERTa base on GLUE",
        {
            **_BEST_RUN,
            "lora.r": 8,
            "lora.lora_alpha": 8,
            "lora.bias": "none",
            "train.optim": "adamw",
            "train.learning_rate": 5e-4,
            "train.num_train_epochs": 3,
            "train.weight_decay": 0.1,
            "train.lr_scheduler_type": "linear",
        },
    ),
    Preset(
        "PEFT, examples/sequence_classification/LoRA.ipynb",
        {
            **_BEST_RUN,
            "lora.r": 8,
            "lora.lora_dropout": 0.1,
            "lora.bias": "none",
            "train.optim": "adamw",
            "train.learning_rate": 3e-4,
            "train.per_device_train_batch_size": 32,
            "train.num_train_epochs": 3,
            "train.weight_decay": 0.01,
            "train.lr_scheduler_type": "linear",
        },
    ),
    Preset(
        # Every linear layer, alpha 32 and a constant rate about ten times that of full fine-tuning, for which RoBERTa's
        # own is at most 3e-5; a small batch. The linear head leaves room under a cap for adapting every layer.
        "Schulman et al. 2025, 'LoRA Without Regret'",
        {
            **_BEST_RUN,
            "lora.lora_alpha": 32,
            "lora.bias": "none",
            "lora.target_modules": "all-linear",
            "head.kind": "linear",
            "train.learning_rate": 3e-4,
            "train.num_train_epochs": 2,
        },
    ),
    Preset(
        # Every linear layer before more rank, alpha of 2 r, the highest rate that is stable (they search up to 5e-4).
        "Biderman et al. 2024, 'LoRA Learns Less and Forgets Less'",
        {
            **_BEST_RUN,
            "lora.lora_alpha": 8,
            "lora.bias": "none",
            "lora.target_modules": "all-linear",
            "head.kind": "linear",
            "train.optim": "adamw",
            "train.learning_rate": 5e-4,
            "train.num_train_epochs": 4,
            "train.weight_decay": 0.01,
            "train.lr_scheduler_type": "cosine",
        },
    ),
    Preset(
        # The scale is alpha / sqrt(r): 16 / sqrt(16) is written as 64 / 16, so that it needs no axis of its own.
        "Kalajdzievski 2023, 'A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA'",
        {
            **_BEST_RUN,
            "lora.r": 16,
            "lora.lora_alpha": 64,
            "head.kind": "linear",
            "train.learning_rate": 5e-4,
            "train.num_train_epochs": 2,
            "train.lr_scheduler_type": "linear",
        },
    ),
    Preset(
        "the same contest: eight epochs were better than one",
        {**_BEST_RUN, "train.num_train_epochs": 8, "train.lr_scheduler_type": "linear"},
    ),
)


def in_order(*, every_layer_first: bool) -> Sequence[Preset]:
    """The presets in the order in which they are tried."""
    first, every_layer, *others = PRESETS
    return (every_layer, first, *others) if every_layer_first else PRESETS


def preset_points(
    recipe: Recipe,
    fits: Callable[[Configuration], str | None],
    presets: Sequence[Preset] = PRESETS,
    rows: int | None = None,
    seen: float = 0,
) -> list[dict[str, Any]]:
    """The points of `recipe` that are nearest to the presets, each once; those that fit with no rank are left out.

    The first preset comes with each of the recipe's models and lengths of texts, so that they can be compared, the
    others with the first that fits. `rows` are for training; of them, `seen` examples are seen in all passes.
    """
    first, *others = (preset.within(recipe).over(rows, seen) for preset in presets)
    compared = [dict(zip(_COMPARED, values, strict=True)) for values in product(*map(recipe.values, _COMPARED))]
    points: list[dict[str, Any]] = []
    alternatives = [[{**first, **each}] for each in compared]
    alternatives += [[{**each, **values} for each in compared] for values in others]
    for one_of in alternatives:
        fitting = (_fitting_point(recipe, values, fits) for values in one_of)
        point = next((point for point in fitting if point is not None), None)
        if point is not None and point not in points:
            points.append(point)
    return points


def leading(points: Sequence[Mapping[str, Any]]) -> int:
    """How many of the presets' points lead: the first preset with all that it is compared with, and the one after."""
    found = [tuple(map(point.get, _COMPARED)) for point in points]
    return next((place + 1 for place, one in enumerate(found) if one in found[:place]), len(found))


def too_few_to_choose(recipe: Recipe, held_out: int | None) -> bool:
    """Whether under a clock what leads is tried alone, since so few rows are held out, where the recipe allows it."""
    return held_out is not None and held_out < TELLING_ROWS and recipe.search.n_trials is None


def _fitting_point(
    recipe: Recipe, values: Mapping[str, Any], fits: Callable[[Configuration], str | None]
) -> dict[str, Any] | None:
    """The nearest point that fits, by halves of rank and alpha where it takes them; None where rank 1 does not fit."""
    point = _nearest_point(recipe, values)
    while fits(recipe.configuration(point)) is not None:
        if values.get("lora.r", 1) < 2:
            return None
        values = {**values, **{name: values[name] // 2 for name in ("lora.r", "lora.lora_alpha") if name in values}}
        point = _nearest_point(recipe, values)
    return point


def _nearest_point(recipe: Recipe, values: Mapping[str, Any]) -> dict[str, Any]:
    def nearest(name: str) -> Any:
        axis = recipe.axes[name]
        return _nearest_value(axis, values[name]) if name in values else axis.first

    return recipe.point(nearest)


def _nearest_value(axis: Axis, wanted: Any) -> Any:
    """What `axis` allows that is nearest to `wanted`, by ratio where all are above 0."""
    if isinstance(axis, Choices):
        if wanted in axis.values:
            return axis.values[axis.values.index(wanted)]
        if all(map(is_number, (*axis.values, wanted))):
            by_ratio = min(*axis.values, wanted) > 0
            return min(axis.values, key=lambda value: abs(math.log(value / wanted) if by_ratio else value - wanted))
        return axis.first
    if not is_number(wanted):
        return axis.first
    within = min(max(wanted, axis.low), axis.high)
    whole = isinstance(axis.low, int) and isinstance(axis.high, int)
    return round(within) if whole else float(within)
