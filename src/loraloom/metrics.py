"""How good predictions are: accuracy, F1, log loss, the calibration error. How sure of that one can be: `intervals.py`.

numpy only, beside the intervals: reports and commands start without torch. scikit-learn is the oracle in the tests. All
is exact counting in float64: 100,000 rows take milliseconds. Rejected: silent repair of bad input (a NaN probability
means a broken model, so it is refused).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loraloom.intervals import Floats, Interval, refuse_different_lengths, refuse_not_finite, wilson_interval

CALIBRATION_BINS = 15
PROBABILITY_FLOOR = float(np.finfo(np.float64).eps)
"""The least probability that `log_loss` takes a logarithm of: one row can cost 36.04 at most."""
SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may sum from 1: bfloat16 has 8 bits of mantissa, and files round."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class, one against the rest; a ratio without a denominator is None.

    `precision` is undefined where the class was never predicted, `recall` and its Wilson interval where no
    row has it, `f1` where both hold. `support` is the rows that have the class.
    """

    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Quality of C-class predictions on `examples` rows; shares are in [0, 1], `log_loss` is in nats.

    `macro_f1` is the mean over the classes that are seen in the labels or the predictions, as scikit-learn
    has it by default. `accuracy_interval` is Wilson's at 95 %. `confusion` (C, C) has true classes as
    rows.
    """

    examples: int
    correct: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    log_loss: float
    expected_calibration_error: float
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of logits (…, C), in float64, shifted by the row's highest so that nothing overflows.

    Raises:
        ValueError: no classes, or a logit that is NaN or infinite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"logits: shape {values.shape} has no classes; the last axis is the classes")
    refuse_not_finite("logits", values)
    # halved before the difference: two finite logits may lie further apart than a float64 reaches
    shifted = np.maximum(values / 2 - values.max(axis=-1, keepdims=True) / 2, -1e4) * 2
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float64)


def confusion(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts (C, C) of N rows: entry [t, p] is the rows of true class t that were predicted as p.

    Raises:
        ValueError: lengths differ, or a label or prediction is not a whole number in 0..classes-1.
    """
    if classes < 1:
        raise ValueError(f"classes: {classes} is not a number of classes; it must be 1 or more")
    true = _class_numbers("labels", labels, classes)
    predicted = _class_numbers("predictions", predictions, classes)
    refuse_different_lengths("labels", true, "predictions", predicted)
    flat = np.bincount(true * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64, copy=False)


def score(labels: ArrayLike, probabilities: ArrayLike) -> Scores:
    """All scores of N predictions: `labels` (N,) against `probabilities` (N, C), or `softmax(logits)`.

    The prediction is the most probable class, the first one of a tie. The log loss clips a probability to at
    least `PROBABILITY_FLOOR`.

    Raises:
        ValueError: no rows, lengths differ, a label out of range, or a probability that is NaN, out of
            [0, 1] or in a row that does not sum to 1.
    """
    true, shares = _labelled(labels, probabilities)
    counts = confusion(true, shares.argmax(axis=1), shares.shape[1])
    correct, total = int(counts.trace()), int(counts.sum())
    per_class = class_scores(counts)
    return Scores(
        examples=total,
        correct=correct,
        accuracy=correct / total,
        accuracy_interval=wilson_interval(correct, total),
        macro_f1=macro_f1(per_class),
        log_loss=log_loss(true, shares),
        expected_calibration_error=expected_calibration_error(true, shares),
        classes=per_class,
        confusion=counts,
    )


def class_scores(counts: NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class from a `confusion` (C, C)."""
    return tuple(_class_score(counts, index) for index in range(len(counts)))


def macro_f1(classes: Iterable[ClassScore]) -> float:
    """The mean F1 of the classes that are seen in labels or predictions."""
    return float(np.mean([each.f1 for each in classes if each.f1 is not None]))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of -log p(true class) in nats, p clipped to `PROBABILITY_FLOOR`; raises as `score` does."""
    true, shares = _labelled(labels, probabilities)
    return abs(float(row_losses(true, shares).mean()))


def row_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """(N,) what each row adds to the `log_loss`; labels and probabilities are not looked at for what is wrong."""
    shares, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    return np.asarray(-np.log(np.clip(shares[np.arange(true.size), true], PROBABILITY_FLOOR, 1.0)), dtype=np.float64)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean gap between confidence and accuracy of the predicted class, over equal-width bins ((m-1)/M, m/M].

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3, M =
    `CALIBRATION_BINS`. Raises as `score` does.
    """
    true, shares = _labelled(labels, probabilities)
    return float(calibration_errors(shares.argmax(axis=1) == true, shares.max(axis=1))[0])


def calibration_errors(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) expected calibration errors of S outcomes (S, N) of rows with these confidences (N,)."""
    outcomes, sure = np.broadcast_arrays(np.atleast_2d(right), np.atleast_2d(confidence))
    count, rows = outcomes.shape
    places = confidence_bins(sure, CALIBRATION_BINS) + CALIBRATION_BINS * np.arange(count)[:, None]
    gaps = np.bincount(places.ravel(), weights=(outcomes - sure).ravel(), minlength=CALIBRATION_BINS * count)
    return np.asarray(np.abs(gaps.reshape(count, CALIBRATION_BINS)).sum(axis=1) / rows, dtype=np.float64)


def confidence_bins(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The number m - 1 of the bin ((m-1)/M, m/M] that each confidence, of any shape, lies in; M = `bins`."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _class_score(counts: NDArray[np.int64], index: int) -> ClassScore:
    hits, support, claimed = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
    return ClassScore(
        precision=hits / claimed if claimed else None,
        recall=hits / support if support else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        f1=2 * hits / (support + claimed) if support + claimed else None,
        support=support,
    )


def _class_numbers(name: str, values: ArrayLike, classes: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape} is not a list of rows; give one number for each row")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name}: are {array.dtype}, not class numbers; give whole numbers from 0")
    if array.min() < 0 or array.max() >= classes:
        wrong = array[(array < 0) | (array >= classes)][0]
        raise ValueError(f"{name}: {wrong} is not a class; it must be 0 to {classes - 1}")
    return array.astype(np.int64)


def _labelled(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Labels (N,) and probabilities (N, C) that fit together; what does not is refused."""
    shares = _probabilities(probabilities)
    true = _class_numbers("labels", labels, shares.shape[1])
    refuse_different_lengths("labels", true, "probabilities", shares)
    return true, shares


def _probabilities(values: ArrayLike) -> NDArray[np.float64]:
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim != 2 or 0 in shares.shape:
        raise ValueError(f"probabilities: shape {shares.shape} is not (rows, classes)")
    refuse_not_finite("probabilities", shares)
    if shares.min() < 0 or shares.max() > 1 + SUM_TOLERANCE:
        wrong = shares.min() if shares.min() < 0 else shares.max()
        raise ValueError(f"probabilities: {wrong:g} is not in [0, 1]; logits go through softmax first")
    sums = shares.sum(axis=1)
    if (off := np.abs(sums - 1)).max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(f"probabilities: row {row} sums to {sums[row]:g}, not 1; logits go through softmax first")
    return np.minimum(shares, 1.0)
