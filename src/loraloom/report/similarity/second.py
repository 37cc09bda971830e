"""What the winner does on the second set against what it does on test, and whether distance explains it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loraloom.intervals import difference_interval, wilson_interval
from loraloom.report.points import points, spread
from loraloom.report.rounding import with_span
from loraloom.report.similarity.trend import at_equal_distance
from loraloom.report.similarity.two_sample import FEWEST_ROWS
from loraloom.report.similarity.verdicts import ratio, ratio_span
from loraloom.report.wording import trained_on
from loraloom.study.embeddings import SecondAbout
from loraloom.wording import plural

Answered = tuple[NDArray[np.float64], NDArray[np.bool_] | None]
"""Distances (N,) from the training rows, and whether the winner is right (N,), where that is known."""


def on_second(about: SecondAbout, test: Answered, second: Answered, copies: int = 0) -> str:
    """Some sentences on the winner's accuracy on the second set; `copies` of its texts are left out of `second`."""
    said = _said(about, test, second, copies)
    return f"{said} {trained_on(about.trained_on)}." if about.trained_on and second[1] is not None else said


def _said(about: SecondAbout, test: Answered, second: Answered, copies: int) -> str:
    (test_distances, of_test), (distances, correct) = test, second
    if correct is None:
        why = about.unlabelled or "its labels were predicted by another winner"
        return f"Accuracy on {about.file} is not measured: {why}."
    right, rows = int(correct.sum()), len(correct)
    counted = plural(rows, "row") + (f" without {plural(copies, 'copy')} of their texts" if copies else "")
    if rows < FEWEST_ROWS:
        return f"Accuracy on {about.file} is not measured: it has {counted}, and it takes {FEWEST_ROWS}."
    accuracy, span = with_span(right / rows, wilson_interval(right, rows))
    read_so = f"; {about.note}" if about.note else ""
    opening = f"The winner is right on {accuracy} of {about.file} (95 % {span}, {counted}{read_so})"
    if of_test is None:
        return f"{opening}."
    right_on_test, tested = int(of_test.sum()), len(of_test)
    low, high = difference_interval((right, rows), (right_on_test, tested))
    gap = right / rows - right_on_test / tested
    level = low <= 0 <= high
    way = "no different from test as far as can be told" if level else f"{'less' if gap < 0 else 'more'} than on test"
    sentence = f"{opening}, {way} ({points(gap, (low, high))}, 95 % {spread((low, high))})."
    equal = at_equal_distance((test_distances, of_test), (distances, correct))
    if equal is None or level:
        return sentence
    odds, interval = equal
    if interval[0] <= 1 <= interval[1]:
        explained = "may explain all of that"
    elif (odds < 1) == (gap < 0):
        explained = "does not explain all of it"
    else:
        explained = "would explain more than that"
    return (
        f"{sentence} At equal distance from the training rows, the odds of a right answer are {ratio(odds)} times "
        f"those on test (95 % {ratio_span(interval)}): distance {explained}."
    )
