"""Does a higher rank help more far from the training rows? Distance × log2(rank) over the validation rows of trials.

The trials must have kept their predictions of each row (trials/NNNN/validation.safetensors), and differ in rank. Of
those of the largest reach (rows seen in training) that enough have at most 60 are used, as many of each rank as can
be.
Seeds of one configuration have all else in common too, and so much of their slope, whatever their rank does: they are
one of its rank, and no three. Where nothing but the rank differs they are all that there is.
Rejected: an effect for each trial, which has no estimate where a trial has no wrong row (its own accuracy is an
offset in place of that); errors clustered by row alone, which take two trials of one rank for many.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import RunError
from loraloom.intervals import Interval
from loraloom.report.effects.model import Estimate
from loraloom.report.reading import RunRead
from loraloom.report.similarity.trend import fit_logistic
from loraloom.report.wording import LEVEL
from loraloom.study.embeddings import Embedded
from loraloom.study.evidence import agrees, read_predicted
from loraloom.study.leaderboard import reach
from loraloom.study.record import TrialRecord
from loraloom.wording import plural

MOST_TRIALS = 60
FEWEST_TRIALS = 6
FEWEST_WRONG_ROWS = 10
LEAST_ERROR = 1e-6
"""A smaller standard error is rounding: the trials do not differ."""


@dataclass(frozen=True, slots=True)
class RankSlope:
    """`odds_ratio` is by how much a doubled rank multiplies the odds ratio of one standard deviation of distance.

    Above 1, a higher rank helps more the farther a row is. `configurations` are those of `trials`, where seeds of one
    were taken together. `reach` is how many training rows each trial saw. Both are None where that is not known.
    """

    odds_ratio: float
    interval: Interval
    p: float
    trials: int
    ranks: tuple[int, ...]
    rows: int
    reach: int | None = None
    configurations: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Whether a trial of rank `rank` was right about each of the validation rows `numbers` (N,).

    `beside` is what its configuration has beside the rank: of trials that differ by no more than their seed, the same.
    """

    rank: int
    numbers: NDArray[np.int64]
    correct: NDArray[np.bool_]
    beside: str = ""


def rank_slope(run: RunRead, validation: Embedded, distances: NDArray[np.float64]) -> RankSlope | str:
    """The interaction over the run's trials, or why it is not measured; validation rows are at `distances` (N,)."""
    if not len(validation.numbers):
        return "there are no validation rows"
    chosen = _chosen(run.records)
    if isinstance(chosen, str):
        return chosen
    answers = [found for record in chosen if (found := _answers(run, record)) is not None]
    if not answers:
        return "the trials kept no predictions of single validation rows"
    slope = interaction(answers, validation.numbers, distances)
    return slope if isinstance(slope, str) else replace(slope, reach=reach(chosen[0]) or None)


def interaction(
    answers: Sequence[Answers], numbers: NDArray[np.int64], distances: NDArray[np.float64]
) -> RankSlope | str:
    """Distance × log2(rank) on the log odds of a right answer, where rows `numbers` (N,) are at `distances` (N,).

    The variance is clustered by trial, or by configuration (`_clusters`), and by row (`_variance`); t has as many
    degrees of freedom as the former, less two.
    """
    clusters, what = _clusters([(each.rank, each.beside) for each in answers])
    ranks = Counter(rank for rank, _ in set(clusters))
    count = ranks.total()
    if not _are_enough(clusters):
        return (
            f"it takes {FEWEST_TRIALS} {what} on as many rows that kept their predictions, of two ranks, two of each; "
            f"there {'is' if count == 1 else 'are'} {count} of rank {', '.join(map(str, sorted(ranks)))}"
        )
    table = _table(answers, clusters, numbers, distances)
    wrong = len(np.unique(table.row[~table.correct]))
    if wrong < FEWEST_WRONG_ROWS:
        were = f"{plural(wrong, 'validation row')} {'was' if wrong == 1 else 'were'}"
        return f"only {were} wrong in any trial; it takes {FEWEST_WRONG_ROWS}"
    if float(np.ptp(table.distance)) < 1e-6:
        return "all validation rows are equally far from the training rows"
    z = (table.distance - table.distance.mean()) / table.distance.std()
    level = table.log_rank - table.log_rank.mean()
    design = np.column_stack([np.ones_like(z), z, level, z * level])
    fitted = fit_logistic(design, table.correct, offset=table.offset)
    if fitted is None:
        return "the model of right answers has no solution for these trials"
    error = math.sqrt(_variance(design, table, np.asarray(fitted.fittedvalues), 3))
    if error < LEAST_ERROR:
        return "the trials are right and wrong on the same rows, whatever their rank"
    slope = Estimate(float(fitted.params[3]), error, count - 2)
    low, high = slope.interval(LEVEL)
    return RankSlope(
        odds_ratio=math.exp(slope.value),
        interval=(math.exp(low), math.exp(high)),
        p=slope.p_value,
        trials=len(answers),
        ranks=tuple(sorted(ranks)),
        rows=len(np.unique(table.row)),
        configurations=count if count < len(answers) else None,
    )


def _clusters(trials: Sequence[tuple[int, str]]) -> tuple[list[tuple[int, str]], str]:
    """The rank of each trial and what it is alone with beside that; and what that is, in a word.

    Of each of the `trials` are given its rank and what its configuration has beside that.
    """
    if len({beside for _, beside in trials}) > 1:
        return [*trials], "configurations"
    return [(rank, str(number)) for number, (rank, _) in enumerate(trials)], "trials"


def _are_enough(clusters: Sequence[tuple[int, str]]) -> bool:
    """Whether there are enough of them, of two ranks at least two."""
    ranks = Counter(rank for rank, _ in set(clusters))
    return ranks.total() >= FEWEST_TRIALS and sum(number > 1 for number in ranks.values()) >= 2


def _variance(design: NDArray[np.float64], table: _Table, fitted: NDArray[np.float64], of: int) -> float:
    """The variance of a coefficient where trials or configurations are clusters, and rows are too.

    By the former it is the jackknife, linearised: cluster-robust variances of the usual kind are too small with few
    of them. What clusters by row add to independent rows comes on top. Sources: MacKinnon, Nielsen and Webb,
    "Cluster-robust jackknife and bootstrap inference for logistic regression models" (2024), CV3L; Cameron, Gelbach
    and Miller, "Robust inference with multiway clustering", Journal of Business & Economic Statistics 29 (2011),
    238–249, equation 2.11, without its negative part.
    """
    scores = design * (table.correct - fitted)[:, None]  # (lines, K)
    weight = fitted * (1 - fitted)
    information = design.T @ (design * weight[:, None])  # (K, K)
    changes = []
    for cluster in np.unique(table.cluster):
        inside = table.cluster == cluster
        own = design[inside].T @ (design[inside] * weight[inside, None])
        changes.append(-np.linalg.solve(information - own, scores[inside].sum(axis=0)))
    left_out = np.array(changes)[:, of]
    by_cluster = (len(left_out) - 1) / len(left_out) * float(((left_out - left_out.mean()) ** 2).sum())
    inverse = np.linalg.inv(information)[of]
    _, place = np.unique(table.row, return_inverse=True)
    of_rows = np.zeros((int(place.max()) + 1, design.shape[1]))
    np.add.at(of_rows, place, scores)
    by_row, by_line = float(((of_rows @ inverse) ** 2).sum()), float(((scores @ inverse) ** 2).sum())
    return by_cluster + max(0.0, by_row - by_line)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A line for each row of each trial."""

    row: NDArray[np.int64]
    cluster: NDArray[np.int64]
    log_rank: NDArray[np.float64]
    distance: NDArray[np.float64]
    offset: NDArray[np.float64]
    correct: NDArray[np.bool_]


def _table(
    answers: Sequence[Answers],
    clusters: Sequence[tuple[int, str]],
    numbers: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> _Table:
    """Rows that have a distance; the offset is the log odds of the trial's accuracy, half a row added to each side."""
    order = np.argsort(numbers)
    parts = defaultdict(list)
    place_of = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    for each, cluster in zip(answers, clusters, strict=True):
        place = np.searchsorted(numbers, each.numbers, sorter=order).clip(max=len(numbers) - 1)
        known = numbers[order[place]] == each.numbers
        right = int(each.correct[known].sum())
        odds = (right + 0.5) / (int(known.sum()) - right + 0.5)
        parts["row"].append(each.numbers[known])
        parts["distance"].append(distances[order[place]][known])
        parts["correct"].append(each.correct[known])
        levels = {"cluster": place_of[cluster], "log_rank": math.log2(each.rank), "offset": math.log(odds)}
        for name, value in levels.items():
            parts[name].append(np.full(int(known.sum()), value))
    return _Table(**{name: np.concatenate(each) for name, each in parts.items()})


def _chosen(records: Sequence[TrialRecord]) -> list[TrialRecord] | str:
    """Complete trials of one reach, ranks in turn, the earlier first; or why there are none."""
    complete = [record for record in records if record.state == "complete"]
    if len({record.configuration.lora.r for record in complete}) < 2:
        return "all complete trials have one rank"
    reaches: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in complete:
        reaches[reach(record)].append(record)
    enough = {each: _are_enough(_clusters([*map(_rank_and_beside, own)])[0]) for each, own in reaches.items()}
    most = max(reaches, key=lambda each: (enough[each], each))
    by_rank: dict[int, list[TrialRecord]] = defaultdict(list)
    for record in reaches[most]:
        by_rank[record.configuration.lora.r].append(record)
    turns = sorted(
        ((turn, rank, record) for rank, own in by_rank.items() for turn, record in enumerate(own)),
        key=lambda each: each[:2],
    )
    return [record for _, _, record in turns[:MOST_TRIALS]]


def _answers(run: RunRead, record: TrialRecord) -> Answers | None:
    """None where a trial kept none, or what it kept is damaged (its section of the report says that)."""
    try:
        found = read_predicted(run.folders[record.number], len(record.labels))
    except RunError:
        return None
    if found is None or not agrees(found, record):
        return None
    rank, beside = _rank_and_beside(record)
    return Answers(rank, found.rows, found.right, beside)


def _rank_and_beside(record: TrialRecord) -> tuple[int, str]:
    beside = {name: value for name, value in record.point.items() if name != "lora.r"}
    return record.configuration.lora.r, json.dumps(beside, sort_keys=True)
