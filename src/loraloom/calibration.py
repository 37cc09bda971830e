"""Whether a model's confidence can be believed, and what it is good for: reliability, temperature, coverage.

numpy and scipy only. The temperature is one number: some thirty evaluations of the loss, milliseconds for 10,000 rows;
what is drawn at random is drawn from a generator that is passed. Rejected: scikit-learn's
CalibratedClassifierCV, which refits a classifier and calibrates classes one against the rest; Platt and isotonic
scaling, which need more rows than a validation split has, and move predictions; a calibration error without what pure
chance makes of it (on few rows that is not small).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from loraloom.metrics import (
    CALIBRATION_BINS,
    PROBABILITY_FLOOR,
    Interval,
    calibration_errors,
    confidence_bins,
    wilson_interval,
)

COLDEST, HOTTEST = 0.02, 50.0
"""The temperatures that are looked at."""
MOST_DRAWN = 2_000_000
"""Outcomes of rows that are drawn at once."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose confidence is in (low, high]: their mean confidence, and the share that is right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Temperature:
    """`value` makes the rows it was fitted on likeliest; `interval` is of 95 %, its ends the limits where it leaves."""

    value: float
    interval: Interval
    rows: int

    @property
    def is_best(self) -> bool:
        """Whether the rows have a best one: a model that is right in all of them is likelier the surer it is made."""
        return 1.01 * COLDEST < self.value < 0.99 * HOTTEST

    @property
    def is_needed(self) -> bool:
        """Whether the rows show that the model needs one: it is divided by then, and else by none."""
        return self.is_best and not self.interval[0] <= 1 <= self.interval[1]


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """Rows answered from the surest on: `coverage` (K,) of them in (0, 1], `accuracy` (K,) and Wilson's ends of it.

    A point stands where the confidence changes, since rows of equal confidence are answered or not together;
    `threshold` (K,) is the confidence down to which rows are answered. `area` is the mean error over all coverages.
    """

    threshold: Floats
    coverage: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    area: float


def confidence_of(probabilities: ArrayLike) -> Floats:
    """(N,) the probability of what is predicted."""
    return np.asarray(np.asarray(probabilities).max(axis=1), dtype=np.float64)


def reliability(right: Flags, confidence: Floats, bins: int = CALIBRATION_BINS) -> tuple[Bin, ...]:
    """The bins ((m-1)/M, m/M] that have rows, as the expected calibration error has them (Guo et al. 2017, eq. 3)."""
    places = confidence_bins(confidence, bins)
    found = []
    for place in np.unique(places):
        own = places == place
        rows, hits = int(own.sum()), int(right[own].sum())
        share, sure = hits / rows, float(confidence[own].mean())
        found.append(Bin(place / bins, (place + 1) / bins, rows, sure, share, wilson_interval(hits, rows)))
    return tuple(found)


def calibration_test(
    right: Flags, confidence: Floats, generator: np.random.Generator, draws: int = 1000
) -> tuple[float, float]:
    """A p-value of "every confidence is the chance to be right", and the error that 95 % of such models stay below.

    Outcomes are drawn from the confidences themselves, and their expected calibration errors compared with the one
    seen: Bröcker and Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22 (2007),
    651-661, section 3 (consistency resampling), with the error as Guo et al. 2017, eq. 3, as the statistic.
    """
    seen = float(calibration_errors(right, confidence)[0])
    drawn = np.concatenate(
        [
            calibration_errors(generator.random((count, right.size)) < confidence, confidence)
            for count in _portions(draws, right.size)
        ]
    )
    return (1 + int((drawn >= seen - 1e-12).sum())) / (draws + 1), float(np.quantile(drawn, 0.95))


def at_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """softmax(logits / T) from softmax(logits) (N, C): the logarithms are the logits, but for a constant of the row."""
    return np.exp(_logs_at(_logarithms(probabilities), temperature))


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> Temperature:
    """The temperature that makes the labels (N,) likeliest, with its profile-likelihood interval.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2, eq. 9.
    The loss has one minimum in 1 / T, in which it is convex. The interval holds the temperatures at which the loss of
    all rows is within 1.92 of the least (Wilks, "The large-sample distribution of the likelihood ratio", Annals of
    Mathematical Statistics 9 (1938), 60-62): it is right whichever way the likelihood leans.

    Raises:
        ValueError: no rows.
    """
    true, logs = np.asarray(labels), _logarithms(probabilities)
    if true.size == 0:
        raise ValueError("labels: no rows; a temperature is fitted on one or more")

    def loss(log_temperature: float) -> float:
        return _loss_sum(true, logs, float(np.exp(log_temperature)))

    low, high = float(np.log(COLDEST)), float(np.log(HOTTEST))
    best = float(optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)
    best = min((low, best, high), key=loss)
    limit = loss(best) + float(stats.chi2.isf(0.05, 1)) / 2

    def end(edge: float) -> float:
        if loss(edge) <= limit:
            return edge
        return float(optimize.brentq(lambda x: loss(float(x)) - limit, min(edge, best), max(edge, best)))

    ends = end(low), end(high)
    return Temperature(float(np.exp(best)), (float(np.exp(ends[0])), float(np.exp(ends[1]))), int(true.size))


def row_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """(N,) -log p(label) in nats, p clipped as `metrics.log_loss` does."""
    shares, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    return np.asarray(-np.log(np.clip(shares[np.arange(true.size), true], PROBABILITY_FLOOR, 1.0)), dtype=np.float64)


def coverage_curve(right: Flags, confidence: Floats) -> Coverage:
    """Accuracy against the share of rows that are answered, from the surest on.

    `area` is AURC, the mean over the N coverages of the error of what is answered, ties averaged: Geifman, Uziel and
    El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019, section 2.
    """
    hits, sure, last = _surest_first(right, confidence)
    answered = last + 1
    correct = np.cumsum(hits, dtype=np.int64)[last]
    low, high = _wilson_ends(correct, answered)
    return Coverage(sure[last], answered / right.size, correct / answered, low, high, _area(hits, last))


def selective_area(right: Flags, confidence: Floats) -> float:
    """AURC, see `coverage_curve`: rows of a tie come in any order, so each is as right as the tie is on average."""
    hits, _, last = _surest_first(right, confidence)
    return _area(hits, last)


def _surest_first(right: Flags, confidence: Floats) -> tuple[Flags, Floats, NDArray[np.intp]]:
    """Both (N,) from the surest row on, and the place of the last row of each confidence."""
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    return right[order], sure, np.flatnonzero(np.append(np.diff(sure) != 0, True))


def _area(hits: Flags, last: NDArray[np.intp]) -> float:
    """`selective_area` of rows from the surest on, of which `last` are those that end a tie."""
    sizes, correct = np.diff(np.append(0, last + 1)), np.diff(np.append(0, np.cumsum(hits)[last]))
    even = np.repeat(correct / sizes, sizes)
    return float(np.mean(1 - np.cumsum(even) / np.arange(1, hits.size + 1)))


def least_area(right: Flags) -> float:
    """The AURC of a model that is as often right, and least sure just where it errs."""
    return float(np.mean(1 - np.cumsum(np.sort(right)[::-1]) / np.arange(1, right.size + 1)))


def threshold_for(right: Flags, confidence: Floats, accuracy: float) -> float | None:
    """The lowest confidence from which on the rows are right in `accuracy` of all cases; None where none reaches it.

    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", JMLR 11 (2010), have the trade
    of coverage for accuracy. The threshold fits the rows that it was chosen on: judge it on others.
    """
    curve = coverage_curve(right, confidence)
    enough = np.flatnonzero(curve.accuracy >= accuracy - 1e-12)
    return float(curve.threshold[enough[-1]]) if enough.size else None


def _wilson_ends(correct: NDArray[np.int64], total: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """`metrics.wilson_interval` of many counts at once: a curve of 100,000 points takes milliseconds, not seconds."""
    z = float(stats.norm.isf(0.025))
    share, scale = correct / total, 1 + z * z / total
    centre = share + z * z / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + z * z / (4.0 * total * total))
    low = np.where(correct == 0, 0.0, np.maximum(0.0, (centre - reach) / scale))
    return low, np.where(correct == total, 1.0, np.minimum(1.0, (centre + reach) / scale))


def _portions(draws: int, rows: int) -> list[int]:
    """How many draws are made at once, so that memory stays small."""
    step = max(1, MOST_DRAWN // max(1, rows))
    return [min(step, draws - start) for start in range(0, draws, step)]


def _logarithms(probabilities: ArrayLike) -> Floats:
    shares = np.asarray(probabilities, dtype=np.float64)
    return np.log(np.maximum(shares, np.finfo(np.float32).tiny))


def _logs_at(logs: Floats, temperature: float) -> Floats:
    return np.asarray(special.log_softmax(logs / temperature, axis=1), dtype=np.float64)


def _loss_sum(true: NDArray[np.int64], logs: Floats, temperature: float) -> float:
    return float(-_logs_at(logs, temperature)[np.arange(true.size), true].sum())
