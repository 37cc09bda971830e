"""Who leads: trials of one configuration joined over their seeds, ordered by the search's metric."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from loraloom.metrics import mean_interval
from loraloom.study.record import Score, TrialRecord

Metric = Literal["accuracy", "macro_f1"]
LEADERBOARD = "leaderboard.csv"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Standing:
    """One configuration: its finished trials, best first, and the mean of their validation metric."""

    trials: tuple[TrialRecord, ...]
    mean: float
    interval: tuple[float, float] | None

    @property
    def leader(self) -> TrialRecord:
        return self.trials[0]


def standings(records: Sequence[TrialRecord], metric: Metric) -> tuple[Standing, ...]:
    """Configurations by mean metric; ties go to fewer parameters, then to the earlier trial."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.state == "complete":
            groups.setdefault(json.dumps(record.point, sort_keys=True), []).append(record)
    joined = []
    for group in groups.values():
        best_first = sorted(group, key=lambda record: (-validation(record, metric), record.number))
        values = [validation(record, metric) for record in group]
        joined.append(Standing(tuple(best_first), fmean(values), mean_interval(values)))
    return tuple(sorted(joined, key=lambda x: (-x.mean, x.leader.counts.trainable, x.leader.number)))


def validation(record: TrialRecord, metric: Metric) -> float:
    """The metric of a finished trial on validation."""
    assert record.result is not None
    return record.result.validation.accuracy if metric == "accuracy" else record.result.validation.macro_f1


def leaderboard_csv(records: Sequence[TrialRecord], metric: Metric) -> str:
    """A row per trial, finished ones by metric, then pruned and failed ones with their reasons."""
    axes = list(dict.fromkeys(name for record in records for name in record.point))
    order = {"complete": 0, "pruned": 1, "failed": 2}
    ranked = sorted(
        records,
        key=lambda record: (
            order[record.state],
            -validation(record, metric) if record.result else 0.0,
            record.number,
        ),
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(
        ["trial", "state", *axes, "seed", "trainable_parameters"]
        + [f"{split}_{figure}" for split in ("validation", "test") for figure in ("accuracy", "macro_f1", "loss")]
        + ["seconds", "reason"]
    )
    for record in ranked:
        result = record.result
        row = [record.number, record.state, *(_shown(record.point.get(name)) for name in axes)]
        row += [record.seed, record.counts.trainable]
        row += [*_figures(result.validation if result else None), *_figures(result.test if result else None)]
        row += [f"{record.timings.seconds:.1f}" if record.timings else "", record.reason or ""]
        writer.writerow([_as_text(cell) for cell in row])
    return file.getvalue()


def _figures(score: Score | None) -> list[str]:
    return ["", "", ""] if score is None else [f"{x:.6f}" for x in (score.accuracy, score.macro_f1, score.loss)]


def _shown(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _as_text(cell: Any) -> Any:
    """A cell that a spreadsheet would take for a formula is quoted."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
