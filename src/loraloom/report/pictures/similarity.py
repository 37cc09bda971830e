"""How far rows are from the training rows, and accuracy by that distance.

Legends are given their lines: those that matplotlib finds itself lack names that begin with `_`, as a file's may.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from loraloom.report import wording
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.similarity import Similarity
from loraloom.report.svg import MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

POINTS = 120
NAME = 28
"""Characters of a set's name."""
LINES = ("-", (0, (6, 2)), (0, (2, 1.5)))
MARKERS = "oDs"


def draw_similarity(found: Similarity) -> Iterator[Picture]:
    yield picture(
        "similarity_distances",
        "Distance to the nearest training row",
        distances_sentence(found),
        lambda axes: _distances(axes, found),
    )
    if any(each.trend.bins for each in found.trends):
        sentence = " ".join(f"{each.trend.name}: {each.verdict}" for each in found.trends)
        yield picture("similarity_accuracy", "Accuracy by distance", sentence, lambda axes: _accuracy(axes, found))


def distances_sentence(found: Similarity) -> str:
    """What the picture of distances shows, in a sentence."""
    medians = [f"{each.tenths[1]:.2f} for {wording.in_a_line(each.name, NAME)} rows" for each in found.distances]
    return f"The middle row's distance is {wording.listed(medians)}; training rows are compared with the others."


def _distances(axes: Axes, found: Similarity) -> None:
    shares = np.linspace(0, 1, POINTS)
    drawn: list[Line2D] = []
    for index, each in enumerate(found.distances):
        drawn += axes.plot(
            np.quantile(each.distances, shares),
            shares,
            color=SERIES[index % len(SERIES)],
            linestyle=LINES[index % len(LINES)],
            linewidth=1.8,
            label=wording.in_a_line(each.name, NAME),
        )
    axes.set_xlabel("distance (1 − cosine)")
    axes.set_ylabel("share of rows within it")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.legend(handles=drawn, loc="upper left", frameon=False, fontsize=8.5)


def _accuracy(axes: Axes, found: Similarity) -> None:
    names = [each.name for each in found.distances]
    drawn: list[Line2D] = []
    for each in found.trends:
        bins, index = each.trend.bins, names.index(each.trend.name)
        if not bins:
            continue
        across = [(one.low + one.high) / 2 for one in bins]
        colour = SERIES[index % len(SERIES)]
        for place, one in zip(across, bins, strict=True):
            axes.vlines(place, *one.interval, color=colour, linewidth=1.4, alpha=0.6)
            axes.hlines(one.accuracy, one.low, one.high, color=colour, linewidth=1.0, alpha=0.6)
        drawn += axes.plot(
            across,
            [one.accuracy for one in bins],
            linestyle="",
            marker=MARKERS[index % len(MARKERS)],
            markersize=5.5,
            color=colour,
            label=wording.in_a_line(each.trend.name, NAME),
        )
    axes.set_xlabel("distance to the nearest training row")
    axes.set_ylabel("accuracy, with 95 %")
    axes.axhline(1, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(left=0)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= 1])
    axes.set_ylim(low - 0.15 * (high - low), high)  # the legend stands below all intervals
    axes.legend(handles=drawn, loc="lower left", ncols=len(names), frameon=False, fontsize=8.5)
