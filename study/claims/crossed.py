"""The mean of paired differences that vary over seeds and over rows, with an interval that allows for both.

Two configurations are trained with the same S seeds and compared on the same N rows: a table (S, N) of differences, in
which a seed's training and a row's difficulty are crossed. With the mean squares of the two-way layout without
replication (between seeds, between rows, and what is left),

    variance of the mean = (max(MS_seeds − MS_left, 0) + MS_rows) / (S N)

and Student's t has Satterthwaite's degrees of freedom. Source: Hillis, "A comparison of denominator degrees of freedom
methods for multiple observer ROC analysis", Statistics in Medicine 26 (2007), 596–619, where readers are what seeds are
here and cases are rows; the layout is Scheffé's "The analysis of variance" (1959), chapter 7. Rejected: seeds alone
(three of them say little, and a set of rows on which one happens to be better is taken for the world), and rows alone,
seeds pooled (McNemar), for which a lucky seed is an effect. MS_seeds, which a few seeds hardly tell, can be moderated
by what other contrasts say (study/claims/moderated.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from loraloom.intervals import Interval, mean_interval
from study.claims.moderated import NO_PRIOR, Prior

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean difference, as a share; `p` is that of no difference.

    `over_seeds` is Student's interval of the seeds' means alone, `over_rows` that with the seeds as they are.
    """

    mean: float
    interval: Interval
    p: float
    degrees: float
    over_seeds: Interval
    over_rows: Interval | None


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Of a table of differences (S seeds, N rows): what varies between seeds, between rows, and what is left."""

    seeds: float
    rows: float
    left: float


def mean_squares(differences: NDArray[np.float64]) -> MeanSquares:
    """`differences` (S, N): of S seeds, two or more, on the same N rows, two or more."""
    seeds, rows = differences.shape
    assert seeds > 1
    assert rows > 1
    of_seeds, of_rows = differences.mean(axis=1), differences.mean(axis=0)
    left = differences - of_seeds[:, None] - of_rows[None, :] + differences.mean()
    return MeanSquares(
        seeds=rows * float(of_seeds.var(ddof=1)),
        rows=seeds * float(of_rows.var(ddof=1)),
        left=float((left**2).sum()) / ((seeds - 1) * (rows - 1)),
    )


def crossed(differences: NDArray[np.float64], prior: Prior = NO_PRIOR) -> Estimate:
    """`differences` (S, N): of S seeds, two or more, on the same N rows; `prior` is of such tables of N rows."""
    seeds, rows = differences.shape
    mean, own = float(differences.mean()), mean_squares(differences)
    ms_seeds, of_ms_seeds = prior.moderate(own.seeds, seeds - 1)
    # Counts round: seeds that agree to the row differ by less than a row, not by nothing (metrics.mean_interval).
    total = max(ms_seeds - own.left, 0.0) + own.rows + 1 / (12 * rows)
    of_total = ms_seeds**2 / of_ms_seeds + own.rows**2 / (rows - 1) + own.left**2 / ((seeds - 1) * (rows - 1))
    least = min(of_ms_seeds, rows - 1.0)
    degrees = max(least, total**2 / of_total) if of_total > 0 else least
    error = (total / (seeds * rows)) ** 0.5
    reach = -float(special.stdtrit(degrees, (1 - CONFIDENCE) / 2)) * error
    over_rows = -float(special.ndtri((1 - CONFIDENCE) / 2)) * (own.rows / (seeds * rows)) ** 0.5
    over_seeds = mean_interval(differences.mean(axis=1).tolist(), CONFIDENCE, rows=rows)
    assert over_seeds is not None  # there are two seeds or more
    return Estimate(
        mean=mean,
        interval=(max(-1.0, mean - reach), min(1.0, mean + reach)),  # it is a difference of shares
        p=min(1.0, 2 * float(special.stdtr(degrees, -abs(mean) / error))),
        degrees=degrees,
        over_seeds=over_seeds,
        over_rows=(mean - over_rows, mean + over_rows),
    )


def of_seeds_alone(values: NDArray[np.float64]) -> Estimate:
    """`values` (S,): a difference of each of S seeds, that is no count of rows."""
    mean, interval = float(values.mean()), mean_interval(values.tolist(), CONFIDENCE)
    assert interval is not None  # there are two seeds or more
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    p = 2 * float(special.stdtr(len(values) - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return Estimate(mean, interval, p, len(values) - 1.0, interval, None)
