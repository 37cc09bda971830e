"""What the leaderboard's rows show when they are opened, as pictures for elsewhere: the page draws them itself.

One picture of the first rows' curves and one of their confusions, some 0.1 s a row: those of all rows, or a file for
each, would take longer than all other pictures together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from loraloom.report import wording
from loraloom.report.details import Detail, Matrix, Sketch
from loraloom.report.pictures.drawing import Picture, saved
from loraloom.report.svg import MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 8
COLUMNS = 4
WIDE, HIGH = 3.4, 1.9
"""Inches of one small picture."""


def draw_details(found: Sequence[Detail]) -> dict[str, Picture]:
    """`rows_curves` and `rows_confusion` of the first rows, where their trials left what they show; without SVG."""
    made = {}
    if curves := [(detail, sketch) for detail in found[:MOST_ROWS] for sketch in detail.sketches]:
        figure, panels = _panels(len(curves), HIGH)
        for axes, (detail, sketch) in zip(panels, curves, strict=True):
            _curve(axes, detail, sketch)
        made["rows_curves"] = figure
    if matrices := [(detail, detail.matrix) for detail in found[:MOST_ROWS] if detail.matrix]:
        figure, panels = _panels(len(matrices), WIDE)
        for axes, (detail, matrix) in zip(panels, matrices, strict=True):
            _confusion(axes, detail, matrix)
        made["rows_confusion"] = figure
    return {name: Picture(name, Markup(""), saved(figure, "png", dpi=110)) for name, figure in made.items()}


def _panels(count: int, high: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in rows of `COLUMNS`, each `high` inches; laid out by hand, which takes no time."""
    from matplotlib.figure import Figure

    rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
    figure = Figure(figsize=(columns * WIDE, rows * high))
    figure.set_layout_engine("none")
    left, bottom, right, top = 0.62, 0.34, 0.12, 0.3  # inches about each
    panels = []
    for place in range(count):
        row, column = divmod(place, columns)
        x, y = column * WIDE + left, (rows - 1 - row) * high + bottom
        box = (x / (columns * WIDE), y / (rows * high))
        size = ((WIDE - left - right) / (columns * WIDE), (high - bottom - top) / (rows * high))
        panels.append(figure.add_axes((*box, *size)))
    return figure, panels


def _curve(axes: Axes, detail: Detail, sketch: Sketch) -> None:
    for points, colour, dashes, width in (
        (sketch.train, MUTED, (0, (3, 2)), 1.0),
        (sketch.validation, SERIES[0], "-", 1.6),
    ):
        if points:
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, linestyle=dashes, linewidth=width)
            axes.plot(epochs[-1], values[-1], marker="o", markersize=3, color=colour)
    axes.set_title(f"{detail.place}, trial {detail.number:04d}: {sketch.title.lower()}", loc="left", fontsize=8)
    axes.tick_params(labelsize=7)


def _confusion(axes: Axes, detail: Detail, matrix: Matrix) -> None:
    counts = np.array(matrix.counts, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for (row, column), number in np.ndenumerate(counts):
        if number:
            axes.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=7)
    names = [wording.shortened(" ".join(wording.clean(label).split()), 9) for label in matrix.labels]
    axes.set_xticks(range(len(names)), names, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.grid(visible=False)
    title = f"{detail.place}, trial {detail.number:04d}: {matrix.wrong:,} of {matrix.rows:,} wrong"
    axes.set_title(title, loc="left", fontsize=8)
