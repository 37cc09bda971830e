"""One linear model of all configurations, and tests in it that hold with few trials and unequal noise.

Ordinary least squares as a projection on orthonormal columns of the design, so that axes which can't be told apart make
a smaller basis instead of an error (statsmodels does the same, and takes a second to import). Noise is not alike: a
rate at which some trainings diverge scatters ten times as wide as another. So variances are HC2 (MacKinnon and White
1985, "Some heteroskedasticity-consistent covariance matrix estimators", equation 12: squared residuals over 1 -
leverage, unbiased where noise is alike), and their degrees of freedom are estimated for each comparison: Bell and
McCaffrey 2002, as in Imbens and Kolesár 2016, "Robust standard errors in small samples", equation 10, for one;
Pustejovsky and Tipton 2018, "Small-sample methods for cluster-robust variance estimation", equations 12 to 14 (AHT),
for several at once, of which the former is the case q = 1. A value that two trials had has one degree of freedom,
however many trials had the others: that is what keeps small studies from false findings.

Accuracies are counts of rows: few configurations that differ by one row or none can leave a comparison less noise than
there is. The variance of rounding (Sheppard 1898, as in `intervals.mean_interval`) is added to what the residuals have.

Costs O(N p²) a comparison, and q² times that for the q columns of an interaction, or O(N² p) where that is less.
Rejected: the classical F and t tests (false findings where one value scatters), HC3 with N - p degrees of freedom
(false findings for values that few trials had, in the far tail that many comparisons need), mixed models (a variance
of configurations and one of seeds can't be told apart with one seed; averaging over seeds first is exact), and the
bootstrap (its tails need thousands of fits, and small samples break it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from loraloom.intervals import Floats, Interval, upper_t
from loraloom.report.effects.axes import Axis

LEAST_FREEDOM = 4.0
"""Degrees of freedom below which an interval says more of its own uncertainty than of the effect."""
ALMOST = 1e-8
"""What is below this share of the largest is rounding."""
_SEEN = 1e-10
"""Share of the mean variance that a quantity's own must have: below it no noise was seen there, only rounding.

Where accuracies are coarse and nearly all alike, the rows that a comparison rests on can be fitted exactly.
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its standard error and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float

    def interval(self, level: float) -> Interval:
        """Student's interval that misses the truth with probability `level`."""
        reach = upper_t(level / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach

    @property
    def p_value(self) -> float:
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * special.stdtr(self.freedom, -abs(self.value) / self.error))


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """`matrix` (N, p): one, the blocks, then each axis's columns at its place."""

    matrix: Floats
    places: Mapping[str, slice]

    def contrast(self, axis: Axis, weights: Sequence[float]) -> Floats:
        """The contrast (p,) that weighs the levels of an axis, all else alike."""
        contrast = np.zeros(self.matrix.shape[1])
        contrast[self.places[axis.name]] = np.asarray(weights) @ axis.levels
        return contrast


def make_design(axes: Sequence[Axis], block: NDArray[np.int64]) -> Design:
    """The additive model of some axes, each block (N,) with a level of its own."""
    parts = [np.ones((len(block), 1)), np.equal.outer(block, np.unique(block)[1:]).astype(np.float64)]
    places, start = {}, parts[0].shape[1] + parts[1].shape[1]
    for axis in axes:
        places[axis.name] = slice(start, start + axis.columns.shape[1])
        parts.append(axis.columns)
        start += axis.columns.shape[1]
    return Design(np.hstack(parts), places)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """`basis` (n, r) is orthonormal and `into` (r, p) takes a contrast of the design's columns into it.

    The rows of `span` (r, p) are orthonormal, and span those of the design. `coefficients` (r,) are of the basis, and
    `residuals` (n,) what they leave.

    `kept` (N,) marks the rows that the fit is of: one that a column of its own fits exactly says nothing of noise, and
    is left out. `added` are the last columns of the basis, which came from beside the design. `rounding` is the
    variance that rounding to whole rows gives a value.
    """

    basis: Floats
    into: Floats
    span: Floats
    coefficients: Floats
    residuals: Floats
    kept: NDArray[np.bool_]
    added: int
    rounding: float

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom."""
        return int(self.basis.shape[0] - self.basis.shape[1])

    @property
    def noise(self) -> float:
        """The standard deviation that the model leaves."""
        return float(np.sqrt((self.residuals**2).sum() / self.freedom)) if self.freedom > 0 else float("nan")

    def knows(self, contrast: Floats) -> bool:
        """Whether `contrast` (p,) can be estimated: it lies in the span of the design's rows."""
        rest = contrast - self.span.T @ (self.span @ contrast)
        return bool(np.linalg.norm(rest) <= 1e-6 * max(1e-12, float(np.linalg.norm(contrast))))

    def value(self, contrast: Floats) -> float:
        """The value of `contrast` (p,) alone, without its error."""
        direction = self.into @ contrast
        return float(direction @ self.coefficients[: len(direction)])

    def estimate(self, contrast: Floats) -> Estimate:
        """The value of `contrast` (p,), which must be known; without degrees of freedom where the fit is exact.

        Its error is 0 where the rows that it rests on show no noise.
        """
        if self.freedom == 0:
            return Estimate(self.value(contrast), 0.0, 0.0)
        direction = self.into @ contrast
        pulls = self._pulls(direction[None, :])[:, 0]
        variance = float(pulls**2 @ self.residuals**2)
        alike = float(direction @ direction)  # times noise² its mean, where noise is alike
        variance = 0.0 if variance <= _SEEN * self.noise**2 * alike else variance + self.rounding * alike
        return Estimate(self.value(contrast), float(np.sqrt(variance)), self._freedom(pulls[:, None]))

    def of_added(self) -> float | None:
        """The p-value of "the columns beside the design add nothing"; None where the rows can't say.

        They are too few, or show no noise in some direction of the columns.
        """
        q = self.added
        if q == 0 or self.freedom < LEAST_FREEDOM:
            return None
        rank = self.basis.shape[1]
        pulls = self._pulls(np.eye(rank)[rank - q :])
        values = self.coefficients[rank - q :]
        scaled = pulls * self.residuals[:, None]
        variances, directions = np.linalg.eigh(scaled.T @ scaled)  # their mean is noise², where noise is alike
        if variances[0] <= _SEEN * self.noise**2:
            return None
        statistic = float(((values @ directions) ** 2 / (variances + self.rounding)).sum())
        freedom = self._freedom(pulls)
        lower = freedom - q + 1
        if lower < LEAST_FREEDOM:
            return None
        return float(special.fdtrc(q, lower, lower / (freedom * q) * statistic))

    def _pulls(self, directions: Floats) -> Floats:
        """How much each row's residual counts for each of q quantities (n, q), HC2's leverage taken out."""
        leverage = (self.basis**2).sum(axis=1)
        columns = self.basis[:, : directions.shape[1]]
        return np.asarray((columns @ directions.T) / np.sqrt(1 - leverage)[:, None], dtype=np.float64)

    def _freedom(self, pulls: Floats) -> float:
        """η of AHT: q (q + 1) over the summed variances of the standardised HC2 matrix; for q = 1 Bell–McCaffrey's.

        With M = I - Q Q' the residual maker, Σ (u_i · u_j)² M_ij² is made of (n, n) matrices where these are smaller
        than the (n, q²) that it takes without them: two axes of many values have many columns together.
        """
        n, q = pulls.shape
        leverage = (self.basis**2).sum(axis=1)
        # the variance that HC2 has in the mean where noise is alike, by which the quantities are made alike
        mean = (pulls * (1 - leverage)[:, None]).T @ pulls
        values, vectors = np.linalg.eigh(mean)
        unit = pulls @ (vectors / np.sqrt(np.maximum(values, 1e-300)))
        if q * q > n:
            maker = np.eye(n) - self.basis @ self.basis.T
            total = float((((unit @ unit.T) * maker) ** 2).sum())
        else:
            products = (unit[:, :, None] * unit[:, None, :]).reshape(n, q * q)  # u_i ⊗ u_i
            total = float((products**2).sum(axis=1) @ (1 - 2 * leverage))
            for column in products.T:
                total += float(((self.basis.T @ (self.basis * column[:, None])) ** 2).sum())
        return q * (q + 1) / (2 * total) if total > 0 else float("inf")


def fit(design: Floats, values: Floats, beside: Floats | None = None, *, rounding: float = 0.0) -> Fit:
    """Least squares of `values` (N,) on `design` (N, p), and on what `beside` (N, z) adds to it."""
    kept = np.ones(len(values), dtype=np.bool_)
    while True:
        basis, into, span = _orthonormal(design[kept])
        added = 0
        if beside is not None:
            more = _orthonormal(beside[kept] - basis @ (basis.T @ beside[kept]), scale=float(np.abs(beside).max()))[0]
            added, basis = more.shape[1], np.hstack([basis, more])
        fitted_alone = (basis**2).sum(axis=1) > 1 - ALMOST
        if not fitted_alone.any() or fitted_alone.all():
            break
        kept[np.flatnonzero(kept)[fitted_alone]] = False
    coefficients = basis.T @ values[kept]  # the basis is orthonormal
    residuals = values[kept] - basis @ coefficients
    residuals[np.abs(residuals) < ALMOST * max(1e-12, float(np.abs(values).max()))] = 0.0  # rounding is no noise
    return Fit(basis, into, span, coefficients, residuals, kept, added, rounding)


def _orthonormal(columns: Floats, scale: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """The columns' space as an orthonormal basis (n, r), the way of contrasts into it (r, p), and their span (r, p)."""
    left, sizes, right = np.linalg.svd(columns, full_matrices=False)
    rank = int((sizes > ALMOST * max(scale, sizes[0] if sizes.size else 0.0, 1e-300)).sum())
    return left[:, :rank], right[:rank] / sizes[:rank, None], right[:rank]
