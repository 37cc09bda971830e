"""What trials say: accuracies with intervals, and differences on the same rows, over seeds.

Every seed draws its own training rows, on which all contenders are trained. An accuracy is the mean over seeds, its
interval Wilson's for as many rows as one seed is tested on: seeds read the same test rows, which they do not
multiply. A difference counts as one where McNemar's exact p is below 0.05 for every seed, all in one direction, after
Holm's correction over the lines of a table: the largest p tests that it holds for each (Berger 1982, "Multiparameter
hypothesis testing and acceptance sampling", theorem 1). Its interval is of the mean over these very seeds, by a
bootstrap of test rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraloom import intervals
from study.robustness.conditions import CLEAN, OTHER_SOURCE
from study.robustness.rows import Labels
from study.robustness.trials import Trial

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A contender's on one test set: the mean over seeds, its interval, and each seed's."""

    mean: float
    interval: intervals.Interval
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One contender's accuracy less another's: the mean over seeds, its interval over test rows, the largest p."""

    mean: float
    interval: intervals.Interval | None
    p: float
    one_way: bool
    holds: bool = False


def right(trial: Trial, name: str, truth: Mapping[str, Labels]) -> NDArray[np.bool_]:
    """On which rows (N,) of the set the trial is right.

    Raises:
        ValueError: the trial has another number of rows than the truth.
    """
    true = truth[OTHER_SOURCE if name == OTHER_SOURCE else CLEAN]
    found = trial.classes(name)
    if len(found) != len(true):
        raise ValueError(
            f"{trial.contender}, {name}: {len(found)} predictions for {len(true)} rows; run the study anew"
        )
    return np.asarray(found == true)


def accuracy(flags: Sequence[NDArray[np.bool_]]) -> Accuracy:
    """Of seeds' flags, each (N,)."""
    seeds = tuple(float(each.mean()) for each in flags)
    rows, mean = len(flags[0]), float(np.mean(seeds))
    return Accuracy(mean, intervals.wilson_interval(round(mean * rows), rows), seeds)


def difference(ours: Sequence[NDArray[np.bool_]], theirs: Sequence[NDArray[np.bool_]]) -> Difference:
    """Of seeds' flags, seed by seed."""
    each = [float(a.mean() - b.mean()) for a, b in zip(ours, theirs, strict=True)]
    return Difference(
        mean=float(np.mean(each)),
        interval=_interval(np.mean(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float), axis=0)),
        p=max(intervals.mcnemar(a, b) for a, b in zip(ours, theirs, strict=True)),
        one_way=len({np.sign(one) for one in each}) == 1,
    )


def _interval(by_row: NDArray[np.float64]) -> intervals.Interval | None:
    """95 % of the mean of rows' differences (N,), each the mean over seeds; None where too few rows differ for one.

    As `intervals.paired_bootstrap`, for rows that give other values than +1, 0 and -1.
    """
    if np.count_nonzero(by_row) < intervals.LEAST_DISCORDANT:
        return None
    values, counts = np.unique(by_row, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(by_row.size, counts / by_row.size, size=intervals.BOOTSTRAP_DRAWS)
    low, high = np.quantile(drawn @ values / by_row.size, (0.025, 0.975))
    return float(low), float(high)


def judged(differences: Sequence[Difference]) -> list[Difference]:
    """Differences of one table, each told whether it holds."""
    return [
        Difference(each.mean, each.interval, p, each.one_way, holds=p < ALPHA and each.one_way)
        for each, p in zip(differences, intervals.holm([each.p for each in differences]), strict=True)
    ]
