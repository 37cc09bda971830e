"""What is said of the curves of the best trial."""

from __future__ import annotations

import pytest

from loraloom.report.curves import Curve, _on_accuracy


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (0.9, 0.9, "is level with its validation accuracy."),
        (0.9001, 0.9, "is level with its validation accuracy."),
        (0.95, 0.9, "is 0.050 above its validation accuracy."),
        (0.9, 0.95, "is 0.050 below its validation accuracy."),
    ],
)
def test_the_gap_at_the_end_is_told_where_there_is_one(train: float, validation: float, said: str) -> None:
    curve = Curve(3, "0003", "", (), (), ((1.0, train),), ((1.0, validation),), ())
    assert _on_accuracy(curve) == f"At the end, the training accuracy of trial 0003 {said}"
