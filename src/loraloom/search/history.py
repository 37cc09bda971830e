"""Which trials TPE is shown, so that a proposal costs the same after 10,000 trials as after a few hundred.

TPE (Bergstra et al. 2011, section 4) models the best trials by a density l(x), all others by g(x), and proposes where
l / g is largest. Optuna's l is of the best 10 %, 25 at most; its g is of all the rest, later ones weighted more, and
takes time in proportion to them. Up to `LIMIT` trials are shown whole. Of more, those are shown that leave both
densities what they are:

- the `BEST` (25) best: l is the same, kernel by kernel (`LIMIT` is such that 10 % of what is shown is 25 or more);
- the `NEWEST` (25), which Optuna gives full weight, and those under way;
- of the others every second by number, or every fourth, eighth …: as few as needed. That thins them evenly over the
  search, whose order the weights follow, so g is estimated from fewer points of the same distribution, by kernels as
  wide: their least width, a hundredth of the axis, is reached by then. The prior, one kernel over the whole space,
  keeps the weight in g that it has after `LIMIT` trials, instead of vanishing.

Where configurations are tried on rungs of rows, values on different rows can't be compared: those that began on more
rows would be the best, and whatever was tried on the fewest would be avoided. There each configuration is shown once,
with its place among those that began on as many rows (`Ranks.scores`) for a value. What is under way counts as poor
until it has ended (Optuna's constant liar), so that workers are not sent to one place: promotions and finals of those
that are shown already are left out.

Rejected: the newest alone. A region that was found poor and left would be forgotten, g would be low there and l / g
high, and the search would go back to it. A subset drawn anew each time: two proposals one after the other would rest on
different evidence; every second by number stays the same set until it must be halved. All of this is a function of the
trials, so a resumed search proposes what it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from heapq import nsmallest

from optuna.trial import FrozenTrial, TrialState

from loraloom.study.drawing import Trials

LIMIT, BEST, NEWEST = 500, 25, 25


def shown(trials: Trials, scores: Mapping[int, float | None] | None = None) -> Trials:
    """What TPE is shown of `trials`, by number: where `scores` are given, those that have one, or None under way."""
    if scores is None:
        return _thinned(trials, _from_best)
    thinned = _thinned(
        [trial for trial in trials if trial.number in scores],
        lambda trial: (-(scores[trial.number] or 0.0), trial.number),
    )
    return [_scored(trial, scores[trial.number]) for trial in thinned]  # not all are copied


def _scored(trial: FrozenTrial, score: float | None) -> FrozenTrial:
    if score is None:
        return trial
    scored = copy(trial)
    scored.value = score
    return scored


def _thinned(trials: Trials, order: Callable[[FrozenTrial], tuple[float, ...]]) -> Trials:
    """At most `LIMIT` of those that have ended, the best by `order` among them."""
    ended = [trial for trial in trials if trial.state is TrialState.COMPLETE or trial.state is TrialState.PRUNED]
    if len(ended) <= LIMIT:
        return trials
    kept = {trial.number for trial in nsmallest(BEST, ended, key=order)}
    kept.update(trial.number for trial in ended[-NEWEST:])
    others = [trial.number for trial in ended if trial.number not in kept]
    step = 1
    while len(others) > LIMIT - BEST - NEWEST:
        step *= 2
        others = [number for number in others if number % step == 0]
    kept.update(others)
    return [trial for trial in trials if trial.number in kept or trial.state == TrialState.RUNNING]


def _from_best(trial: FrozenTrial) -> tuple[float, float, float, int]:
    """Optuna's order: finished ones by value, then pruned ones by how far they came and their value there."""
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return 0, 0, -trial.value, trial.number
    if not trial.intermediate_values:
        return 1, 1, 0, trial.number
    step, value = max(trial.intermediate_values.items())
    return 1, -step, math.inf if math.isnan(value) else -value, trial.number
