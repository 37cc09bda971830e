"""Interactions: whether one axis's effect depends on another's, and the cells of those that do.

Each pair of axes is tested for what its products add to the model of all axes (AHT, see model.py: robust, and honest of
few trials in a cell), and the pairs are corrected together by Holm 1979, "A simple sequentially rejective multiple test
procedure". Their level is a small part of the 5 % that all findings of effects have together: with ten axes 45 pairs
are looked at, and a heat map invites a story. Of a curve the straight part is crossed: a rate that must fall as the
rank rises shows there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loraloom.intervals import Floats, holm
from loraloom.report.effects.axes import Axis
from loraloom.report.effects.model import Design, Fit, fit
from loraloom.report.effects.observations import Table

LEVEL = 0.01
MOST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Cell:
    """The mean of the configurations at two levels, the other axes' effects taken out; None where there was none."""

    mean: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Interaction:
    """`first` lies down, `second` across; `p_value` is Holm's over all pairs."""

    first: str
    second: str
    first_labels: tuple[str, ...]
    second_labels: tuple[str, ...]
    p_value: float
    cells: tuple[tuple[Cell, ...], ...]
    spread: float
    """The largest departure of a cell from what the two effects alone would make of it."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """`tested` pairs of `pairs`: where too few configurations share values, or differ, a pair can't be."""

    pairs: int
    tested: int
    found: tuple[Interaction, ...]


def interactions(table: Table, axes: Sequence[Axis], design: Design, additive: Fit) -> Interactions:
    """The pairs of `axes` whose products add to the additive model, the surest first."""
    rows, pairs = table.drawn(MOST_ROWS), list(itertools.combinations(axes, 2))
    p_values = [
        fit(design.matrix[rows], table.metric[rows], _products(one, other)[rows], rounding=table.rounding).of_added()
        for one, other in pairs
    ]
    found = [
        _interaction(table, one, other, p, additive, design)
        for (one, other), p in zip(pairs, holm(p_values), strict=True)
        if p <= LEVEL
    ]
    tested = sum(p is not None for p in p_values)
    return Interactions(len(pairs), tested, tuple(sorted(found, key=lambda each: each.p_value)))


def _products(one: Axis, other: Axis) -> Floats:
    first, second = (axis.columns[:, :1] if axis.kind == "curve" else axis.columns for axis in (one, other))
    return np.asarray((first[:, :, None] * second[:, None, :]).reshape(len(first), -1), dtype=np.float64)


def _interaction(table: Table, one: Axis, other: Axis, p_value: float, additive: Fit, design: Design) -> Interaction:
    """Cells: what two effects alone make of a cell, all else at its mean, and the mean of what that leaves."""
    residuals = np.full(table.size, np.nan)
    residuals[additive.kept] = additive.residuals
    middle = design.matrix[additive.kept].mean(axis=0)
    cells, away = [], 0.0
    down, right = (np.flatnonzero(axis.counts).tolist() for axis in (one, other))
    for level in down:
        line = []
        for across in right:
            inside = (one.level_of == level) & (other.level_of == across) & additive.kept
            if not inside.any():
                line.append(Cell(None, 0))
                continue
            at = middle.copy()
            at[design.places[one.name]] = one.levels[level]
            at[design.places[other.name]] = other.levels[across]
            left, count = float(residuals[inside].mean()), int(inside.sum())
            away = max(away, abs(left)) if count > 1 else away
            line.append(Cell(additive.value(at) + left, count))
        cells.append(tuple(line))
    rows, columns = (tuple(axis.labels[level] for level in tried) for axis, tried in ((one, down), (other, right)))
    return Interaction(one.name, other.name, rows, columns, p_value, tuple(cells), away)
