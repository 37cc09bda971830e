"""Who leads: trials of one configuration joined over their seeds, ordered by rows seen and the search's metric.

Seeds that the clock cut short are no seeds of the configuration as it was planned: they have a standing of their own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from loraloom.intervals import mean_interval
from loraloom.recipe.fields import Metric
from loraloom.study.csv_rows import disarmed
from loraloom.study.record import WHOLE, Evaluation, Score, TrialRecord, trained_point

LEADERBOARD = "leaderboard.csv"
Place = tuple[int, float, bool, bool, int, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """One configuration on one number of rows: its finished trials, best first, and their mean validation metric."""

    trials: tuple[TrialRecord, ...]
    reach: int
    mean: float
    interval: tuple[float, float] | None

    @property
    def leader(self) -> TrialRecord:
        return self.trials[0]


def standings(records: Sequence[TrialRecord], metric: Metric) -> tuple[Standing, ...]:
    """Configurations by rows seen, then by mean metric; ties go to what was done, to fewer parameters, to the earlier.

    A result on few rows says who is worth more rows, and does not compete with results on more.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.state == "complete":
            groups.setdefault(configuration_key(record), []).append(record)
    return tuple(sorted((standing(group, metric) for group in groups.values()), key=from_first))


def configuration_key(record: TrialRecord) -> str:
    """What trials compared as one have in common: the configuration, the rows seen, and whether they were cut short."""
    return f"{record.point_key} {reach(record)} {record.cut_short}"


def standing(group: Sequence[TrialRecord], metric: Metric) -> Standing:
    """The standing of a configuration, from its finished trials by number."""
    best_first = sorted(group, key=lambda record: (-validation(record, metric), record.number))
    values = [validation(record, metric) for record in group]
    rows = best_first[0].validation.examples  # F1 moves by whole rows too
    return Standing(tuple(best_first), reach(best_first[0]), mean_of(values), mean_interval(values, rows=rows or None))


def mean_of(values: Sequence[float]) -> float:
    """The mean of some seeds' figures, without the last digits: in these, means of as many right rows may differ."""
    return round(fmean(values), 12)


def from_first(one: Standing) -> Place:
    """The order of standings."""
    leader = one.leader
    return placed(one.reach, one.mean, leader.counts.trainable, leader.number, cut_short=leader.cut_short)


def placed(reach: int, mean: float, trainable: int, number: int, *, cut_short: bool, tested: bool = False) -> Place:
    """A configuration's place among others: rows seen, then the metric.

    Of equals the tested one comes first, then what the clock did not cut short, then the smaller.
    """
    return -reach, -mean, not tested, cut_short, trainable, number


def reach(record: TrialRecord) -> int:
    """The training rows that a trial has seen: fewer than it was given where the clock stopped it in its first pass."""
    rows, planned = record.train_rows or 0, record.configuration.train.num_train_epochs
    if record.epochs is None:
        return rows
    share = record.epochs / min(1.0, planned)
    return rows if share > WHOLE else int(rows * share)


def validation(record: TrialRecord, metric: Metric) -> float:
    """The metric of a finished trial on validation."""
    return record.validation.accuracy if metric == "accuracy" else record.validation.macro_f1


def evaluated(one: Evaluation, metric: Metric) -> float:
    """The metric of an evaluation."""
    return one.validation_accuracy if metric == "accuracy" else one.validation_macro_f1


def metric_name(metric: Metric) -> str:
    """As people write it."""
    return "accuracy" if metric == "accuracy" else "macro-F1"


def reported(evaluations: Sequence[Evaluation], metric: Metric) -> dict[int, float]:
    """A trial's intermediate values, as the ledger and pruners have them: by the evaluation's number, from 1."""
    return {number: evaluated(one, metric) for number, one in enumerate(evaluations, start=1)}


def leaderboard_csv(records: Sequence[TrialRecord], metric: Metric) -> str:
    """A row per trial, finished ones by metric, then pruned and failed ones with their reasons."""
    axes = axes_of(records)
    ranked = sorted(records, key=lambda record: row_order(record, metric))
    return header_row(axes) + "".join(row(record, axes) for record in ranked)


def axes_of(records: Iterable[TrialRecord]) -> tuple[str, ...]:
    """The columns of axes: all that the points name, in the order of their first mention."""
    return tuple(dict.fromkeys(name for record in records for name in record.point))


def row_order(record: TrialRecord, metric: Metric) -> tuple[int, int, float, int]:
    """The order of rows."""
    state = {"complete": 0, "pruned": 1, "failed": 2}[record.state]
    return state, -reach(record), -validation(record, metric) if record.result else 0.0, record.number


def header_row(axes: Sequence[str]) -> str:
    return _line(
        ["trial", "state", *axes, "seed", "train_rows", "trainable_parameters"]
        + [f"{split}_{figure}" for split in ("validation", "test") for figure in ("accuracy", "macro_f1", "loss")]
        + ["test_rows", "seconds", "reason"]
    )


def row(record: TrialRecord, axes: Sequence[str]) -> str:
    """A trial's line of the table."""
    result, point = record.result, trained_point(record.point, record.configuration)
    cells = [record.number, record.state, *(_shown(point.get(name)) for name in axes)]
    cells += [record.seed, "" if record.train_rows is None else record.train_rows, record.counts.trainable]
    cells += [*_figures(result.validation if result else None), *_figures(result.test if result else None)]
    cells += [record.tested_rows or "", f"{record.timings.seconds:.1f}" if record.timings else "", record.reason or ""]
    return _line([disarmed(cell) for cell in cells])


def _line(cells: Sequence[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(cells)
    return file.getvalue()


def _figures(score: Score | None) -> list[str]:
    return ["", "", ""] if score is None else [f"{x:.6f}" for x in (score.accuracy, score.macro_f1, score.loss)]


def _shown(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
