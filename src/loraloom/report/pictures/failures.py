"""Where the winner fails, in pictures: reliability, accuracy against coverage, accuracy by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loraloom.calibration import Bin
from loraloom.report.failures import Failures
from loraloom.report.failures.calibrated import Calibrated
from loraloom.report.failures.groups import Dependence
from loraloom.report.failures.selective import Selective
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import MUTED, SERIES
from loraloom.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 400
LETTERS = 45
"""As many stand below the axis side by side; of more, each is smaller."""


def draw_failures(found: Failures) -> Iterator[Picture]:
    """The pictures that there are rows for."""
    yield picture(
        "reliability",
        f"Confidence and accuracy on {found.split}",
        found.calibrated.verdict,
        lambda axes: _reliability(axes, found.calibrated),
    )
    yield picture(
        "coverage",
        f"Accuracy of the surest {found.split} rows",
        found.selective.verdict,
        lambda axes: _coverage(axes, found.selective),
    )
    by_length = found.by_length
    if by_length is not None and len(by_length.groups) > 1:
        yield picture(
            "accuracy_by_length",
            f"Accuracy on {found.split} by length",
            by_length.verdict,
            lambda axes: _by_length(axes, by_length),
        )


def _reliability(axes: Axes, found: Calibrated) -> None:
    low = min(bin_.low for bin_ in (*found.bins, *(found.mended.bins if found.mended else ())))
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
    if found.mended is not None:
        _bins(axes, found.mended.bins, SERIES[1], "D", found.rows, with_intervals=False)
    _bins(axes, found.bins, SERIES[0], "o", found.rows, with_intervals=True)
    axes.set_xlim(low - 0.01, 1.015)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")


def _bins(axes: Axes, bins: Sequence[Bin], colour: str, marker: str, rows: int, *, with_intervals: bool) -> None:
    sure, right = [each.confidence for each in bins], [each.accuracy for each in bins]
    if with_intervals:
        axes.vlines(sure, *zip(*(each.interval for each in bins), strict=True), color=colour, linewidth=1.3, alpha=0.6)
    sizes = [18 + 110 * each.rows / rows for each in bins]
    hollow = "none" if not with_intervals else colour
    axes.scatter(
        sure,
        right,
        s=sizes,
        marker=marker,
        facecolors=hollow,
        edgecolors=colour,
        linewidths=1.2,
        zorder=3,
        clip_on=False,
    )


def _coverage(axes: Axes, found: Selective) -> None:
    curve = found.curve
    keep = curve.spread(MOST_POINTS)
    across = curve.coverage[keep]
    axes.fill_between(across, curve.low[keep], curve.high[keep], color=SERIES[0], alpha=0.16, linewidth=0)
    axes.plot(across, curve.accuracy[keep], color=SERIES[0], linewidth=1.6)
    shown = [each for each in found.targets if each.accuracy is not None]
    if shown:
        axes.plot(
            [each.coverage for each in shown],
            [each.accuracy for each in shown if each.accuracy is not None],
            linestyle="",
            marker="D",
            color=SERIES[1],
            markersize=6,
            clip_on=False,
        )
    worst = float(curve.accuracy.min())
    axes.set_xlim(0, 1.015)
    axes.set_ylim(max(0.0, min(worst, float(curve.low[-1])) - 0.02), 1 + 0.04 * (1 - worst) + 0.002)
    axes.set_xlabel("share of rows answered, surest first")
    axes.set_ylabel("accuracy of those")


def _by_length(axes: Axes, found: Dependence) -> None:
    places = range(len(found.groups))
    low, high = zip(*(each.interval for each in found.groups), strict=True)
    axes.vlines(places, low, high, color=SERIES[0], linewidth=1.6, alpha=0.6)
    axes.plot(places, [each.accuracy for each in found.groups], linestyle="", marker="o", color=SERIES[0], markersize=6)
    names = [f"{each.name}\n{plural(each.rows, 'row')}" for each in found.groups]
    longest = max(len(line) for name in names for line in name.split("\n"))
    axes.set_xticks(places, names, fontsize=min(10, LETTERS * 10 / (longest * len(names))))
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(found.groups) - 0.5)
    axes.set_xlabel("tokens, before the text is cut")
    axes.set_ylabel("accuracy")
