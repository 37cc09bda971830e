"""The report's pictures, by matplotlib (the extra `report`): an SVG for the page and a PNG for elsewhere.

They are drawn once in the light palette; `svg.py` turns its colours into the page's CSS variables. Rejected:
a plotting library in the page (the page has no script), and drawing twice, by hand for the page and again for
the files.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from loraloom.report import wording
from loraloom.report.curves import Curve, Curves, Points
from loraloom.report.findings import Findings
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.svg import GRID, INK, MUTED, SERIES, WARN, for_page
from loraloom.report.testset import Tested

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (4.9, 3.1)
MARKERS = "os^D"
MOST_BARS = 60
STYLE: Any = {  # matplotlib's stubs want a literal type of its own for every name
    "font.size": 9.5,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "loraloom",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """`svg` is safe to put into the page: all its text was escaped by the XML writer."""

    name: str
    svg: Markup
    png: bytes


def pictures(found: Findings) -> dict[str, Picture] | None:
    """The pictures that there is something to draw for, by name; None where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    drawn: dict[str, Picture] = {}
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        if len(found.board.ranked) > 1:
            drawn["leaderboard"] = _leaderboard(found.board, found)
        if found.curves:
            drawn |= _curves(found.curves)
        if found.test and found.test.matrix_fits:
            drawn["confusion"] = _confusion(found.test)
    return drawn


def _picture(
    name: str,
    title: str,
    sentence: str,
    draw: Callable[[Axes], object],
    *,
    legend: Sequence[str] = (),
    size: tuple[float, float] = SIZE,
) -> Picture:
    """Draws into new axes; the legend is for the PNG alone, since the page has its own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    draw(axes)
    svg = for_page(_saved(figure, "svg", facecolor="none"), name, title, sentence)
    if legend:
        handles = [line for line in axes.get_lines() if line.get_label() == "validation"]
        figure.set_figheight(size[1] + 0.22 * len(legend) + 0.2)
        figure.legend(handles, legend, loc="outside lower left", frameon=False, fontsize=8)
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    return Picture(name, Markup(svg), _saved(figure, "png", dpi=160))  # noqa: S704  # drawn and escaped by us


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    nameless = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=nameless, **options)
    return buffer.getvalue()


# -- leaderboard ---------------------------------------------------------------------------------------------


def _leaderboard(board: Leaderboard, found: Findings) -> Picture:
    winner = found.answer.winner
    cap = winner.cap if winner else None
    return _picture(
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


# -- curves --------------------------------------------------------------------------------------------------


def _curves(found: Curves) -> dict[str, Picture]:
    from matplotlib.ticker import MaxNLocator

    def lines(train: str | None, validation: str, label: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            for index, curve in enumerate(found.trials):
                if train:
                    _line(axes, curve, train, index, train=True)
                _line(axes, curve, validation, index, train=False)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=axes.get_xlim()[1] > 2))
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)

        return draw

    def rates(axes: Axes) -> None:
        lines(None, "learning_rate", "learning rate")(axes)
        highest = [max(rate for _, rate in curve.learning_rate) for curve in found.trials if curve.learning_rate]
        if highest and min(highest) > 0 and max(highest) / min(highest) > 50:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda number, _: wording.value(float(number)))
        axes.yaxis.set_minor_formatter(lambda *_: "")

    names = [wording.shortened(f"trial {curve.number:04d}: {curve.name}", 90) for curve in found.trials]
    drawn = (
        (
            "curves_loss",
            "Loss (training dashed)",
            found.on_loss,
            lines("train_loss", "validation_loss", "loss"),
        ),
        (
            "curves_accuracy",
            "Accuracy (training dashed)",
            found.on_accuracy,
            lines("train_accuracy", "validation_accuracy", "accuracy"),
        ),
        ("curves_learning_rate", "Learning rate", found.on_rate, rates),
    )
    return {name: _picture(name, title, text, draw, legend=names) for name, title, text, draw in drawn}


def _line(axes: Axes, curve: Curve, field: str, index: int, *, train: bool) -> None:
    points: Points = getattr(curve, field)
    many = len(points) > 40 or field == "learning_rate"
    axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        color=SERIES[index % len(SERIES)],
        linestyle=(0, (3, 2)) if train else "-",
        linewidth=1.0 if train else 1.8,
        alpha=0.75 if train else 1.0,
        zorder=3 - 0.1 * index,
        marker=MARKERS[index % len(MARKERS)] if not (train or many) or len(points) == 1 else "",
        markersize=3 if train else 4.5,
        label="training" if train else "validation",
    )


# -- confusion -----------------------------------------------------------------------------------------------


def _confusion(test: Tested) -> Picture:
    side = 2.2 + 0.42 * len(test.labels)
    return _picture(
        "confusion",
        "Confusion on test",
        f"{test.wrong} of {test.rows} test rows were wrong.",
        lambda axes: _draw_confusion(axes, test),
        size=(side, side * 0.9),
    )


def _draw_confusion(axes: Axes, test: Tested) -> None:
    shares = [[count / max(1, sum(line)) for count in line] for line in test.matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    for true, line in enumerate(test.matrix):
        for predicted, number in enumerate(line):
            dark = shares[true][predicted] > 0.75
            axes.text(predicted, true, f"{number:,}", ha="center", va="center", color="white" if dark else INK)
    names = [wording.shortened(" ".join(wording.clean(label).split()), 18) for label in test.labels]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
