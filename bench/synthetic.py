"""Finished trials as training might have left them, for benches that need many, and nothing of their training."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from loraloom.recipe import Choices, Recipe
from loraloom.study.record import Counts, Ended, Result, Score, Timings, TrialRecord

LABELS = ("world", "sports", "business", "technology")


def drawn_point(recipe: Recipe, chance: random.Random) -> dict[str, Any]:
    """A value for each axis that is active, drawn evenly on the axis's scale."""
    point: dict[str, Any] = {}
    for name in recipe.ordered():
        axis = recipe.axes[name]
        if not recipe.is_active(name, point):
            continue
        if isinstance(axis, Choices):
            point[name] = chance.choice(axis.values)
        else:
            low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
            drawn = chance.uniform(low, high)
            drawn = math.exp(drawn) if axis.log else drawn
            point[name] = round(drawn) if isinstance(axis.low, int) else drawn
    return point


def synthetic_record(
    recipe: Recipe,
    number: int,
    point: Mapping[str, Any],
    score: Score | None,
    *,
    seconds: float,
    seed: int | None = None,
    state: Ended = "complete",
    reason: str | None = None,
) -> TrialRecord:
    """A trial of four classes whose score on validation rows is `score`, if it has one."""
    lora = 9_216 * int(point["lora.r"])
    return TrialRecord(
        number=number,
        state=state,
        reason=reason,
        configuration=recipe.configuration(point),
        point=dict(point),
        seed=recipe.train.seed if seed is None else seed,
        labels=LABELS,
        label_codes=("1", "2", "3", "4"),
        counts=Counts(trainable=600_000 + lora, lora=lora, bias=0, head=600_000, frozen=124_000_000),
        result=None if score is None else Result(validation=score),
        timings=Timings(seconds=seconds, train_seconds=50.0, examples_per_second=99.0),
        engine="loom",
        dtype="bf16",
    )


def confusion(classes: int, rows: int, wrong: int) -> tuple[tuple[int, ...], ...]:
    """Counts (C, C) of true by predicted class: the first rows are wrong, each said to be of the next class."""
    counts = [[0] * classes for _ in range(classes)]
    for row in range(rows):
        counts[row % classes][(row + (row < wrong)) % classes] += 1
    return tuple(map(tuple, counts))
