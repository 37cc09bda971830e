"""The comparisons along all axes with their intervals (a forest plot), and the interactions that were found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loraloom.report import wording
from loraloom.report.effects.analysis import MARGIN, Effect
from loraloom.report.effects.interactions import Interaction
from loraloom.report.effects.section import Effects
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import GRID, INK, MUTED, SERIES
from loraloom.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DRAWN = 40
MOST_INTERACTIONS = 4


def drawn_effects(found: Effects) -> tuple[Effect, ...]:
    """The comparisons that have an interval, in the order of the verdicts; the first of them where there are many."""
    return tuple(effect for effect in found.effects if effect.interval is not None)[:MOST_DRAWN]


def draw_effects(found: Effects) -> Iterator[Picture]:
    effects = drawn_effects(found)
    if effects:
        yield picture(
            "effects",
            f"Effects on validation {found.metric_name}",
            f"{plural(len(effects), 'comparison')} with 95 % intervals, which hold together.",
            lambda axes: _forest(axes, effects),
            size=(7.6, 1.0 + 0.27 * len(effects)),
        )
    if found.analysis:
        for number, each in enumerate(found.analysis.interactions.found[:MOST_INTERACTIONS], start=1):
            yield _interaction(f"interaction_{number}", each)


def _forest(axes: Axes, effects: Sequence[Effect]) -> None:
    limit = _limit(effects)
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color=GRID, alpha=0.55, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=1.2)
    for place, effect in enumerate(effects):
        assert effect.interval is not None
        assert effect.estimate is not None
        shown = effect.verdict == "effect"
        colour = SERIES[0] if shown else MUTED
        low, high = (100 * max(-limit, min(limit, end)) for end in effect.interval)
        axes.plot([low, high], [place, place], color=colour, linewidth=2.0 if shown else 1.2, solid_capstyle="butt")
        for end, cut, marker in ((low, effect.interval[0] < -limit, "<"), (high, effect.interval[1] > limit, ">")):
            if cut:
                axes.plot(end, place, marker=marker, color=colour, markersize=5, clip_on=False)
        if abs(effect.estimate) <= limit:
            axes.plot(
                100 * effect.estimate,
                place,
                marker="D" if shown else "o",
                color=colour,
                markersize=5.5 if shown else 4.5,
                markerfacecolor=colour if shown else "none",
            )
    axes.set_yticks(range(len(effects)), [wording.in_a_line(f"{one.axis} {one.title}", 52) for one in effects])
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.set_xlim(-104 * limit, 104 * limit)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference in percentage points")


def _limit(effects: Sequence[Effect]) -> float:
    """How far the scale reaches: all estimates, and the intervals of what was decided; wider ones end in arrows."""
    ends = [abs(effect.estimate or 0.0) * 1.25 for effect in effects]
    ends += [abs(end) for e in effects if e.verdict in ("effect", "none") for end in (e.interval or ())]
    reaches = sorted((e.interval[1] - e.interval[0]) / 2 for e in effects if e.interval)
    return max(2 * MARGIN, *ends, reaches[len(reaches) // 3])


def _interaction(name: str, found: Interaction) -> Picture:
    size = (2.6 + 0.95 * len(found.second_labels), 1.5 + 0.5 * len(found.first_labels))
    return picture(
        name,
        f"{found.first} by {found.second}",
        f"Adjusted means of {found.first} (down) by {found.second} (across).",
        lambda axes: _cells(axes, found),
        size=size,
    )


def _cells(axes: Axes, found: Interaction) -> None:
    means = [[float("nan") if cell.mean is None else cell.mean for cell in line] for line in found.cells]
    known = [cell.mean for line in found.cells for cell in line if cell.mean is not None]
    low, high = min(known), max(known)
    axes.imshow(means, cmap="Blues", vmin=low, vmax=high + 0.35 * (high - low), aspect="auto")
    for down, line in enumerate(found.cells):
        for across, cell in enumerate(line):
            if cell.mean is not None:
                dark = (cell.mean - low) / max(high - low, 1e-12) > 0.8
                text = f"{cell.mean:.3f}\nn {cell.count}"
                axes.text(across, down, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    for labels, set_ticks in ((found.second_labels, axes.set_xticks), (found.first_labels, axes.set_yticks)):
        (names,) = wording.told_apart(labels, 16)
        set_ticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set_xlabel(found.second)
    axes.set_ylabel(found.first)
