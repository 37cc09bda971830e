"""The data in a picture: the classes' shares in each split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loraloom.report import wording
from loraloom.report.dataset import Dataset
from loraloom.report.pictures.drawing import Picture, picture
from loraloom.report.svg import MUTED, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30
MARKERS = "oD^"


def draw_dataset(found: Dataset) -> Iterator[Picture]:
    """The pictures that the run kept counts for."""
    if len(found.classes) < 2:
        return
    classes = min(MOST_CLASSES, len(found.classes))
    yield picture(
        "class_shares",
        "Class shares: " + ", ".join(f"{sign} {split}" for sign, split in zip("●◆▲", found.splits, strict=False)),
        found.balance.verdict if found.balance else "Class shares by split.",
        lambda axes: _shares(axes, found),
        size=(4.9, 1.1 + 0.27 * classes),
    )


def _shares(axes: Axes, found: Dataset) -> None:
    """A line for each class, the commonest above; of many, the commonest and the rarest."""
    first = found.splits[0]
    ranked = sorted(found.classes, key=lambda each: -each.shares[first])
    if len(ranked) > MOST_CLASSES:
        ranked = [*ranked[: MOST_CLASSES // 2], *ranked[-(MOST_CLASSES // 2) :]]
    places = range(len(ranked))
    axes.axvline(1 / len(found.classes), color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
    for at, split in enumerate(found.splits):
        axes.plot(
            [each.shares[split] for each in ranked],
            [place + 0.16 * (at - (len(found.splits) - 1) / 2) for place in places],
            linestyle="",
            marker=MARKERS[at % len(MARKERS)],
            color=SERIES[at % len(SERIES)],
            markersize=5,
            clip_on=False,
        )
    (names,) = wording.told_apart([each.label for each in ranked], 24)
    axes.set_yticks(places, names)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.set_xlim(0, 1.03 * max(share for each in ranked for share in (*each.shares.values(), 1 / len(found.classes))))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_xlabel("share of the split (dashed: equal shares)")
