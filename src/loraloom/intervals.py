"""How sure one can be of a share, a mean or a difference: intervals, and tests corrected for their number.

numpy and scipy.special only: what predicts starts without the second that scipy.stats takes to be imported, which is
the oracle in the tests. Rejected: the normal approximation for an accuracy (it leaves [0, 1] and covers badly near 1,
where good classifiers are).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

BOOTSTRAP_DRAWS = 20_000
LEAST_DISCORDANT = 10
"""Rows on which just one of two classifiers is right, below which `paired_bootstrap` does not cover what it says."""

Floats = NDArray[np.float64]
Interval = tuple[float, float]


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
    refuse_not_finite("values", sample)
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
    refuse_different_lengths("correct_a", a, "correct_b", b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def least_lead(changed: int, level: float) -> int | None:
    """By how many of `changed` rows, which one alone has right, one must lead for `mcnemar` to be below `level`.

    None where no lead is enough: of five rows, at a level of 0.05.
    """
    behind = np.arange(changed // 2 + 1)
    enough = behind[2 * special.bdtr(behind, changed, 0.5) < level]
    return changed - 2 * int(enough[-1]) if enough.size else None


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
    refuse_different_lengths("correct_a", a, "correct_b", b)
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


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not within (0, 1); 0.95 is usual")


def refuse_not_finite(name: str, values: NDArray[np.float64]) -> None:
    """Raises ValueError where one of the values is NaN or infinite."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = values[wrong].flat[0]
        what = "NaN" if np.isnan(first) else "infinite"
        raise ValueError(f"{name}: {int(wrong.sum())} of {values.size} are not finite (the first is {what})")


def refuse_different_lengths(first: str, first_values: NDArray[Any], second: str, second_values: NDArray[Any]) -> None:
    """Raises ValueError where the two are not of as many rows."""
    if len(first_values) != len(second_values):
        raise ValueError(f"{second}: {len(second_values)} rows do not match the {len(first_values)} of {first}")


def _flags(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: shape {array.shape} is not a list of rows; give one flag for each row")
    if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: holds values that are not true or false")
    return array.astype(np.bool_)
