"""Rungs: on how many training rows a configuration is tried before it is trained on all.

Successive halving on rows. Symbols of Li et al. 2018, "Hyperband", and Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning" (algorithm 2, ASHA): the resource is the number of training rows, R the most that a trial gets,
r the least, eta the reduction factor. A configuration is promoted when it is among the best 1 / eta of its rung, as
soon as that is so: nothing waits for a rung to be full, so that the clock may end the search at any moment. Ours and
not Optuna's, whose pruners compare a trial's own evaluations: here each rung is a training with its own schedule.
Where no clock is set, all that begin on a rung come before promotions from it (`finals.promotion`), as in Jamieson and
Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", algorithm 1.

hyperband hedges against a lowest rung that misleads: brackets s = s_max … 0 begin at R / eta^s, with
n = ceil((s_max + 1) / (s + 1) · eta^s) configurations each, one bracket after the other.
"""

from __future__ import annotations

import math

REDUCTION_FACTOR = 3
"""eta."""
LEAST_ROWS = 128
"""r: below it, differences between configurations are noise."""
MOST_RUNGS = 5


def ladder(rows: int, classes: int) -> tuple[int, ...]:
    """Rows of each rung, rising to `rows`; one rung where a third of the rows would be too few."""
    least = max(LEAST_ROWS, 20 * classes)
    rungs = [rows]
    while len(rungs) < MOST_RUNGS and rungs[0] / REDUCTION_FACTOR >= least:
        rungs.insert(0, math.ceil(rungs[0] / REDUCTION_FACTOR))
    return tuple(rungs)


def brackets(rungs: int) -> tuple[tuple[int, int], ...]:
    """Hyperband's brackets over `rungs` rungs: (the rung that one begins at, its number of configurations)."""
    most = rungs - 1
    return tuple((most - s, math.ceil((most + 1) / (s + 1) * REDUCTION_FACTOR**s)) for s in range(most, -1, -1))


def first_rung(place: int, rungs: int, *, hyperband: bool) -> int:
    """The rung that configuration number `place` of a search begins at."""
    if not hyperband:
        return 0
    per_round = brackets(rungs)
    place %= sum(number for _, number in per_round)
    for begin, number in per_round:
        if place < number:
            return begin
        place -= number
    raise AssertionError("a place within the round has a bracket")


def promotable(results: int) -> int:
    """How many of a rung's results are among its best 1 / eta."""
    return results // REDUCTION_FACTOR
