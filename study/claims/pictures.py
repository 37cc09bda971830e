"""The claims as pictures: all effects with their intervals, and the levels of those factors that are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loraloom.report.effects.analysis import MARGIN
from study.claims.judging import ClaimFound
from study.claims.results import EncoderFound

CURVES = ("rank", "rate", "alpha", "batch", "dropout")
"""Claims whose levels are numbers of one field."""
COLOURS = ("#2563a8", "#c2571a", "#3a7d44")
_QUIET = "#888888"
_LINEAR = 5.0
"""Percentage points up to which effects are drawn in proportion; those beyond would flatten all others."""


def draw_effects(found: Sequence[EncoderFound], path: Path) -> None:
    """Every contrast as a point with its interval, in percentage points, claim after claim."""
    plots = pyplot()
    lines = [
        (one, number) for number, encoder in enumerate(found) for claim in encoder.claims for one in claim.contrasts
    ]
    figure, axes = plots.subplots(figsize=(9, 1.2 + 0.27 * len(lines)), layout="constrained")
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#e8eef5", lw=0, label="within half a point")
    axes.axvline(0, color=_QUIET, lw=0.8)
    shown: set[int] = set()
    for place, (one, number) in enumerate(lines):
        low, high = (100 * end for end in one.estimate.interval)
        known = one.verdict != "undecided"
        axes.plot([low, high], [place, place], color=COLOURS[number % 3], lw=2, alpha=1 if known else 0.4)
        axes.plot(
            [100 * one.estimate.mean],
            [place],
            "o",
            color=COLOURS[number % 3],
            mfc=COLOURS[number % 3] if known else "white",
            ms=5,
            label=None if number in shown else found[number].name,
        )
        shown.add(number)
    axes.set_yticks(range(len(lines)), [one.name for one, _ in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    label = "difference in accuracy (or in the gap), percentage points; 95 % interval\nhollow: undecided"
    reach = max((abs(100 * end) for one, _ in lines for end in one.estimate.interval), default=1.0)
    if reach > _LINEAR:
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=2)
        tens = [10 * step for step in (1, 2, 5, 10) if 10 * step <= reach]
        ticks = [sign * tick for tick in (1, 2, 3, 4, _LINEAR, *tens) for sign in (-1, 1)] + [0]
        axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
        axes.minorticks_off()
        label += f"; logarithmic beyond ±{_LINEAR:g}"
    axes.set_xlabel(label)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    finish(axes)
    save(figure, path)


def draw_levels(found: Sequence[EncoderFound], path: Path) -> None:
    """Accuracy against rank, rate, alpha, batch size, dropout, and over the epochs of the longest training."""
    plots = pyplot()
    figure, grid = plots.subplots(2, 3, figsize=(10, 5.7), layout="constrained")
    for axes, name in zip(grid.flat, CURVES, strict=False):
        values: set[float] = set()
        for number, encoder in enumerate(found):
            claim = next((one for one in encoder.claims if one.name == name), None)
            if claim is not None and _numbers(claim):
                values |= set(_draw_claim(axes, claim, COLOURS[number % 3], encoder.name))
                axes.set_title(claim.title, fontsize=10, loc="left")
        if 0.0 not in values:
            axes.set_xscale("log")  # before the ticks, which it would set anew
        axes.set_xticks(sorted(values), [f"{value:g}" for value in sorted(values)])
        axes.minorticks_off()
        finish(axes)
    _draw_epochs(grid.flat[5], found)
    finish(grid.flat[5])
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False)
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy on rows not trained on", fontsize=8)
    save(figure, path)


def _draw_claim(axes: Any, claim: ClaimFound, colour: str, name: str) -> list[float]:
    """Draws the levels of a claim; returns their values."""
    levels = sorted(claim.levels, key=lambda level: float(level.name))
    values = [float(level.name) for level in levels]
    axes.plot(values, [100 * level.accuracy for level in levels], "-o", color=colour, ms=4, label=name)
    for value, level in zip(values, levels, strict=True):
        axes.plot(
            [value] * len(level.accuracies), [100 * one for one in level.accuracies], ".", color=colour, alpha=0.4
        )
    return values


def _draw_epochs(axes: Any, found: Sequence[EncoderFound]) -> None:
    for number, encoder in enumerate(found):
        levels = [
            level for claim in encoder.claims for level in claim.levels if claim.name in ("epochs", "overfitting")
        ]
        longest = max(levels, key=lambda level: len(level.curve), default=None)
        if longest is None or len(longest.curve) < 2:
            continue
        epochs = [epoch for epoch, _, _ in longest.curve]
        colour = COLOURS[number % 3]
        axes.plot(epochs, [100 * train for _, train, _ in longest.curve], "--", color=colour, lw=1, label="training")
        axes.plot(epochs, [100 * own for _, _, own in longest.curve], "-o", color=colour, ms=4, label="not trained on")
    axes.set_title("Epochs", fontsize=10, loc="left")
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _numbers(claim: ClaimFound) -> bool:
    try:
        return len([float(level.name) for level in claim.levels]) > 1
    except ValueError:
        return False


def pyplot() -> Any:
    """matplotlib, drawing without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "loraloom"  # the same picture is the same file
    from matplotlib import pyplot as found

    return found


def finish(axes: Any) -> None:
    """What all pictures have in common."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y" if axes.get_ylabel() else "both", color="#eeeeee", lw=0.6)
    axes.set_axisbelow(True)


def save(figure: Any, path: Path) -> None:
    """Writes a picture, the same bytes for the same figure, and frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot().close(figure)
