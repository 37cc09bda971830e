"""Training minus validation accuracy: over the epochs for each rank, and at the end by rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loraloom.report.gap import Gap
from loraloom.report.pictures.curves import MARKERS, epochs_across
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_gap(found: Gap) -> Iterator[Picture]:
    if any(len(series.points) > 1 for series in found.series):
        yield picture(
            "gap_epochs",
            "Gap by epoch",
            "Training minus validation accuracy over the epochs: the mean of a rank's configurations, as far as known.",
            lambda axes: _epochs(axes, found),
        )
    if len(found.by_rank) > 1:
        yield picture(
            "gap_rank",
            "Gap by rank",
            "Training minus validation accuracy at the last evaluation, by rank.",
            lambda axes: _ranks(axes, found),
        )


def _epochs(axes: Axes, found: Gap) -> None:
    for index, series in enumerate(found.series):
        axes.plot(
            [epoch for epoch, _, _ in series.points],
            [100 * gap for _, gap, _ in series.points],
            color=SERIES[index],
            marker=MARKERS[index],
            markersize=4.5,
            linewidth=1.8,
            label=f"rank {series.rank}",
        )
    axes.axhline(0, color=MUTED, linewidth=1)
    epochs_across(axes)
    axes.set_ylabel("gap, percentage points")
    axes.legend(frameon=False, fontsize=8.5)


def _ranks(axes: Axes, found: Gap) -> None:
    for rank, gap, interval, _ in found.by_rank:
        if interval is not None:
            axes.vlines(rank, 100 * interval[0], 100 * interval[1], color=SERIES[0], linewidth=1.5, alpha=0.6)
        axes.plot(rank, 100 * gap, marker="o", color=SERIES[0], markersize=6)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xscale("log", base=2)
    ranks = [rank for rank, _, _, _ in found.by_rank]
    axes.set_xticks(ranks, [f"{rank:g}" for rank in ranks])
    axes.minorticks_off()
    axes.set_xlabel("rank")
    axes.set_ylabel("gap, percentage points")
