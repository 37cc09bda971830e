"""Does accuracy depend on the distance from the training rows? Shares by bins to look at, a logistic trend to decide.

Rejected: a test between the nearest and the farthest bin, whose answer depends on where the bins end.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from loraloom.intervals import Interval, wilson_interval

NO_RATIO = "beyond some distance all rows are right, or all wrong, so no odds ratio can be told"
MOST_BINS = 5
ROWS_IN_BIN = 25
FEWEST_OF_EACH = 10
"""Right rows, and wrong ones, below which a trend is not estimated: 10 events for a variable (Peduzzi et al., Journal
of Clinical Epidemiology 49 (1996), 1373–1379)."""

MOST = 30.0
"""A logarithm of odds, or its standard error, beyond which the likelihood rises without end."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows at distances from `low` to `high`, with Wilson's interval of their accuracy."""

    low: float
    high: float
    rows: int
    correct: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        return self.correct / self.rows


@dataclass(frozen=True, slots=True)
class Slope:
    """`odds_ratio` multiplies the odds of a right answer for each standard deviation (`unit`) of distance.

    `near` and `far` are the model's accuracies at the distances that a tenth of the rows is below and above.
    """

    odds_ratio: float
    interval: Interval
    p: float
    unit: float
    near: float
    far: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Accuracy by distance in the set `name`; `slope` is None for the reason `why_not`."""

    name: str
    rows: int
    wrong: int
    bins: tuple[Bin, ...]
    slope: Slope | None
    why_not: str | None


def trend(name: str, distances: NDArray[np.float64], correct: NDArray[np.bool_]) -> Trend:
    """The trend over rows at `distances` (N,) of which some are `correct` (N,)."""
    wrong = int((~correct).sum())
    slope, why_not = None, _why_not(distances, correct)
    if why_not is None:
        slope = _slope(distances, correct)
        why_not = None if slope else NO_RATIO
    return Trend(name, len(correct), wrong, _bins(distances, correct), slope, why_not)


def _why_not(distances: NDArray[np.float64], correct: NDArray[np.bool_]) -> str | None:
    right = int(correct.sum())
    fewest = min(right, len(correct) - right)
    if fewest < FEWEST_OF_EACH:
        what, are = "right" if right < len(correct) - right else "wrong", "is" if fewest == 1 else "are"
        return f"only {fewest} of {len(correct):,} rows {are} {what}; it takes {FEWEST_OF_EACH}"
    if float(np.ptp(distances)) < 1e-6:
        return "all rows are equally far from the training rows"
    return None


def _bins(distances: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Up to five bins of about as many rows each; equal distances stay together."""
    number = min(MOST_BINS, len(distances) // ROWS_IN_BIN)
    if number < 2:
        return ()
    edges = np.unique(np.quantile(distances, np.arange(1, number) / number))
    place = np.searchsorted(edges, distances, side="left")
    bins = []
    for each in np.unique(place):
        inside = place == each
        rows, right = int(inside.sum()), int(correct[inside].sum())
        own = distances[inside]
        bins.append(Bin(float(own.min()), float(own.max()), rows, right, wilson_interval(right, rows)))
    return tuple(bins)


def _slope(distances: NDArray[np.float64], correct: NDArray[np.bool_]) -> Slope | None:
    """Logistic regression by maximum likelihood, Wald's interval; None where the likelihood has no maximum.

    Source: Cox, "The regression analysis of binary sequences", Journal of the Royal Statistical Society B 20 (1958).
    """
    unit = float(distances.std())
    scaled = (distances - distances.mean()) / unit
    fitted = fit_logistic(np.column_stack([np.ones_like(scaled), scaled]), correct)
    if fitted is None:
        return None
    odds_ratio, interval = _odds(fitted, 1)
    near, far = expit(fitted.params[0] + fitted.params[1] * np.quantile(scaled, (0.1, 0.9)))
    return Slope(
        odds_ratio=odds_ratio,
        interval=interval,
        p=float(fitted.pvalues[1]),
        unit=unit,
        near=float(near),
        far=float(far),
    )


def at_equal_distance(
    first: tuple[NDArray[np.float64], NDArray[np.bool_]], second: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> tuple[float, Interval] | None:
    """The odds ratio, with 95 %, of a right answer in the second set against the first at one distance.

    Each set is distances (N,) and whether they are correct (N,). None where either has too few right or wrong rows,
    where the middle 90 % of their distances have none in common, or where there is no estimate. It is logistic
    regression (Cox, "The regression analysis of binary sequences", Journal of the Royal Statistical Society B 20
    (1958), 215–242) on the distance and the set, the interval Wald's.
    """
    if any(min(int(correct.sum()), int((~correct).sum())) < FEWEST_OF_EACH for _, correct in (first, second)):
        return None
    (low, high), (other_low, other_high) = (np.quantile(each, (0.05, 0.95)) for each, _ in (first, second))
    if max(low, other_low) > min(high, other_high):
        return None
    distances = np.concatenate([first[0], second[0]])
    if float(np.ptp(distances)) < 1e-6:
        return None
    scaled = (distances - distances.mean()) / distances.std()
    in_second = np.repeat([0.0, 1.0], [len(first[0]), len(second[0])])
    design = np.column_stack([np.ones_like(scaled), scaled, in_second])
    fitted = fit_logistic(design, np.concatenate([first[1], second[1]]))
    if fitted is None:
        return None
    return _odds(fitted, 2)


def _odds(fitted: Any, place: int) -> tuple[float, Interval]:
    """The odds ratio of a coefficient, and its 95 % interval."""
    low, high = np.exp(fitted.conf_int()[place])
    return math.exp(fitted.params[place]), (float(low), float(high))


def fit_logistic(
    design: NDArray[np.float64], correct: NDArray[np.bool_], offset: NDArray[np.float64] | None = None
) -> Any:
    """statsmodels' fit of `correct` (N,) on `design` (N, p); None where the likelihood has no maximum, or nearly none.

    That is where right rows are told from wrong ones perfectly, or nearly. `offset` (N,) is statsmodels' own.
    """
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationError, PerfectSeparationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fitted: Any = GLM(correct.astype(np.float64), design, family=Binomial(), offset=offset).fit()
        except (PerfectSeparationError, PerfectSeparationWarning, np.linalg.LinAlgError):
            return None
    good = bool(fitted.converged) and np.isfinite(fitted.params).all()
    return fitted if good and float(np.max(np.abs([fitted.params, fitted.bse]))) < MOST else None
