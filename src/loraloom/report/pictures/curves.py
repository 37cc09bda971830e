"""Loss, accuracy and learning rate of a few trials, over their epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from loraloom.report import wording
from loraloom.report.curves import Curve, Curves, Points
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^D"
MOST_MARKERS = 8
"""Of a line, beyond which only some points have one: lines are told apart by them, in grey too."""


def draw_curves(found: Curves) -> Iterator[Picture]:
    def lines(train: str | None, validation: str, label: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            for index, curve in enumerate(found.trials):
                if train:
                    _line(axes, curve, train, index, train=True)
                _line(axes, curve, validation, index, train=False)
            epochs_across(axes)
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

    names = [
        wording.shortened(f"trial {curve.number:04d}{curve.differs and ': '}{curve.differs}", 90)
        for curve in found.trials
    ]
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
    for name, title, text, draw in drawn:
        yield picture(name, title, text, draw, legend=names)


def epochs_across(axes: Axes) -> None:
    """The horizontal axis of what is drawn by epochs: in whole ones, but where there are few."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=axes.get_xlim()[1] > 2))
    axes.set_xlabel("epoch")


def _line(axes: Axes, curve: Curve, field: str, index: int, *, train: bool) -> None:
    points: Points = getattr(curve, field)
    axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        color=SERIES[index % len(SERIES)],
        linestyle=(0, (3, 2)) if train else "-",
        linewidth=1.0 if train else 1.8,
        alpha=0.75 if train else 1.0,
        zorder=3 - 0.1 * index,
        marker=MARKERS[index % len(MARKERS)] if not train or len(points) == 1 else "",
        markevery=max(1, -(-len(points) // MOST_MARKERS)),
        markersize=3 if train else 4.5,
        label="training" if train else "validation",
    )
