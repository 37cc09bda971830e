"""Precision, recall and F1 of each class, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraloom.intervals import Interval, wilson_interval
from loraloom.metrics import class_scores


@dataclass(frozen=True, slots=True)
class ClassLine:
    """One class, one against the rest; a ratio without a denominator is None, and so is its interval."""

    label: str
    rows: int
    predicted: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    f1_interval: Interval | None


def class_lines(labels: Sequence[str], counts: NDArray[np.int64]) -> tuple[ClassLine, ...]:
    """The lines of a confusion (C, C), true classes as rows."""
    lines = []
    for index, score in enumerate(class_scores(counts)):
        hits, claimed = int(counts[index, index]), int(counts[:, index].sum())
        lines.append(
            ClassLine(
                label=labels[index],
                rows=score.support,
                predicted=claimed,
                precision=score.precision,
                precision_interval=wilson_interval(hits, claimed) if claimed else None,
                recall=score.recall,
                recall_interval=score.recall_interval,
                f1=score.f1,
                f1_interval=f1_interval(hits, score.support + claimed - hits),
            )
        )
    return tuple(lines)


def f1_interval(hits: int, either: int) -> Interval | None:
    """The 95 % interval of an F1 with `hits` rows of the class found, of `either` that are of it or taken for it.

    hits / either is a share of rows, so that Wilson's interval is of it, and F1 = 2 J / (1 + J) rises with it: Hand,
    Christen and Kirielle, "F*: an interpretable transformation of the F-measure", Machine Learning 110 (2021),
    451-456, equation 4. It takes `either` as given.
    """
    if either == 0:
        return None
    low, high = (2 * end / (1 + end) for end in wilson_interval(hits, either))
    return low, high
