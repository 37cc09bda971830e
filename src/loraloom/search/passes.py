"""Passes over the rows by the clock: for each kind of trial as many as end in the time that it is given."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from loraloom.recipe import Configuration
from loraloom.search.costs import Costs, Key, cost_key, most_like
from loraloom.search.task import Task

EPOCHS = (16, 12, 8, 6, 5, 4, 3, 2.5, 2, 1.6, 1.3, 1, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
"""Passes that are planned with, most first: coarse, so that kinds of like cost have as many."""
FITTED_EPOCHS = tuple(twentieths / 20 for twentieths in range(20 * EPOCHS[0], 0, -1))
"""Passes of finals, most first: fine, so that they use all the time that is left."""
MOST_EPOCHS, MANY_ROWS = 4, 16_000
"""Passes at most, where they come to this many rows; fewer rows are seen more often."""
FEWEST_EPOCHS, MOST_SEEN = 2, 64_000
"""Passes at most over rows so many that four would come to more than `MOST_SEEN`: further ones teach nothing new."""


def most_passes(rows: int) -> float:
    """Passes over so many rows that are worth their time; further seeds and configurations are worth more."""
    return min(EPOCHS[0], max(min(MOST_EPOCHS, MOST_SEEN / rows), FEWEST_EPOCHS, math.ceil(MANY_ROWS / rows)))


def passes(task: Task, costs: Costs, rows: int, seconds: float, choices: Sequence[float] = EPOCHS) -> dict[Key, float]:
    """For each kind the most of `choices` over `rows` that end in `seconds`, with the states that are kept for it."""
    rung, most = task.rung_of(rows), most_passes(rows)
    validated = task.validated(rung)
    found: dict[Key, float] = {}
    for kind in task.kinds:
        left = seconds - costs.shared_seconds(kind, rows, validated)

        def fits(epochs: float, kind: Configuration = kind, left: float = left) -> bool:
            return epochs <= most and costs.seconds(on_rung(with_epochs(kind, epochs), rung), rows, validated) <= left

        found[cost_key(kind)] = choices[min(bisect_left(choices, True, key=fits), len(choices) - 1)]
    return found


def passes_of(key: Key, epochs: Mapping[Key, float]) -> float:
    """The passes of a kind; where it was not planned for, within a range, the fewest of those that are most like it.

    As its seconds are taken for those of the slowest that are most like it (`Costs`).
    """
    return min(epochs[alike] for alike in most_like(key, epochs))


def on_rung(configuration: Configuration, rung: int | None) -> Configuration:
    """A configuration as it is tried on a rung: on a part of the rows, its end is all that is asked of it."""
    return configuration if rung is None else configuration.with_fields(train={"eval_strategy": "end"})


def with_epochs(configuration: Configuration, epochs: float) -> Configuration:
    """A configuration that is trained for so many passes."""
    return configuration.with_fields(train={"num_train_epochs": epochs})
