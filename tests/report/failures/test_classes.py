"""Intervals of each class's precision, recall and F1."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from loraloom.intervals import wilson_interval
from loraloom.metrics import confusion
from loraloom.report.failures.classes import class_lines, f1_interval


def test_the_figures_are_scikit_learns_and_lie_in_their_intervals() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    said = np.where(generator.random(300) < 0.8, labels, generator.integers(0, 3, 300))
    lines = class_lines("abc", confusion(labels, said, 3))
    precision, recall, f1, rows = precision_recall_fscore_support(labels, said)
    for place, line in enumerate(lines):
        assert (line.precision, line.recall, line.f1) == pytest.approx((precision[place], recall[place], f1[place]))
        assert (line.rows, line.predicted) == (rows[place], int((said == place).sum()))
        for value, interval in (
            (line.precision, line.precision_interval),
            (line.recall, line.recall_interval),
            (line.f1, line.f1_interval),
        ):
            assert interval is not None
            assert value is not None
            assert interval[0] < value < interval[1]
    hits = int(((labels == 1) & (said == 1)).sum())
    assert lines[1].precision_interval == wilson_interval(hits, int((said == 1).sum()))


def test_a_class_that_is_nowhere_has_no_figures() -> None:
    line = class_lines("ab", np.array([[3, 0], [0, 0]]))[1]
    assert (line.precision, line.precision_interval, line.recall, line.f1, line.f1_interval) == (None,) * 5


def test_the_f1_interval_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(0), 0
    chances = np.array([0.27, 0.02, 0.03])  # found, missed, wrongly claimed; the rest is neither
    truth = 2 * 0.27 / (2 * 0.27 + 0.02 + 0.03)
    for _ in range(1000):
        hits, missed, claimed, _rest = generator.multinomial(400, [*chances, 1 - chances.sum()])
        interval = f1_interval(int(hits), int(hits + missed + claimed))
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert 0.93 <= covered / 1000 <= 0.97
