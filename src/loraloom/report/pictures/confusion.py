"""The confusion of the winner on the test rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loraloom.report import wording
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import INK
from loraloom.report.testset import Tested

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_confusion(test: Tested) -> Iterator[Picture]:
    side = 2.2 + 0.42 * len(test.labels)
    yield picture(
        "confusion",
        "Confusion on test",
        test.sentence,
        lambda axes: _fill(axes, test),
        size=(side, side * 0.9),
    )


def _fill(axes: Axes, test: Tested) -> None:
    shares = [[count / max(1, sum(line)) for count in line] for line in test.matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    longest = max(len(f"{number:,}") for line in test.matrix for number in line)
    size = min(10, 42 / longest)  # as a cell has room for
    for true, line in enumerate(test.matrix):
        for predicted, number in enumerate(line):
            dark = shares[true][predicted] > 0.75
            colour = "white" if dark else INK
            axes.text(predicted, true, f"{number:,}", ha="center", va="center", fontsize=size, color=colour)
    (names,) = wording.told_apart(test.labels, 18)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
