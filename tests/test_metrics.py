"""Metrics: scikit-learn is the oracle, and bad input is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from loraloom.metrics import (
    PROBABILITY_FLOOR,
    confidence_bins,
    confusion,
    expected_calibration_error,
    log_loss,
    row_losses,
    score,
    softmax,
)

Predictions = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    classes, rows = draw(st.integers(2, 6)), draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = generator.normal(size=(rows, classes)) * draw(st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    return generator.integers(0, classes, size=rows), softmax(logits)


@given(predictions())
def test_scores_agree_with_scikit_learn(data: Predictions) -> None:
    labels, probabilities = data
    predicted, classes = probabilities.argmax(axis=1), range(probabilities.shape[1])
    scores = score(labels, probabilities)
    assert scores.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    assert scores.log_loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=list(classes)))
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=list(classes))
    assert (scores.confusion == expected).all()
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=list(classes), zero_division=np.nan
    )
    for index, each in enumerate(scores.classes):
        for ours, theirs in ((each.precision, precision), (each.recall, recall)):
            assert (math.nan if ours is None else ours) == pytest.approx(theirs[index], nan_ok=True)
        if each.f1 is not None:
            assert each.f1 == pytest.approx(f1[index])
        assert each.support == support[index]


@given(predictions())
def test_scores_hold_their_own_bounds(data: Predictions) -> None:
    scores = score(*data)
    low, high = scores.accuracy_interval
    assert 0 <= low <= scores.accuracy <= high <= 1
    assert 0 <= scores.expected_calibration_error <= 1
    assert scores.correct == scores.confusion.trace()
    assert scores.examples == scores.confusion.sum()
    assert all((each.recall_interval is None) == (each.support == 0) for each in scores.classes)


@given(predictions())
def test_calibration_error_is_the_sum_over_bins_of_the_paper(data: Predictions) -> None:
    labels, probabilities = data
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for m in range(1, 16):
        inside = (sureness > (m - 1) / 15) & (sureness <= m / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sureness[inside].mean())
    assert expected_calibration_error(labels, probabilities) == pytest.approx(total, abs=1e-12)


def test_a_confidence_on_the_edge_of_two_bins_lies_in_the_lower_and_none_in_the_first() -> None:
    edges = np.array([0.0, 0.1, 0.25, 0.26, 0.5, 1.0, np.nextafter(1.0, 2.0)])
    assert confidence_bins(edges, 4).tolist() == [0, 0, 0, 1, 1, 3, 3]


def test_a_perfectly_sure_and_right_model_has_no_calibration_error_and_no_loss() -> None:
    assert expected_calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0
    assert str(log_loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])) == "0.0"


def test_a_sure_and_wrong_row_costs_the_clipped_logarithm() -> None:
    assert log_loss([0], [[0.0, 1.0]]) == pytest.approx(-math.log(PROBABILITY_FLOOR))


def test_probabilities_that_bfloat16_has_rounded_are_taken_and_are_no_more_than_certain() -> None:
    scores = score([0, 1, 1], [[1.005, 0.0], [0.0, 1.005], [0.004, 0.991]])
    assert scores.log_loss == pytest.approx(-math.log(0.991) / 3)
    assert scores.expected_calibration_error == pytest.approx(0.009 / 3)
    assert row_losses([0], [[1.005, 0.0]]).tolist() == [0]


def test_a_tie_goes_to_the_first_class() -> None:
    assert score([0, 1], [[0.5, 0.5], [0.5, 0.5]]).confusion.tolist() == [[1, 0], [1, 0]]


def test_a_class_that_is_nowhere_is_left_out_of_macro_f1() -> None:
    scores = score([0, 1], [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert scores.macro_f1 == 1
    absent = scores.classes[2]
    assert (absent.precision, absent.recall, absent.recall_interval, absent.f1) == (None,) * 4


def test_rows_of_the_confusion_are_the_true_classes() -> None:
    assert confusion([0, 0, 1], [1, 1, 1], 2).tolist() == [[0, 2], [0, 1]]


@given(predictions())
def test_softmax_is_scipys_and_ignores_a_shift(data: Predictions) -> None:
    logits = np.log(np.maximum(data[1], 1e-12))
    assert softmax(logits) == pytest.approx(special.softmax(logits, axis=-1))
    assert softmax(logits + 500) == pytest.approx(softmax(logits))


def test_softmax_takes_logits_that_overflow_an_exponential() -> None:
    assert softmax([[1e308, -1e308], [1e4, 0.0]]).tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert softmax(np.ones(2, dtype=np.float16)).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: softmax([[math.inf, 0.0]]), "logits: 1 of 2 are not finite .*infinite"),
        (lambda: softmax(1.0), "no classes"),
        (lambda: softmax(np.empty((2, 0))), r"shape \(2, 0\) has no classes"),
        (lambda: confusion([0, 1], [0], 2), "1 rows do not match the 2 of labels"),
        (lambda: confusion([0, 2], [0, 1], 2), "labels: 2 is not a class; it must be 0 to 1"),
        (lambda: confusion([0, 1], [0, -1], 2), "predictions: -1 is not a class"),
        (lambda: confusion([0.0], [0], 2), "not class numbers"),
        (lambda: confusion([], [], 2), "not a list of rows"),
        (lambda: confusion([[0], [1]], [[0], [1]], 2), r"labels: shape \(2, 1\) is not a list of rows"),
        (lambda: confusion([0], [0], 0), "classes: 0"),
        (lambda: score([0], [[math.nan, 1.0]]), "probabilities: 1 of 2 are not finite .*NaN"),
        (lambda: score([0], [[-0.5, 1.5]]), "-0.5 is not in .*softmax"),
        (lambda: score([0], [[-0.5, 0.75, 0.75]]), "-0.5 is not in .*softmax"),
        (lambda: score([0], [[1.25, 0.0]]), "1.25 is not in .*softmax"),
        (lambda: score([0, 0], [[0.5, 0.5], [0.5, 0.1]]), "row 1 sums to 0.6, not 1"),
        (lambda: score([0, 0], [[0.5, 0.5], [0.5, 0.485]]), "row 1 sums to 0.985, not 1"),
        (lambda: score([0], [[0.515, 0.5]]), "row 0 sums to 1.015, not 1"),
        (lambda: score([0], np.empty((1, 0))), r"shape \(1, 0\) is not \(rows, classes\)"),
        (lambda: score([0, 1], [[0.5, 0.5]]), "do not match"),
        (lambda: log_loss([0], [[0.5, 0.5], [0.4, 0.6]]), "2 rows do not match the 1 of labels"),
        (lambda: expected_calibration_error([0], [[0.5, 0.5], [0.4, 0.6]]), "2 rows do not match the 1 of labels"),
        (lambda: score([0], [0.5, 0.5]), r"not \(rows, classes\)"),
        (lambda: score([2], [[0.5, 0.5]]), "labels: 2 is not a class"),
    ],
)
def test_bad_input_is_refused_with_its_reason(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
