"""What effects are measured on: each configuration as it was first seen, before any result had chosen it.

Halving and hyperband give more rows, or more epochs, to what did well; a search with time to spare gives more seeds to
what leads. Those results are of survivors: they flatter, and an axis along which many survived looks as if it did
nothing. So each configuration counts with its first result: on the rows on which it began (`train_rows`), or, where
trials were ended within their epochs, at their first evaluation. Seeds count where every configuration of which no
trial failed was given them, and are averaged first, so that observations are independent. Configurations that began on
different rows (hyperband's brackets) are compared within their rows alone: `block` is a part of the model.

Where a clock gives the passes, they differ by what a row is as dear as: models and adapted layers are compared by what
they reach in the time that it gives, and not at equal passes. It plans anew as trials end, so that what is as dear may
have had more passes or fewer: of each such kind the passes count that most had. Rejected: passes as a part of the
block, which would leave models and adapted layers nothing to be compared with.

Costs a look at each record; where trials were ended within their epochs, a file for each of about `MOST_READ` trials.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loraloom.recipe import Train
from loraloom.report.effects.model import ALMOST
from loraloom.report.leaderboard import field
from loraloom.report.reading import RunRead, read_evaluations
from loraloom.search.costs import Key, cost_key
from loraloom.study.leaderboard import axes_of, evaluated, validation
from loraloom.study.record import Evaluation, TrialRecord

LEAST_IN_BLOCK = 3
MOST_READ = 1000
RATIO = "lora.lora_alpha / lora.r"
_ROWS_AND_SEEDS = ("train.seed", "train.eval_strategy", "data.max_train_samples", "data.max_eval_samples")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """N configurations: the value of each varied axis, the metric (N,), a share, its seeds, and the block (N,)."""

    axes: Mapping[str, tuple[Any, ...]]
    metric: NDArray[np.float64]
    seeds: tuple[int, ...]
    block: NDArray[np.int64]
    seed_noise: float | None = None
    """The standard deviation between seeds of one configuration; None where each had one."""
    rounding: float = 0.0
    """The variance that a metric has from being counted in whole rows: 1 / (12 rows²) for each seed's."""

    @property
    def size(self) -> int:
        return len(self.metric)

    def drawn(self, most: int) -> NDArray[np.int64]:
        """Numbers of its configurations in order: all, or `most` of more, drawn by chance and each time the same."""
        every = range(self.size)
        return np.array(sorted(random.Random(0).sample(every, min(most, self.size))), dtype=np.int64)  # noqa: S311

    @property
    def within(self) -> NDArray[np.float64]:
        """(N,) the metric less the mean of its block: other rows are no effect of an axis."""
        counts = np.bincount(self.block)
        means = np.bincount(self.block, weights=self.metric) / np.maximum(1, counts)
        left = self.metric - means[self.block]
        is_rounding = np.abs(left) <= ALMOST * np.abs(self.metric).max()  # of a mean, where all of a block are alike
        return np.where(is_rounding, 0.0, left)


class _Block(NamedTuple):
    """What is compared by itself: trials on so many rows, first seen after so many epochs."""

    rows: int
    epochs: float


@dataclass(frozen=True, slots=True)
class _Group:
    """The trials of a configuration in a block."""

    block: _Block
    trials: Sequence[TrialRecord]


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """`rows` are those of the blocks, rising; `epochs` is given where trials were seen at their first evaluation."""

    table: Table
    at_end: bool
    """Whether all were evaluated once, at their end, as they are below the last rung."""
    rows: tuple[int, ...]
    epochs: tuple[float, ...] | None
    numbers: tuple[tuple[int, ...], ...]
    validated: tuple[int, ...]
    selected: bool
    """Whether results have chosen who got more rows, epochs or seeds."""
    failed: int
    cut: int
    planned_anew: int
    """Trials that were left out since a clock gave them other passes than most of their kind."""
    drawn_of: int | None
    """The trials of which some were drawn by chance, where not all were read."""


def observe(run: RunRead, problems: list[str]) -> Observations | None:
    """The configurations of a run as first seen; None where fewer than two have a result."""
    by_epochs = any(record.state == "pruned" for record in run.records)
    records, drawn_of = _drawn(run.records) if by_epochs else (run.records, None)
    firsts = _first_evaluations(run, records, problems) if by_epochs else {}
    cut = [] if by_epochs else [record for record in records if record.state == "complete" and record.cut_short]
    groups = _by_configuration(records, firsts)
    by_the_clock = run.recipe.search.epochs == "clock" and not by_epochs
    planned_anew = _planned_anew(groups) - {record.number for record in cut} if by_the_clock else set()
    excluded = planned_anew | {record.number for record in cut}
    values = {
        record.number: value
        for record in records
        if record.number not in excluded and (value := _value(run, record, firsts, by_epochs)) is not None
    }
    failed = {record.number for record in records if record.state == "failed"}
    blocks: dict[_Block, list[Sequence[TrialRecord]]] = {}
    for group in groups:
        blocks.setdefault(group.block, []).append(group.trials)
    seen: list[_Group] = []
    for block, in_block in blocks.items():
        seeds = common_seeds([[(record.number, record.seed) for record in trials] for trials in in_block], failed)
        kept = [[r for r in trials if r.seed in seeds and r.number in values] for trials in in_block]
        kept = [trials for trials in kept if trials]
        if len(kept) >= (LEAST_IN_BLOCK if len(blocks) > 1 else 2):
            seen += [_Group(block, trials) for trials in kept]
    if len(seen) < 2:
        return None
    counted = sum(len(group.trials) for group in seen)
    return Observations(
        table=_table(run, seen, values),
        at_end=all(r.configuration.train.eval_strategy == "end" for group in seen for r in group.trials),
        rows=tuple(sorted({group.block.rows for group in seen})),
        epochs=tuple(sorted({group.block.epochs for group in seen})) if by_epochs else None,
        numbers=tuple(tuple(record.number for record in group.trials) for group in seen),
        validated=tuple(sorted({r.result.validation.examples for group in seen for r in group.trials if r.result})),
        selected=by_epochs or counted < len(values),
        failed=len(failed),
        cut=len(cut),
        planned_anew=len(planned_anew - failed),
        drawn_of=drawn_of,
    )


def survivors(run: RunRead) -> tuple[Table, int] | None:
    """The configurations that came to the most rows, or to the end, and these rows: a biased sample."""
    done = [r for r in run.records if r.state == "complete" and r.result and not r.cut_short]
    if not done:
        return None
    top = max(record.train_rows or 0 for record in done)
    groups: dict[str, list[TrialRecord]] = {}
    for record in done:
        if (record.train_rows or 0) == top:
            groups.setdefault(record.point_key, []).append(record)
    if len(groups) < 2:
        return None
    seen = [_Group(_Block(top, 0.0), trials) for trials in groups.values()]
    values = {r.number: validation(r, run.recipe.search.metric) for r in done}
    return _table(run, seen, values), top


def common_seeds(trials: Sequence[Sequence[tuple[int, int]]], failed: Collection[int] = ()) -> set[int]:
    """Seeds that every configuration was given; of each, its trials as (number, seed).

    One may lack a seed where it was begun after the last trial of that seed, when a stop came, and where one of its
    trials is among those that `failed`: it is given no more, whatever its results. Any other that had been seen before
    others were given that seed was passed over, for its results.
    """
    last: dict[int, int] = {}
    for number, seed in (trial for each in trials for trial in each):
        last[seed] = max(number, last.get(seed, number))
    begun = [
        (min(number for number, _ in each), {seed for _, seed in each})
        for each in trials
        if not any(number in failed for number, _ in each)
    ]
    return {seed for seed, number in last.items() if all(seed in seeds or first > number for first, seeds in begun)}


def _table(run: RunRead, seen: Sequence[_Group], values: Mapping[int, float]) -> Table:
    names = dict.fromkeys((*run.recipe.axes, *axes_of(group.trials[0] for group in seen)))
    axes: dict[str, tuple[Any, ...]] = {}
    for name in names:
        if name not in _ROWS_AND_SEEDS:
            column = tuple(_axis_value(group.trials[0], name) for group in seen)
            if any(each != column[0] for each in column):
                axes[name] = column
    place = {block: index for index, block in enumerate(sorted({group.block for group in seen}))}
    each = [[values[record.number] for record in group.trials] for group in seen]
    spreads = [(len(one) - 1, float(np.var(one, ddof=1))) for one in each if len(one) > 1]
    freedom = sum(df for df, _ in spreads)
    return Table(
        axes=axes,
        metric=np.array([fmean(one) for one in each]),
        seeds=tuple(len(one) for one in each),
        block=np.array([place[group.block] for group in seen], dtype=np.int64),
        seed_noise=float(np.sqrt(sum(df * v for df, v in spreads) / freedom)) if freedom else None,
        rounding=max((_rounding(group.trials) for group in seen), default=0.0),
    )


def _rounding(seeds: Sequence[TrialRecord]) -> float:
    rows = min((record.result.validation.examples for record in seeds if record.result), default=0)
    return 1 / (12 * rows * rows * len(seeds)) if rows else 0.0


def _axis_value(record: TrialRecord, name: str) -> Any:
    """As the point has it; where a conditional axis is inactive, what the trial was trained with instead."""
    return record.point[name] if name in record.point else field(record, name)


def _by_configuration(records: Iterable[TrialRecord], firsts: Mapping[int, Evaluation]) -> list[_Group]:
    """Each configuration's trials on the fewest rows that it was trained on, in the order in which they were begun."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in sorted(records, key=lambda record: record.number):
        groups.setdefault(record.point_key, []).append(record)
    first_seen = []
    for group in groups.values():
        least = min(record.train_rows or 0 for record in group)
        begun = [record for record in group if (record.train_rows or 0) == least]
        seen = [(record.configuration.train, firsts[record.number]) for record in begun if record.number in firsts]
        epochs = [as_planned(train, first) for train, first in seen]
        first_seen.append(_Group(_Block(least, round(min(epochs, default=0.0), 2)), begun))
    return first_seen


def as_planned(train: Train, evaluation: Evaluation) -> float:
    """The epoch that an evaluation was planned at, where it came there but for the rounding to whole steps.

    By which half an epoch of 98 batches is one of 0.50, and of 49 one of 0.49: the batch size would tell them apart.
    """
    between = train.num_train_epochs / train.evaluations
    planned = between * max(1, round(evaluation.epoch / between))
    within_a_step = abs(evaluation.epoch - planned) * evaluation.step <= 1.5 * evaluation.epoch
    return planned if within_a_step else evaluation.epoch


def _planned_anew(groups: Iterable[_Group]) -> set[int]:
    """Trials whose passes are not those that most had of as many rows that are as dear; of as many, the earlier."""
    given: dict[tuple[int, Key], dict[float, list[int]]] = {}
    for group in groups:
        for record in group.trials:
            kind = given.setdefault((group.block.rows, cost_key(record.configuration)), {})
            kind.setdefault(record.configuration.train.num_train_epochs, []).append(record.number)
    found: set[int] = set()
    for by_passes in given.values():
        most = max(by_passes.values(), key=lambda numbers: (len(numbers), -numbers[0]))
        found.update(number for numbers in by_passes.values() if numbers is not most for number in numbers)
    return found


def _value(run: RunRead, record: TrialRecord, firsts: Mapping[int, Evaluation], by_epochs: bool) -> float | None:
    if not by_epochs:
        return validation(record, run.recipe.search.metric) if record.state == "complete" and record.result else None
    first = firsts.get(record.number)
    if first is None or record.state == "failed":
        return None
    return evaluated(first, run.recipe.search.metric)


def _drawn(records: Sequence[TrialRecord]) -> tuple[Sequence[TrialRecord], int | None]:
    """All records, or those of as many configurations as are read, drawn without a look at their results."""
    if len(records) <= MOST_READ:
        return records, None
    keys = sorted({record.point_key for record in records})
    most = max(2, MOST_READ * len(keys) // len(records))
    chosen = set(random.Random(0).sample(keys, min(len(keys), most)))  # noqa: S311
    return [record for record in records if record.point_key in chosen], len(records)


def _first_evaluations(run: RunRead, records: Sequence[TrialRecord], problems: list[str]) -> dict[int, Evaluation]:
    numbers = [record.number for record in records if record.state != "failed"]
    return {number: lines[0] for number, lines in read_evaluations(run, numbers, problems).items() if lines}
