"""Whether a model's confidence can be believed, and what it is good for: reliability, temperature, coverage.

numpy and scipy only. The temperature is one number: some thirty evaluations of the loss, milliseconds for 10,000 rows;
what is drawn at random is drawn from a generator that is passed. Rejected: scikit-learn's
CalibratedClassifierCV(method="temperature"), which has no prior, without which few rows do harm, and no interval; Platt
and isotonic scaling, which need more rows than a validation split has, and move predictions; a calibration error
without what pure chance makes of it (on few rows that is not small).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from loraloom.intervals import Floats, Interval, wilson_interval, wilson_intervals
from loraloom.metrics import CALIBRATION_BINS, calibration_errors, confidence_bins

COLDEST, HOTTEST = 0.02, 50.0
"""The temperatures that are looked at."""
_ENDS = math.log(COLDEST), math.log(HOTTEST)
SPREAD = math.log(2) / 1.96
"""Of a temperature's logarithm, before rows are seen: 95 % lie between a half and twice (`study/temperatures.py`)."""
MOST_DRAWN = 2_000_000
"""Outcomes of rows that are drawn at once."""
MOST_AT_ONCE = 1 << 16
"""Probabilities that are computed with at once: what is made of them stays in a processor's cache."""

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
    """`value` is the most probable by the rows it was fitted on; `interval` is of 95 %."""

    value: float
    interval: Interval
    rows: int

    @property
    def is_needed(self) -> bool:
        """Whether the rows show that the model needs one: it is divided by then, and else by none."""
        return not self.interval[0] <= 1 <= self.interval[1]


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

    def spread(self, most: int) -> NDArray[np.intp]:
        """The places of at most so many points, evenly apart, both ends among them."""
        return np.unique(np.linspace(0, len(self.coverage) - 1, most).round().astype(np.intp))


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
            for count in portions(draws, right.size)
        ]
    )
    return (1 + int((drawn >= seen - 1e-12).sum())) / (draws + 1), float(np.quantile(drawn, 0.95, method="higher"))


def at_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """softmax(logits / T) from softmax(logits) (N, C): the logarithms are the logits, but for a constant of the row."""
    return np.asarray(np.exp(special.log_softmax(_logarithms(probabilities) / temperature, axis=1)), dtype=np.float64)


def at_odds(probabilities: ArrayLike, odds: ArrayLike) -> Floats:
    """Probabilities (N, C) where classes are `odds` (C,) times as common as where those given hold.

    Source: Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities: a
    simple procedure", Neural Computation 14 (2002), 21-41, eq. 2.4. A class of odds 0 has none; one has more.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(odds, dtype=np.float64))
    return np.asarray(special.softmax(_logarithms(probabilities) + logs, axis=1), dtype=np.float64)


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike, spread: float = SPREAD) -> Temperature:
    """The temperature that is the most probable by the labels (N,), and its interval.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2, eq. 9,
    with a normal prior of its logarithm around 0, whose standard deviation is `spread`: few rows leave it near 1, and
    of many it is the likeliest, as it is without a prior (`math.inf`). That few rows are to be believed in part alone
    where they correct a model: Steyerberg et al., "Validation and updating of predictive logistic regression models: a
    study on sample size and shrinkage", Statistics in Medicine 23 (2004), 2567-2586. Rule and spread were chosen by
    `study/temperatures.py`: the likeliest of few rows may be far off, and is the coldest where all are right.

    The interval holds the temperatures at which the loss of all rows, with the prior's, is within 1.92 of the least
    (Wilks, "The large-sample distribution of the likelihood ratio", Annals of Mathematical Statistics 9 (1938), 60-62):
    it is right whichever way the likelihood leans.

    Raises:
        ValueError: no rows.
    """
    true, logs = np.asarray(labels), _logarithms(probabilities)
    if true.size == 0:
        raise ValueError("labels: no rows; a temperature is fitted on one or more")
    logs -= logs.max(axis=1, keepdims=True)  # so that no sum of exponentials overflows, or is below one
    of_rows = _loss_at(logs, float(logs[np.arange(true.size), true].sum()))

    def loss(log_temperature: float) -> float:
        return of_rows(log_temperature) + (log_temperature / spread) ** 2 / 2

    low, high = _ENDS
    best = _least(loss)
    limit = loss(best) + float(special.chdtri(1, 0.05)) / 2

    def end(edge: float) -> float:
        if loss(edge) <= limit:
            return edge
        return float(optimize.brentq(lambda x: loss(float(x)) - limit, min(edge, best), max(edge, best)))

    ends = end(low), end(high)
    return Temperature(float(np.exp(best)), (float(np.exp(ends[0])), float(np.exp(ends[1]))), int(true.size))


def temperature_towards(probabilities: ArrayLike, wanted: ArrayLike) -> float:
    """The temperature that brings probabilities (N, C) nearest to others (N, C), by their mean cross-entropy.

    With labels for the others it is that of `fit_temperature` without a prior.
    """
    logs = _logarithms(probabilities)
    logs -= logs.max(axis=1, keepdims=True)
    return math.exp(_least(_loss_at(logs, float((np.asarray(wanted, dtype=np.float64) * logs).sum()))))


def _loss_at(logs: Floats, of_wanted: float) -> Callable[[float], float]:
    """The cross-entropy of all rows by the temperature's logarithm; `of_wanted` is the sum of `logs` as wanted."""
    parts = [logs[rows] for rows in rows_at_once(*logs.shape)]

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        sums = np.concatenate([np.exp(part / temperature).sum(axis=1) for part in parts])
        return float(np.log(sums).sum()) - of_wanted / temperature

    return loss


def rows_at_once(rows: int, classes: int) -> list[slice]:
    """Probabilities (N, C) in parts of some rows, of which copies may be made."""
    step = max(1, MOST_AT_ONCE // classes)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _least(loss: Callable[[float], float]) -> float:
    """Where it is least, or the end that it falls towards."""
    low, high = _ENDS
    best = float(optimize.minimize_scalar(loss, bounds=_ENDS, method="bounded", options={"xatol": 1e-6}).x)
    return min((low, best, high), key=loss)


def coverage_curve(right: Flags, confidence: Floats) -> Coverage:
    """Accuracy against the share of rows that are answered, from the surest on.

    `area` is AURC, the mean over the N coverages of the error of what is answered, ties averaged: Geifman, Uziel and
    El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019, section 2.
    """
    sure, kinds = _ties(right, confidence)
    tied, right_of = _counts(kinds, sure.size)
    answered, correct = np.cumsum(tied), np.cumsum(right_of)
    low, high = wilson_intervals(correct, answered)
    return Coverage(sure, answered / right.size, correct / answered, low, high, _area(tied, right_of))


def drawn_areas(right: Flags, confidence: Floats, generator: np.random.Generator, draws: int, rows: int) -> list[float]:
    """AURC, see `coverage_curve`, of `rows` that are drawn again, `draws` times; they are sorted once."""
    sure, kinds = _ties(right, confidence)
    return [_area(*_counts(kinds[generator.integers(0, right.size, size=rows)], sure.size)) for _ in range(draws)]


def _ties(right: Flags, confidence: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The distinct confidences (K,), the surest first; of each row (N,) twice its place there, and 1 if it is right."""
    negative, place = np.unique(-confidence, return_inverse=True)
    return -negative, np.asarray(2 * place + right, dtype=np.intp)


def _counts(kinds: NDArray[np.intp], ties: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many rows each tie (K,) has, and how many of them are right."""
    wrong, hits = np.bincount(kinds, minlength=2 * ties).reshape(ties, 2).T
    return wrong + hits, hits


def _area(tied: NDArray[np.int64], right_of: NDArray[np.int64]) -> float:
    """AURC of ties from the surest on, of which one may have no row.

    Rows of a tie come in any order, so that each is as right as the tie is on average.
    """
    even = np.repeat(right_of / np.maximum(1, tied), tied)
    return float(np.mean(1 - np.cumsum(even) / np.arange(1, even.size + 1)))


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


def portions(draws: int, rows: int) -> list[int]:
    """How many draws are made at once, so that memory stays small."""
    step = max(1, MOST_DRAWN // max(1, rows))
    return [min(step, draws - start) for start in range(0, draws, step)]


def _logarithms(probabilities: ArrayLike) -> Floats:
    shares: Floats = np.maximum(probabilities, np.finfo(np.float32).tiny, dtype=np.float64)
    return np.log(shares, out=shares)
