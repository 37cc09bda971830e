"""Configurations by size and by what they reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from loraloom.report.findings import Findings
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import INK, MUTED, SERIES, WARN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 60


def draw_leaderboard(found: Findings) -> Picture:
    board, winner = found.board, found.answer.winner
    cap = winner.cap if winner else None
    return picture(
        "leaderboard",
        f"Validation {board.metric_name} against size",
        f"{len(board.ranked)} configurations by trainable parameters and validation {board.metric_name}.",
        lambda axes: _draw_leaderboard(axes, board, cap),
        size=(5.8, 3.1),
    )


def _draw_leaderboard(axes: Axes, board: Leaderboard, cap: int | None) -> None:
    winner = board.winner
    sizes = [row.trainable for row in board.ranked]
    high = max([*sizes, cap or 0])
    across = side_by_side(sizes, high)
    places = {row.numbers: place for row, place in zip(board.ranked, across, strict=True)}
    others = [row for row in board.ranked if row is not winner]
    for rows, colour, size in ((others, SERIES[0], 5.5), ([winner], WARN, 8.5)):
        points = [(places[row.numbers], row.metric) for row in rows if row and row.metric is not None]
        if not points:
            continue
        for row in rows if len(others) < MOST_BARS or rows == [winner] else ():
            if row is not None and row.interval is not None and board.metric == "accuracy":
                axes.vlines(places[row.numbers], *row.interval, color=colour, linewidth=1.3, alpha=0.55)
        axes.plot(
            *zip(*points, strict=True),
            linestyle="",
            marker="o" if colour == SERIES[0] else "D",
            color=colour,
            markersize=size,
            alpha=0.8,
            markeredgewidth=0,
        )
    if min(sizes) > 0 and high / min(sizes) > 30:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, high * 1.06 or 1)
    if cap:
        axes.axvline(cap, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2)
        axes.annotate(
            f"cap {cap:,} ",
            (cap, 1),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            fontsize=8.5,
            color=INK,
        )
    axes.xaxis.set_major_formatter(lambda number, _: _thousands(number))
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel(f"validation {board.metric_name}")


def side_by_side(sizes: Sequence[int], width: float) -> list[float]:
    """Where points of these sizes stand across: at their size, or beside it where several have the same.

    `width` is the axis's. A point never strays further than a quarter of the way to the next size.
    """
    distinct = sorted(set(sizes))
    gaps = dict.fromkeys(distinct, width)
    for low, high in pairwise(distinct):
        gaps[low], gaps[high] = min(gaps[low], high - low), high - low
    alike, placed = Counter(sizes), Counter[int]()
    places = []
    for size in sizes:
        step = min(0.012 * width, 0.5 * gaps[size] / max(1, alike[size] - 1))
        places.append(size + step * (placed[size] - (alike[size] - 1) / 2))
        placed[size] += 1
    return places


def _thousands(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:g} M"
    return f"{number / 1e3:g} k" if number >= 1e3 else f"{number:g}"
