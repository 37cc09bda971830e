"""How seeds vary, learnt from all contrasts at once: each alone has a few seeds, together they have many.

Three seeds say little about their own variance (two degrees of freedom), so that no difference, however plain, would be
told from none after a correction for twenty contrasts. But the contrasts of one encoder vary over seeds by amounts that
are alike. Their mean squares s² with d degrees of freedom each are taken as draws from σ² χ²(d) / d, where 1/σ² varies
over contrasts as χ²(d0) / (d0 s0²); d0 and s0² are estimated from all, and a contrast then has the variance

    (d0 s0² + d s²) / (d0 + d)     with d0 + d degrees of freedom,

drawn towards the common one as far as the contrasts are alike. Source: Smyth, "Linear models and empirical Bayes
methods for assessing differential expression in microarray experiments", Statistical Applications in Genetics and
Molecular Biology 3 (2004), article 3, sections 4 to 6.2 (eqs 3, 8 to 12 there: log s² less its expectation, its mean
and variance). That is of contrasts that share nothing. Here most share the base's trials: they vary less about their
own mean than about what is expected, and the mean is known less well. Two whose differences correlate by ρ have log s²
that correlate by ρ² at most; with the mean r of ρ² over all pairs, the variance of log s² is that of the sample over
1 − r, and what its mean is off by counts as variance of 1/σ² too, so that d0 is never more than s0² is worth.

Simulated in tests/studies/claims/test_claims_moderated.py: false verdicts keep their level, while intervals of 95 %
hold 93 % where variances are far from alike (d0 = 4) and all contrasts share a trial. Rejected: each contrast's own
variance alone (said above), and one variance for all, which takes the steadiest for the wildest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

LEAST = 10
"""Contrasts from which a common variance is estimated; with fewer, each keeps its own."""
_FLOOR = 1e-3
"""Of the median: mean squares are not taken below it, since their logarithm is what is averaged (counts can agree)."""
_MOST_HALF = 1e4
"""Of d0 / 2: beyond it contrasts differ no more in their variance than chance has it."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What contrasts have in common: variance `scale` (s0²), which is worth `degrees` (d0) degrees of freedom."""

    degrees: float = 0.0
    scale: float = 0.0

    def moderate(self, mean_square: float, degrees: float) -> tuple[float, float]:
        """The moderated mean square, and its degrees of freedom."""
        together = self.degrees + degrees
        return (self.degrees * self.scale + degrees * mean_square) / together, together


NO_PRIOR = Prior()


def prior_of(mean_squares: Sequence[float], degrees: Sequence[float], weights: NDArray[np.float64]) -> Prior:
    """The prior of contrasts with these mean squares, each with its degrees of freedom; none where they are few.

    `weights` (contrasts, trials) are those of each trial in each contrast's difference.
    """
    values, half = np.array(mean_squares, dtype=np.float64), np.array(degrees, dtype=np.float64) / 2
    if (count := len(values)) < LEAST or (middle := float(np.median(values))) <= 0:
        return NO_PRIOR
    logs = np.log(np.maximum(values, _FLOOR * middle)) - special.digamma(half) + np.log(half)
    mean, by_chance = float(logs.mean()), float(special.polygamma(1, half).mean())
    assert weights.any(axis=1).all()  # no contrast is of trials with themselves
    directions = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    correlation = float(((directions @ directions.T) ** 2).mean())  # of all, each with itself too
    shared = (count * correlation - 1) / (count - 1)  # of pairs
    variance = max(float(logs.var(ddof=1)) / (1 - shared), by_chance)
    beyond = variance - by_chance + variance * correlation
    if beyond <= special.polygamma(1, _MOST_HALF):
        half_d0 = _MOST_HALF
    else:
        half_d0 = float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - beyond, 1e-6, _MOST_HALF))
    return Prior(2 * half_d0, math.exp(mean + float(special.digamma(half_d0)) - math.log(half_d0)))
