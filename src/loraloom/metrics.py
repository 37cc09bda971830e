"""How good predictions are, and how sure of that one can be: accuracy, F1, calibration, intervals, tests.

numpy and scipy.special only: reports and commands start without torch, and what predicts without the second that
scipy.stats takes to be imported. scikit-learn and scipy.stats are the oracles in the tests. Everything is exact
counting in float64: 100,000 rows take milliseconds. Rejected: the normal approximation for an accuracy (it leaves
[0, 1] and covers badly near 1, where good classifiers are), and silent repair of bad input (a NaN probability means a
broken model, so it is refused).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

CALIBRATION_BINS = 15
BOOTSTRAP_DRAWS = 20_000
LEAST_DISCORDANT = 10
"""Rows on which just one of two classifiers is right, below which `paired_bootstrap` does not cover what it says."""
PROBABILITY_FLOOR = float(np.finfo(np.float64).eps)
"""The least probability that `log_loss` takes a logarithm of: one row can cost 36.04 at most."""
SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may sum from 1: bfloat16 has 8 bits of mantissa, and files round."""

Floats = NDArray[np.float64]
Interval = tuple[float, float]


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


@dataclass(frozen=True, slots=True)
class Paired:
    """The first of two classifiers against the second on the same `rows`, of which one alone has `changed` right.

    `difference` is the first's accuracy less the second's, `interval` the bootstrap's at 95 % (None where too few rows
    changed: `paired_bootstrap`), `p` McNemar's.
    """

    rows: int
    changed: int
    difference: float
    interval: Interval | None
    p: float


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share: `correct` of `total` independent rows.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209–212, equation 6. A 95 % interval covers in 93 to 97 of 100 cases
    where 8 or more of the rows are expected right, and as many wrong; with fewer, counts are too coarse for any
    interval to do so (with 100 rows and an accuracy of 0.99 it is 92): docs/statistics.md.

    Raises:
        ValueError: `total` is 0, `correct` is not in 0..total, or `confidence` is not within (0, 1).
    """
    if total < 1:
        raise ValueError(f"total: {total} rows have no accuracy; it must be 1 or more")
    if not 0 <= correct <= total:
        raise ValueError(f"correct: {correct} is not a count out of {total}; it must be 0 to {total}")
    _check_confidence(confidence)
    low, high = wilson_intervals(np.array(correct), np.array(total), confidence)
    return float(low), float(high)


def wilson_intervals(
    correct: NDArray[np.int64], total: NDArray[np.int64], confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """The low and the high ends (N,) of `wilson_interval` of counts (N,): 100,000 take milliseconds, not seconds."""
    z = normal_quantile(confidence)
    share, scale = correct / total, 1 + z * z / total
    centre = share + z * z / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + z * z / (4.0 * total * total))
    low = np.where(correct == 0, 0.0, np.maximum(0.0, (centre - reach) / scale))
    return low, np.where(correct == total, 1.0, np.minimum(1.0, (centre + reach) / scale))


def mean_interval(values: Sequence[float], confidence: float = 0.95, *, rows: int | None = None) -> Interval | None:
    """Student's t interval of the mean of a few seeds' values; None for one value, which has no spread.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908), 1–25, section IX.

    Accuracies are counts of `rows` rows, and seeds often have the same count: two that differ by two rows in the
    deviation are equal in one case of seven, and an interval of no length misses. With `rows` given, the variance of
    rounding to whole rows, 1 / (12 rows²) (Sheppard 1898, "On the calculation of the most probable values of
    frequency-constants"), is added to the sample's, and the interval covers what it says or more: docs/statistics.md.

    Raises:
        ValueError: no values, a value that is not finite, or `confidence` not within (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"values: an array of shape {sample.shape} has no mean; give one or more numbers")
    _refuse_not_finite("values", sample)
    _check_confidence(confidence)
    if rows is not None and rows < 1:
        raise ValueError(f"rows: {rows} rows have no accuracy; it must be 1 or more")
    if sample.size == 1:
        return None
    mean, count = float(sample.mean()), sample.size
    rounding = 0.0 if rows is None else 1 / (12 * rows * rows)
    deviation = math.sqrt(float(sample.var(ddof=1)) + rounding)
    reach = upper_t((1 - confidence) / 2, count - 1) * deviation / math.sqrt(count)
    return mean - reach, mean + reach


def normal_quantile(confidence: float) -> float:
    """How many standard errors an interval reaches to each side: 1.96 for 0.95."""
    return -float(special.ndtri((1 - confidence) / 2))


def upper_t(share: float, freedom: float) -> float:
    """What Student's t exceeds with probability `share` (scipy.stats.t.isf, without its cost for one number)."""
    return -float(special.stdtrit(freedom, share))


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of logits (…, C), in float64, shifted by the row's highest so that nothing overflows.

    Raises:
        ValueError: no classes, or a logit that is NaN or infinite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"logits: shape {values.shape} has no classes; the last axis is the classes")
    _refuse_not_finite("logits", values)
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
    _refuse_different_lengths("labels", true, "predictions", predicted)
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
        macro_f1=float(np.mean([each.f1 for each in per_class if each.f1 is not None])),
        log_loss=log_loss(true, shares),
        expected_calibration_error=expected_calibration_error(true, shares),
        classes=per_class,
        confusion=counts,
    )


def class_scores(counts: NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class from a `confusion` (C, C)."""
    return tuple(_class_score(counts, index) for index in range(len(counts)))


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


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Two-sided exact p-value of "A and B are right equally often", on the same rows (N,).

    Only rows where just one is right count: under that hypothesis those that A has are Binomial(such rows,
    1/2). Without such rows the value is 1. Source: McNemar, "Note on the sampling error of the difference
    between correlated proportions or percentages", Psychometrika 12 (1947), 153–157; exact instead of its
    chi-square.

    Raises:
        ValueError: lengths differ, no rows, or a value that is not true or false (0 or 1).
    """
    a, b = _flags("correct_a", correct_a), _flags("correct_b", correct_b)
    _refuse_different_lengths("correct_a", a, "correct_b", b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def difference_interval(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> Interval:
    """The interval of the difference of two shares, (correct, rows) each, of different rows: the first less the second.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), 873–890, method 10.
    """
    (first_low, first_high), (second_low, second_high) = (
        wilson_interval(*each, confidence) for each in (first, second)
    )
    one, other = first[0] / first[1], second[0] / second[1]
    below = math.hypot(one - first_low, second_high - other)
    above = math.hypot(first_high - one, other - second_low)
    return one - other - below, one - other + above


def holm(p_values: Sequence[float | None]) -> list[float]:
    """p-values corrected for their number; one that is None was not tested, and stays out of it as 1.

    statsmodels has it, and collects garbage at every call: 0.3 s.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979), 65–70.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected, highest = [1.0] * len(p_values), 0.0
    for done, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - done)))
        corrected[place] = highest
    return corrected


def paired_bootstrap(correct_a: ArrayLike, correct_b: ArrayLike, confidence: float = 0.95) -> Interval | None:
    """The interval of A's accuracy minus B's on the same rows (N,), rows drawn again with replacement.

    Percentiles of the bootstrap distribution: Efron and Tibshirani, "An introduction to the bootstrap" (1993), equation
    13.5, rows resampled as pairs (their section 8.3). A row gives +1, 0 or -1, so drawing N rows is drawing the counts
    from a multinomial, which is done instead. Rejected: BCa (their equation 14.10), which covered worse in every case
    that was tried: of so few distinct values its skewness is noise (docs/statistics.md).

    None where fewer than `LEAST_DISCORDANT` rows have just one of the two right: the interval is then too short, and of
    no length where there are none. `mcnemar` is exact there. The draws are the same each time.

    Raises:
        ValueError: lengths differ, no rows, a value that is not true or false, or `confidence` not within (0, 1).
    """
    a, b = _flags("correct_a", correct_a), _flags("correct_b", correct_b)
    _refuse_different_lengths("correct_a", a, "correct_b", b)
    _check_confidence(confidence)
    rows, only_a, only_b = a.size, int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b < LEAST_DISCORDANT:
        return None
    shares = np.array([only_a, only_b, rows - only_a - only_b]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, shares, size=BOOTSTRAP_DRAWS)
    tail = (1 - confidence) / 2
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / rows, (tail, 1 - tail))
    return float(low), float(high)


def paired(correct_a: ArrayLike, correct_b: ArrayLike) -> Paired:
    """A against B on the same rows (N,), of which each is right or not.

    Raises:
        ValueError: as `mcnemar`.
    """
    p, interval = mcnemar(correct_a, correct_b), paired_bootstrap(correct_a, correct_b)
    a, b = _flags("correct_a", correct_a), _flags("correct_b", correct_b)
    difference = (int(a.sum()) - int(b.sum())) / a.size
    return Paired(a.size, int((a != b).sum()), difference, interval, p)


def _class_score(counts: NDArray[np.int64], index: int) -> ClassScore:
    hits, support, claimed = int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())
    return ClassScore(
        precision=hits / claimed if claimed else None,
        recall=hits / support if support else None,
        recall_interval=wilson_interval(hits, support) if support else None,
        f1=2 * hits / (support + claimed) if support + claimed else None,
        support=support,
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not within (0, 1); 0.95 is usual")


def _refuse_not_finite(name: str, values: NDArray[np.float64]) -> None:
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = values[wrong].flat[0]
        what = "NaN" if np.isnan(first) else "infinite"
        raise ValueError(f"{name}: {int(wrong.sum())} of {values.size} are not finite (the first is {what})")


def _refuse_different_lengths(first: str, first_values: NDArray[Any], second: str, second_values: NDArray[Any]) -> None:
    if len(first_values) != len(second_values):
        raise ValueError(f"{second}: {len(second_values)} rows do not match the {len(first_values)} of {first}")


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
    _refuse_different_lengths("labels", true, "probabilities", shares)
    return true, shares


def _probabilities(values: ArrayLike) -> NDArray[np.float64]:
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim != 2 or 0 in shares.shape:
        raise ValueError(f"probabilities: shape {shares.shape} is not (rows, classes)")
    _refuse_not_finite("probabilities", shares)
    if shares.min() < 0 or shares.max() > 1 + SUM_TOLERANCE:
        wrong = shares.min() if shares.min() < 0 else shares.max()
        raise ValueError(f"probabilities: {wrong:g} is not in [0, 1]; logits go through softmax first")
    sums = shares.sum(axis=1)
    if (off := np.abs(sums - 1)).max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(f"probabilities: row {row} sums to {sums[row]:g}, not 1; logits go through softmax first")
    return np.minimum(shares, 1.0)


def _flags(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape} is not a list of rows; give one flag for each row")
    if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: holds values that are not true or false")
    return array.astype(np.bool_)
