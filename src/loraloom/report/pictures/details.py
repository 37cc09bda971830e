"""What the leaderboard's opened rows show, as pictures for elsewhere: the page draws them itself.

One picture of all rows' curves and one of all their confusions, each in one pair of axes whose units are inches, with
lines and cells in a few collections: some 5 ms a row. Axes for each panel took 100 ms a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from loraloom.report import wording
from loraloom.report.details import Detail, Matrix, Sketch
from loraloom.report.pictures.drawing import Picture, saved
from loraloom.report.svg import GRID, INK, MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS = 4_000
"""Cells of confusions that are drawn, each with its number; with 12 classes these are 27 rows."""
COLUMNS = 4
LEFT, BOTTOM, RIGHT, TOP = 0.62, 0.3, 0.14, 0.26
"""Inches about each panel."""
CURVE, CONFUSION = (2.2, 1.0), (2.6, 1.6)
"""Inches of a panel: width, height."""


def draw_details(found: Sequence[Detail]) -> Iterator[Picture]:
    """`rows_curves` and `rows_confusion` of the opened rows, where their trials left what they show; without SVG."""
    if curves := [(detail, sketch) for detail in found for sketch in detail.sketches]:
        yield _drawn("rows_curves", _curves(curves))
    if matrices := confusions_drawn(found):
        yield _drawn("rows_confusion", _confusions(matrices))


def _drawn(name: str, figure: Figure) -> Picture:
    return Picture(name, Markup(""), saved(figure, "png", dpi=110))


def confusions_drawn(found: Sequence[Detail]) -> list[tuple[Detail, Matrix]]:
    """Those of the first rows for which `MOST_CELLS` suffice."""
    matrices = [(detail, detail.matrix) for detail in found if detail.matrix]
    cells = np.cumsum([len(matrix.labels) ** 2 for _, matrix in matrices])
    return matrices[: int((cells <= MOST_CELLS).sum())]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A figure of panels of one size in rows of `COLUMNS`, in axes without a frame whose units are inches."""

    figure: Figure
    axes: Axes
    size: tuple[float, float]
    left: float
    columns: int
    lines: int

    @classmethod
    def of(cls, count: int, size: tuple[float, float], left: float = LEFT) -> _Sheet:
        from matplotlib.figure import Figure

        columns, lines = min(count, COLUMNS), math.ceil(count / COLUMNS)
        wide, high = columns * (left + size[0] + RIGHT), lines * (BOTTOM + size[1] + TOP)
        figure = Figure(figsize=(wide, high))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, wide), ylim=(0, high))
        return cls(figure, axes, size, left, columns, lines)

    def corner(self, place: int) -> tuple[float, float]:
        """The lower left corner of a panel."""
        line, column = divmod(place, self.columns)
        across, up = self.left + self.size[0] + RIGHT, BOTTOM + self.size[1] + TOP
        return column * across + self.left, (self.lines - 1 - line) * up + BOTTOM

    def title(self, place: int, detail: Detail, text: str) -> None:
        x, y = self.corner(place)
        title = f"{detail.place}, trial {detail.number:04d}: {text}"
        self.axes.text(x, y + self.size[1] + 0.07, title, fontsize=7.5, color=INK)


def _curves(found: Sequence[tuple[Detail, Sketch]]) -> Figure:
    from matplotlib.collections import LineCollection

    sheet = _Sheet.of(len(found), CURVE)
    wide, high = CURVE
    train: list[NDArray[np.float64]] = []
    validation: list[NDArray[np.float64]] = []
    frames: list[list[tuple[float, float]]] = []
    ends: list[NDArray[np.float64]] = []
    alone: list[NDArray[np.float64]] = []
    for place, (detail, sketch) in enumerate(found):
        x, y = sheet.corner(place)
        left, right, low, top = sketch.ends
        start = x if right > left else x + wide / 2  # as on the page
        scale = np.array([wide / (right - left) if right > left else 0.0, high / (top - low) if top > low else 0.0])
        for points, lines in ((sketch.train, train), (sketch.validation, validation)):
            if points:
                lines.append((np.array(points) - (left, low)) * scale + (start, y))
        ends.append(validation[-1][-1])
        if len(sketch.train) == 1:
            alone.append(train[-1][0])
        frames += [[(x, y), (x + wide, y)], [(x, y + high), (x + wide, y + high)]]
        sheet.title(place, detail, sketch.title.lower())
        for text, at, to in ((sketch.written(top), y + high, "top"), (sketch.written(low), y, "bottom")):
            sheet.axes.text(x - 0.06, at, text, ha="right", va=to, fontsize=6.5, color=MUTED)
        epochs = [(f"epoch {left:.3g}", x, "left"), (f"{right:.3g}", x + wide, "right")]
        for text, at, side in epochs if right > left else [(f"epoch {left:.3g}", start, "center")]:
            sheet.axes.text(at, y - 0.05, text, ha=side, va="top", fontsize=6.5, color=MUTED)
    for drawn in (
        LineCollection(frames, colors=GRID, linewidths=0.8),
        LineCollection(train, colors=MUTED, linewidths=1.0, linestyles=(0, (3, 2))),
        LineCollection(validation, colors=SERIES[0], linewidths=1.6),
    ):
        sheet.axes.add_collection(drawn, autolim=False)
    for dots, colour in ((ends, SERIES[0]), (alone, MUTED)):
        if dots:
            sheet.axes.plot(*np.array(dots).T, linestyle="none", marker="o", markersize=3, color=colour)
    return sheet.figure


def _confusions(found: Sequence[tuple[Detail, Matrix]]) -> Figure:
    from matplotlib.collections import PolyCollection

    sheet = _Sheet.of(len(found), CONFUSION, left=0.9)
    cells, shares = [], []
    for place, (detail, matrix) in enumerate(found):
        (x, y), classes = sheet.corner(place), len(matrix.labels)
        wide, high = CONFUSION[0] / classes, CONFUSION[1] / classes
        counts = np.array(matrix.counts, dtype=np.float64)
        for (line, column), number in np.ndenumerate(counts):
            left, low = x + column * wide, y + (classes - 1 - line) * high
            cells.append([(left, low), (left + wide, low), (left + wide, low + high), (left, low + high)])
            shares.append(number / max(1.0, counts[line].sum()))
            if number:
                middle = left + wide / 2, low + high / 2
                sheet.axes.text(*middle, f"{number:.0f}", ha="center", va="center_baseline", fontsize=6.5, color=INK)
        (names,) = wording.told_apart(matrix.labels, 9)
        for at, name in enumerate(names):
            middle = x + (at + 0.5) * wide, y + (classes - 0.5 - at) * high
            sheet.axes.text(middle[0], y - 0.05, name, ha="center", va="top", fontsize=6, color=MUTED)
            sheet.axes.text(x - 0.06, middle[1], name, ha="right", va="center", fontsize=6, color=MUTED)
        sheet.title(place, detail, f"{matrix.wrong:,} of {matrix.rows:,} wrong")
    tinted = PolyCollection(cells, array=np.array(shares), cmap="Blues", edgecolors="white", linewidths=0.6)
    tinted.set_clim(0, 1.6)
    sheet.axes.add_collection(tinted, autolim=False)
    return sheet.figure
