"""Who wins: the best mean among those that were trained on the most rows; ties within noise go to repeated seeds, then
to fewer parameters.

Noise is what seeds do: the standard deviation between seeds of one configuration, pooled over the configurations that
have several, and from it the standard error of a difference of two means. Those that are below the leader by more than
four standard errors of the validated rows are left out: seeds of a poor configuration differ more, and would make ties
of good ones. So would a seed that has collapsed, which is left out of the noise too. A configuration within one
standard error of the leader is taken to be as good (the one-standard-error rule of Breiman et al. 1984, "Classification
and Regression Trees", section 3.4.3). Of those, one with a single seed is the less known: it leads by luck as often as
by merit. Where no configuration has two seeds, noise is not known, and only equal means are a tie. What the clock cut
short differs by more than its seed: it tells nothing of noise, wins no tie, and wins where it leads alone. One on fewer
rows that was done wins where it is better than such a one by more than two standard errors of the validated rows, and
where it is better than any by more than four: a training on more rows can collapse and answer by chance. Both are told
by accuracy, whatever the metric, since the noise of macro-F1 hangs on the rarest class's few rows; by the metric it
must be better too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Literal

from loraloom.recipe.fields import Metric
from loraloom.study.leaderboard import Standing, metric_name, standings, validation
from loraloom.study.record import TrialRecord

CUT_SHORT, COLLAPSED = 2.0, 4.0
"""Standard errors of a difference, by rows that were validated: the best of a thousand equal trials is 3.2 ahead."""

SOUP_ROWS = 1_000
"""Of fewer training rows the mean of a winner's seeds is better than each (docs/log.md); of more it is not."""

Preferred = Literal["done", "repeated seeds", "fewer parameters"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner, the leader by mean alone, the standard error of their difference (None: not known), and of what.

    `level`: how many others are as good, within the noise of seeds.
    """

    winner: Standing
    leader: Standing
    standard_error: float | None
    metric: Metric
    level: int = 0

    @property
    def preferred(self) -> Preferred:
        """What a winner that is not the leader has before it, both being as good."""
        if self.leader.leader.cut_short:
            return "done"
        return "repeated seeds" if _once(self.leader) and not _once(self.winner) else "fewer parameters"

    @property
    def sentence(self) -> str | None:
        """Why the winner is not the leader; None where it is."""
        if self.winner is self.leader or self.standard_error is None:
            return None
        more = self.leader.mean - self.winner.mean
        match self.preferred:
            case "done":
                but = "but was cut short by the clock"
            case "repeated seeds":
                but = f"by one seed, where this one has the mean of {len(self.winner.trials)}"
            case "fewer parameters":
                but = (
                    f"with {self.leader.leader.counts.trainable:,} parameters where "
                    f"{self.winner.leader.counts.trainable:,} do"
                )
        leader = f"trial {self.leader.leader.number}{'' if _once(self.leader) else ' with its other seeds'}"
        if not more:
            return f"{leader} has as much {metric_name(self.metric)}, {but}"
        return (
            f"{leader} has {_points(more)} pp more {metric_name(self.metric)}, within the "
            f"noise of seeds (standard error {_points(self.standard_error)} pp), {but}"
        )


def _points(share: float) -> str:
    """With two decimals, or a digit where these would be 0."""
    return f"{100 * share:.2f}" if share >= 0.00005 else f"{100 * share:.1g}"


def chosen(records: Sequence[TrialRecord], metric: Metric) -> Choice | None:
    """The winner of a run's trials; None where none is finished."""
    ranked = standings(records, metric)
    return choose(ranked, metric) if ranked else None


def choose(ranked: Sequence[Standing], metric: Metric) -> Choice:
    """The winner of `ranked`, which is not empty, and is ordered as `standings` orders it."""
    leader = ranked[0]
    finished = [standing for standing in ranked if not standing.leader.cut_short]
    if leader.leader.cut_short:  # more rows in too few steps are not more
        leader = next((one for one in finished if _is_above(one, leader, CUT_SHORT)), leader)
    for one in finished:  # by falling rows: what collapsed may have done so on several rungs
        if _is_above(one, leader, COLLAPSED):
            leader = one
    done = [standing for standing in finished if standing.reach == leader.reach]
    noise = _seed_deviation([one for one in done if not _is_above(leader, one, COLLAPSED)], metric)
    if noise is None:
        return Choice(leader, leader, None, metric)
    rivals = [leader, *(one for one in done if one is not leader)]
    as_good = [rival for rival in rivals if 0 <= leader.mean - rival.mean <= _standard_error(noise, leader, rival)]
    winner = min(as_good, key=_preference)
    return Choice(winner, leader, _standard_error(noise, leader, winner), metric, len(as_good) - 1)


def is_better_mixed(winner: TrialRecord, seeds: int) -> bool:
    """Whether the mean of the weights of the winner's `seeds` tends to be better than each."""
    return seeds > 1 and (winner.train_rows or SOUP_ROWS) < SOUP_ROWS


def to_mix(seeds: Standing) -> tuple[TrialRecord, ...]:
    """Those of a configuration's seeds that their mean is of, the best first: all that have not collapsed."""
    return tuple(trial for trial in seeds.trials if not _has_collapsed(trial, seeds.leader))


def _has_collapsed(trial: TrialRecord, best: TrialRecord) -> bool:
    """Whether a seed is nearer to answers by chance than to those of the best one, which is no matter of few rows."""
    most, own = best.validation, validation(trial, "accuracy")
    return most.is_above(own) and own < (most.accuracy + _by_chance(best)) / 2


def _by_chance(record: TrialRecord) -> float:
    """The accuracy of what learnt nothing: of its commonest class for all rows, or, where that is not kept, of any."""
    rows = [sum(line) for line in record.validation.confusion or ()]
    return max(rows) / sum(rows) if any(rows) else 1 / len(record.labels)


def _is_above(one: Standing, other: Standing, errors: float) -> bool:
    """Whether a mean is above another, and its accuracy by more than so many standard errors, those of one seed."""
    first, second = _accuracy(one), _accuracy(other)
    return one.mean > other.mean and first - second > errors * sqrt(_variance(first, one) + _variance(second, other))


def _accuracy(standing: Standing) -> float:
    return fmean(validation(trial, "accuracy") for trial in standing.trials)


def _variance(accuracy: float, standing: Standing) -> float:
    """Of an accuracy over rows, of which two right and two wrong ones are added: all right is no certainty.

    Agresti and Coull 1998, "Approximate is better than exact", The American Statistician 52, 119-126.
    """
    examples = standing.leader.validation.examples
    rows = examples + 4
    share = (accuracy * examples + 2) / rows
    return share * (1 - share) / rows


def _preference(standing: Standing) -> tuple[bool, bool, int, float]:
    """The order of those that are as good."""
    leader = standing.leader
    return leader.cut_short, _once(standing), leader.counts.trainable, -standing.mean


def _once(standing: Standing) -> bool:
    """Whether it was trained with a single seed."""
    return len(standing.trials) == 1


def _seed_deviation(standings: Sequence[Standing], metric: Metric) -> float | None:
    """The standard deviation between seeds that have not collapsed, pooled by degrees of freedom."""
    repeated = [[validation(trial, metric) for trial in kept] for kept in map(to_mix, standings) if len(kept) > 1]
    if not repeated:
        return None
    weights = [len(values) - 1 for values in repeated]
    pooled = sum(weight * variance(values) for weight, values in zip(weights, repeated, strict=True)) / sum(weights)
    return sqrt(pooled)


def _standard_error(deviation: float, one: Standing, other: Standing) -> float:
    return deviation * sqrt(1 / len(one.trials) + 1 / len(other.trials))
