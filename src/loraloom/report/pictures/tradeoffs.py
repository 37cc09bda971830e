"""Configurations by what they cost and what they reached: trainable parameters, and training time.

Each point can be pointed at in the page. Of points that lie on each other one is drawn, so that ten thousand make no
larger picture than a few hundred; what lies far below the rest is drawn at the lower edge, so that the upper end can be
read, and an interval that goes on below the edge has an arrow there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from loraloom.report import wording
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.rounding import rounded, rounded_span
from loraloom.report.svg import INK, MUTED, SERIES, WARN, Mark
from loraloom.report.tradeoffs import Point, Tradeoffs
from loraloom.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 60
"""Configurations; with more, intervals are drawn for the front and the winner alone."""
CELLS = (72, 48)
"""Across and up: of the points in one cell the best is drawn."""
LOG_FROM = 8
"""The longest cost over the shortest from which on the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point stands: `across` in the axis's units, `up` no lower than the lower edge."""

    point: Point
    across: float
    up: float
    on_front: bool

    @property
    def low(self) -> bool:
        return self.up > self.point.metric


@dataclass(frozen=True, slots=True)
class _Cost:
    """A kind of cost: `name` is its picture's, `title` and `label` are its words in that picture's title and axis."""

    name: str
    title: str
    label: str
    of: Callable[[Point], float]
    on_front: Callable[[Point], bool]
    written: Callable[[float], str]


def draw_tradeoffs(found: Tradeoffs) -> Iterator[Picture]:
    yield _picture(found, found.points, PARAMETERS, found.on_size, found.cap)
    if len(found.timed) > 1:
        yield _picture(found, found.timed, TIME, found.on_time, None)


def _picture(found: Tradeoffs, points: Sequence[Point], cost: _Cost, sentence: str, cap: int | None) -> Picture:
    costs = [cost.of(point) for point in points]
    ends = min(costs), max([*costs, cap or 0.0])
    log = ends[0] > 0 and ends[1] / ends[0] > LOG_FROM
    few = len(points) <= MOST_BARS
    barred = {each for each in points if each.interval and (few or cost.on_front(each) or each.winner)}
    floor = lower_edge([point.metric for point in points], barred)
    across = side_by_side([math.log10(each) for each in costs] if log else costs, _width(ends, log))
    places = thinned(
        [
            Place(point, 10**x if log else x, max(floor, point.metric), cost.on_front(point))
            for point, x in zip(points, across, strict=True)
        ],
        log,
    )
    groups = {
        "low": [place for place in places if place.low],
        "less": [place for place in places if not place.point.full and not place.low],
        "others": [place for place in places if place.point.full and not place.point.winner and not place.low],
        "winner": [place for place in places if place.point.winner and not place.low],
    }
    marks = {
        gid: [Mark(place.point.number, told(place.point, found.metric_name)) for place in group]
        for gid, group in groups.items()
        if group
    }

    def draw(axes: Axes) -> None:
        _draw_front(axes, sorted((cost.of(p), p.metric) for p in points if cost.on_front(p)), floor)
        _draw_intervals(axes, [place for place in places if place.point in barred and not place.low], floor)
        for gid, group in groups.items():
            if group:
                _draw_points(axes, gid, group)
        if log:
            axes.set_xscale("log")
        else:
            axes.set_xlim(0, max(ends[1] * 1.06, max(across) + 0.02 * ends[1]) or 1)
        _draw_cap(axes, cap)
        _label(axes, cost, ends, log)
        _end_at(axes, floor)
        axes.set_ylabel(f"validation {found.metric_name}")

    title = f"Validation {found.metric_name} against {cost.title}"
    return picture(cost.name, title, sentence, draw, size=(4.9, 3.3), marks=marks)


def told(point: Point, metric_name: str) -> str:
    """What is said of a point where somebody points at it."""
    reached = f"{metric_name} {rounded(point.metric, point.interval)}"
    if point.interval:
        reached += f" (95 % interval {rounded_span(point.interval)})"
    name = wording.shortened(wording.clean(point.name), 160)
    cost = f"{wording.count(point.trainable)} parameters, {wording.duration(point.seconds)}"
    seeds = plural(point.seeds, "seed")
    return f"Rank {point.rank}, trial {point.number:04d} ({name}): {reached}, {cost}, {seeds}."


def lowest_drawn(metrics: Sequence[float]) -> float:
    """The lower edge: the lowest, unless that lies further below the median than thrice the range above it."""
    middle, best, lowest = median(metrics), max(metrics), min(metrics)
    far = best > middle and middle - lowest > 3 * (best - middle)
    return middle - 2 * (best - middle) if far else lowest


def lower_edge(metrics: Sequence[float], barred: Collection[Point]) -> float:
    """`lowest_drawn`, or below that as far as the intervals reach: no further than twice what is usual of them."""
    lowest = lowest_drawn(metrics)
    drawn = [(point.metric, point.interval[0]) for point in barred if point.interval and point.metric >= lowest]
    if not drawn:
        return lowest
    reach = median(metric - low for metric, low in drawn)
    return max(lowest - 2 * reach, min(lowest, *(low for _, low in drawn)))


def thinned(places: Sequence[Place], log: bool) -> list[Place]:
    """Of the places in one cell of a grid the best alone, but all that are on the front, and the winner."""
    across = [math.log10(place.across) if log else place.across for place in places]
    low, high = min(across), max(across)
    bottom, top = min(place.up for place in places), max(place.up for place in places)
    taken: set[tuple[int, int]] = set()
    kept = []
    for x, place in sorted(zip(across, places, strict=True), key=lambda each: -each[1].point.metric):
        cell = (
            int(CELLS[0] * (x - low) / (high - low)) if high > low else 0,
            int(CELLS[1] * (place.up - bottom) / (top - bottom)) if top > bottom else 0,
        )
        if cell not in taken or place.on_front or place.point.winner or len(places) <= MOST_BARS:
            kept.append(place)
        taken.add(cell)
    return sorted(kept, key=lambda place: place.point.rank)


def side_by_side(sizes: Sequence[float], width: float) -> list[float]:
    """Where points of these sizes stand across: at their size, or beside it where several have the same.

    `width` is the axis's. A point never strays further than a quarter of the way to the next size.
    """
    distinct = sorted(set(sizes))
    gaps = dict.fromkeys(distinct, width)
    for low, high in pairwise(distinct):
        gaps[low], gaps[high] = min(gaps[low], high - low), high - low
    alike, placed = Counter(sizes), Counter[float]()
    places = []
    for size in sizes:
        step = min(0.012 * width, 0.5 * gaps[size] / max(1, alike[size] - 1))
        places.append(size + step * (placed[size] - (alike[size] - 1) / 2))
        placed[size] += 1
    return places


def _width(ends: tuple[float, float], log: bool) -> float:
    return math.log10(ends[1] / ends[0]) if log else ends[1] or 1.0


def _draw_front(axes: Axes, steps: Sequence[tuple[float, float]], floor: float) -> None:
    if len(steps) > 1:
        across, up = zip(*((x, max(floor, y)) for x, y in steps), strict=True)
        axes.step(across, up, where="post", color=SERIES[2], linewidth=1.8, alpha=0.85, zorder=1.6)


def _draw_intervals(axes: Axes, places: Sequence[Place], floor: float) -> None:
    """The intervals; one that goes on below the lower edge ends there, in an arrow."""
    from matplotlib.markers import CARETDOWN

    for place in places:
        assert place.point.interval is not None
        low, high = place.point.interval
        colour = WARN if place.point.winner else SERIES[0] if place.point.full else MUTED
        style: dict[str, Any] = {"color": colour, "alpha": 0.5, "zorder": 1.8}
        axes.vlines(place.across, max(low, floor), high, linewidth=1.2, **style)
        if low < floor:
            axes.plot(place.across, floor, marker=CARETDOWN, **style)


def _end_at(axes: Axes, floor: float) -> None:
    """Ends the picture a little beyond all that is drawn."""
    top = axes.dataLim.y1
    margin = 0.05 * (top - floor) or 0.01
    axes.set_ylim(floor - margin, top + margin)


def _draw_points(axes: Axes, gid: str, group: Sequence[Place]) -> None:
    style: dict[str, Any] = {
        "low": {"marker": "v", "s": 26, "facecolors": "none", "edgecolors": MUTED, "linewidths": 1.1},
        "less": {"marker": "o", "s": 22, "facecolors": "none", "edgecolors": MUTED, "linewidths": 1.1},
        "others": {"marker": "o", "s": 30, "color": SERIES[0], "linewidths": 0, "alpha": 0.85},
        "winner": {"marker": "D", "s": 62, "color": WARN, "linewidths": 0},
    }[gid]
    drawn = axes.scatter([p.across for p in group], [p.up for p in group], zorder=2.5, clip_on=False, **style)
    drawn.set_gid(gid)


def _draw_cap(axes: Axes, cap: int | None) -> None:
    if not cap:
        return
    axes.axvline(cap, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.annotate(
        f"cap {cap:,} ",
        (cap, 0),
        xytext=(-2, 5),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9,
        color=INK,
    )


def _label(axes: Axes, cost: _Cost, ends: tuple[float, float], log: bool) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    if log:
        wide = ends[1] / ends[0] > 100
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda number, _: cost.written(number))
    axes.set_xlabel(cost.label + (", logarithmic" if log else ""))


def _thousands(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:g} M"
    return f"{number / 1e3:g} k" if number >= 1e3 else f"{number:g}"


def _time(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:g} h" if seconds % 1800 == 0 else f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:g} s"


PARAMETERS = _Cost(
    "tradeoffs_parameters",
    "trainable parameters",
    "trainable parameters",
    lambda point: point.trainable,
    lambda point: point.on_size_front,
    _thousands,
)
TIME = _Cost(
    "tradeoffs_time",
    "training time",
    "time of a trial",
    lambda point: point.seconds or 0.0,
    lambda point: point.on_time_front,
    _time,
)
