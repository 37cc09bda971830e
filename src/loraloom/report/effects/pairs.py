"""Paired differences: configurations that differ in one axis and in nothing else, on the same rows and seeds.

The configurations are put into groups that are alike but for the axis; a group that has values on both sides of a
comparison is one pair (the mean of its upper side minus that of its lower). No configuration is in two groups, and
seeds were averaged before, so pairs are independent, and their mean has Student's interval (Student 1908, "The
probable error of a mean"). Nothing is assumed of the other axes, not even that their effects add up: it is the check
beside the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from loraloom.intervals import Interval, mean_interval
from loraloom.report.effects.axes import Axis, Comparison
from loraloom.report.effects.model import ALMOST
from loraloom.report.effects.observations import Table

LEAST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Paired:
    """`count` pairs and the mean of their differences; no interval below `LEAST_PAIRS`, or where all are alike."""

    count: int
    mean: float | None
    interval: Interval | None


def coded(table: Table) -> Mapping[str, NDArray[np.int64]]:
    """Each axis's values as numbers (N,): equal where the values are."""
    found = {}
    for name, values in table.axes.items():
        seen: dict[str, int] = {}
        texts = (json.dumps(each, sort_keys=True, default=str) for each in values)
        found[name] = np.array([seen.setdefault(text, len(seen)) for text in texts], dtype=np.int64)
    return found


def groups_along(codes: Mapping[str, NDArray[np.int64]], block: NDArray[np.int64], name: str) -> list[list[int]]:
    """Groups of two or more rows that are alike in `block` (N,) and all `codes` (N,) but those of the axis `name`."""
    others = np.column_stack([block, *(column for other, column in codes.items() if other != name)])
    _, group_of = np.unique(others, axis=0, return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order])) + 1
    return [part.tolist() for part in np.split(order, starts) if len(part) > 1]


def paired(table: Table, axis: Axis, comparison: Comparison, groups: Sequence[Sequence[int]], level: float) -> Paired:
    """The pairs of a comparison; their interval misses the truth with probability `level`."""
    differences = []
    for group in groups:
        upper = [float(table.metric[row]) for row in group if axis.level_of[row] in comparison.upper]
        lower = [float(table.metric[row]) for row in group if axis.level_of[row] in comparison.lower]
        if upper and lower:
            differences.append(fmean(upper) - fmean(lower))
    enough = len(differences) >= LEAST_PAIRS and float(np.ptp(differences)) > ALMOST * float(np.abs(table.metric).max())
    return Paired(
        count=len(differences),
        mean=fmean(differences) if differences else None,
        interval=mean_interval(differences, 1 - level) if enough else None,
    )
