"""What a tracker is told. `tests/tracking/test_contract.py` is the suite that each of them passes.

A tracker lives in a process of its own (`child.py`), imports its library when it begins, and may raise what it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Scalar = str | int | float | bool
Point = tuple[int, Mapping[str, float]]
"""A step, and the metrics at it."""
_OF_TEST = "result/test"
_ROUNDING = 1e-7
"""Of a store that keeps float32."""


@dataclass(frozen=True, slots=True)
class Told:
    """A run as a tracker is told of it. `key` is the run's own, unlike any other run's, `name` its folder's first.

    Both are the same after a resume, from wherever its folder was moved to.
    """

    name: str
    key: str
    folder: Path
    """Where the tracker keeps what it has, unless the user configured the tool for another place."""
    facts: Mapping[str, Scalar]


class Tracker(Protocol):
    """One tool. Trials may be open side by side; `number` says which is meant.

    What is told twice is kept once: a run that is gone on with tells a trial again, from its first step.
    """

    def begin(self, run: Told) -> None:
        """The run begins, or goes on."""

    def begin_trial(self, number: int, varied: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> None:
        """A trial begins, or begins again: the values of the search's axes, and all parameters (those among them)."""

    def log(self, number: int, points: Sequence[Point]) -> None:
        """Metrics of a trial, steps rising."""

    def end_trial(self, number: int, state: str, reason: str | None, figures: Mapping[str, float]) -> None:
        """A trial ended as complete, pruned or failed; `figures` are its final ones."""

    def crown(self, number: int, parameters: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """A trial that ended, with these parameters, is the winner; `figures` now hold its test result."""

    def close(self, *, finished: bool) -> None:
        """All is told: the run is over, or was broken off and may go on. What was told must be kept by the return."""


class Known:
    """The value that a store holds of each (metric, step), the last of several: what is told twice is kept once.

    A winner may be tested again, on more rows or as the mean of its seeds: what its test found is kept anew where it
    has changed.
    """

    def __init__(self, held: Iterable[tuple[str, int, float]]) -> None:
        """`held` is in the order in which it was told."""
        self._held = {(name, step): value for name, step, value in held}

    def fresh(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Those of the metrics at `step` that the store has not got; it counts as having them from now on."""
        new = {name: value for name, value in metrics.items() if self._lacks(name, step, value)}
        self._held.update({(name, step): value for name, value in new.items()})
        return new

    def _lacks(self, name: str, step: int, value: float) -> bool:
        held = self._held.get((name, step))
        return held is None or (name.startswith(_OF_TEST) and not math.isclose(held, value, rel_tol=_ROUNDING))


def trial_name(number: int) -> str:
    """`trial-0007`, as the trial's folder is numbered."""
    return f"trial-{number:04d}"
