"""How the learning rate moves: a factor of the recipe's rate, as a function of the optimizer's steps done.

constant, linear and cosine are transformers' (a test compares them); cyclic is the triangular policy of Smith 2017,
"Cyclical Learning Rates", section 3.1, one cycle an epoch from a tenth of the rate; reduce_lr_on_plateau halves the
rate after an evaluation that did not lower the validation loss. Rejected: torch's CyclicLR and ReduceLROnPlateau, which
write over each other's rates, take no warm-up, and keep state that a function of the step does not need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loraloom.recipe.fields import SchedulerType

CYCLE_LOW = 0.1
PLATEAU_FACTOR = 0.5
PLATEAU_THRESHOLD = 1e-4


@dataclass(slots=True)
class Plateau:
    """The state of reduce_lr_on_plateau: the factor so far, and the lowest validation loss."""

    factor: float = 1.0
    lowest: float = math.inf

    def see(self, loss: float) -> None:
        """Takes note of an evaluation; no relative gain of a ten-thousandth halves the rate."""
        if loss < self.lowest * (1 - PLATEAU_THRESHOLD):
            self.lowest = loss
        else:
            self.factor *= PLATEAU_FACTOR

    def state(self) -> dict[str, float | None]:
        """For a checkpoint; JSON has no infinity."""
        return {"factor": self.factor, "lowest": None if self.lowest == math.inf else self.lowest}

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Goes on from what `state` gave."""
        factor, lowest = state["factor"], state["lowest"]
        assert factor is not None
        self.factor, self.lowest = factor, math.inf if lowest is None else lowest


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of `total` optimizer steps, the first `warmup` of them rising from 0."""

    kind: SchedulerType
    total: int
    warmup: int
    steps_per_epoch: int
    plateau: Plateau

    @property
    def falls(self) -> bool:
        """Whether the rate is to have fallen to nothing at the end."""
        return self.kind in ("linear", "cosine")

    def factor(self, step: int) -> float:
        """The factor after `step` steps."""
        if step < self.warmup:
            return step / self.warmup
        done = step - self.warmup
        progress = done / max(1, self.total - self.warmup)
        match self.kind:
            case "constant":
                return 1.0
            case "linear":
                return max(0.0, 1 - progress)
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
            case "cyclic":
                return CYCLE_LOW + (1 - CYCLE_LOW) * _triangle(done / max(2, self.steps_per_epoch))
            case "reduce_lr_on_plateau":
                return self.plateau.factor


def _triangle(position: float) -> float:
    """0 at whole cycles, 1 halfway between."""
    return 1 - abs(2 * (position % 1) - 1)
