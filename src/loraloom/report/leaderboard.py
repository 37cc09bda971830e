"""The leaderboard: trials of one configuration joined over their seeds, and ranked by the recipe's metric.

Seeds that the clock cut short are a row of their own, as they are a standing of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from loraloom.intervals import Interval, mean_interval, wilson_interval
from loraloom.recipe.fields import Metric
from loraloom.report import wording
from loraloom.report.reading import RunRead
from loraloom.report.rounding import UNKNOWN, decimals
from loraloom.study.choice import chosen
from loraloom.study.leaderboard import Place, axes_of, mean_of, metric_name, placed, reach, validation
from loraloom.study.record import WARM_UP, Ended, Score, TrialRecord

ROWS = "data.max_train_samples"
"""Shown beside the axes where trials were trained on different numbers of rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration; figures are means over its complete seeds, on validation.

    `interval` is of the accuracy: Wilson's over the rows where one seed is complete, Student's t over the
    seeds where there are more. `noise_floor` is the lower end of both: what lies above it can't be told from
    this row. `rank` and `metric` are None where no seed is complete. `written` are the values as a recipe has
    them, and `record` is that of the best trial, or else of the first.
    """

    rank: int | None
    values: tuple[str, ...]
    written: tuple[Any, ...]
    state: Ended
    is_winner: bool
    numbers: tuple[int, ...]
    record: TrialRecord
    seeds: int
    trainable: int
    metric: float | None
    accuracy: float | None
    reach: int
    cut_short: bool
    interval: Interval | None
    noise_floor: float | None
    macro_f1: float | None
    loss: float | None
    seconds: float | None
    examples: int
    reasons: tuple[str, ...]

    @property
    def lost_seeds(self) -> bool:
        """Whether it has a result, and seeds beside it that failed or were pruned."""
        return 0 < self.seeds < len(self.numbers)

    @property
    def interval_of(self) -> str:
        return "seeds" if self.seeds > 1 else "rows"

    @property
    def trials(self) -> str:
        return ", ".join(f"{number:04d}" for number in self.numbers)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """`ranked` has a complete seed each, best first; `unranked` were pruned or failed.

    `tested` is the trial in best/, which no row has where its own folder is damaged or gone. `noise_known` is whether
    the winner was chosen by what seeds do.
    """

    axes: tuple[str, ...]
    metric: Metric
    ranked: tuple[Row, ...]
    unranked: tuple[Row, ...]
    tested: int | None
    noise_known: bool

    @property
    def configurations(self) -> int:
        """How many have a result, on however many rows."""
        return len({row.record.point_key for row in self.ranked})

    @property
    def places(self) -> int:
        """Decimals of the accuracies, as many as the best known one has."""
        return max((decimals(row.interval) for row in self.ranked), default=UNKNOWN)

    @property
    def metric_name(self) -> str:
        return metric_name(self.metric)

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.ranked + self.unranked

    @property
    def winner(self) -> Row | None:
        """The row of best/, or without a best/ the first of the ranked."""
        among = self.ranked[:1] if self.tested is None else (row for row in self.rows if row.is_winner)
        return next(iter(among), None)

    @property
    def same(self) -> tuple[tuple[str, str], ...]:
        """The axes that have one value in all rows, and that value; none where there is one row."""
        columns = zip(self.axes, zip(*(row.written for row in self.rows), strict=True), strict=False)
        alike = ((axis, each[0]) for axis, each in columns if len(each) > 1 and all(one == each[0] for one in each))
        return tuple((axis, wording.value(one)) for axis, one in alike)

    @property
    def varied(self) -> tuple[int, ...]:
        """The places of the other axes."""
        same = dict(self.same)
        return tuple(place for place, axis in enumerate(self.axes) if axis not in same)

    @property
    def rule(self) -> str:
        """By which rule the winner is chosen."""
        any_cut = any(row.cut_short for row in self.ranked)
        cut = " What the clock cut short has a row of its own, and wins no tie." if any_cut else ""
        if not self.noise_known:
            repeated = any(row.seeds > 1 for row in self.ranked)
            of_best = "none of the best on these has two seeds that came to their end and have not collapsed"
            why = of_best if repeated else "no configuration was trained with two"
            return (
                "The highest mean on the most rows wins, of equals the one with fewer parameters: how far seeds alone "
                f"move a result is not known, since {why}.{cut}"
            )
        return (
            "Of the configurations on the most rows, those within one standard error (between seeds) of the highest "
            "mean count as equally good: of them one with repeated seeds wins, then the one with fewer parameters."
            + cut
        )

    @property
    def intervals(self) -> str:
        """What the rows' intervals are of."""
        return (
            "Intervals are 95 %: of one seed Wilson's, over the validation rows; of more seeds (marked so) Student's t "
            "over the seeds, with the rounding to whole rows, which says nothing of other rows."
        )

    @property
    def unlisted(self) -> int:
        """The numbers below the last trial's that no row has: proposals that were not trained, or are under way."""
        numbers = {number for row in self.rows for number in row.numbers}
        return max(numbers, default=-1) + 1 - len(numbers)

    @property
    def compared(self) -> tuple[Row, ...]:
        """The other ranked rows that were trained on as many rows as the winner, and not cut short."""
        winner = self.winner
        return tuple(
            row
            for row in self.ranked
            if winner is not None and row is not winner and row.reach == winner.reach and not row.cut_short
        )

    @property
    def in_noise(self) -> tuple[Row, ...]:
        """Those of the `compared` rows whose accuracy lies above the winner's noise floor.

        None where macro-F1 ranks them: the floor is of the accuracy, and says nothing of it.
        """
        winner = self.winner
        if winner is None or winner.noise_floor is None or self.metric != "accuracy":
            return ()
        low = winner.noise_floor
        return tuple(row for row in self.compared if row.accuracy is not None and row.accuracy >= low)

    @property
    def smallest_in_noise(self) -> Row | None:
        """The row in noise with the fewest parameters, where these are fewer than the winner's."""
        winner = self.winner
        smallest = min(self.in_noise, key=lambda row: row.trainable, default=None)
        return smallest if smallest and winner and smallest.trainable < winner.trainable else None


def leaderboard(run: RunRead) -> Leaderboard:
    """Joins the run's records by their point, and ranks them."""
    axes = axis_names(run)
    winner = run.best.record.number if run.best else None
    groups: dict[tuple[str, int, bool], list[TrialRecord]] = {}
    for record in run.records:  # one that came to no end belongs to those that were done on the rows it was given
        given = reach(record) if record.state == "complete" else record.train_rows or 0
        groups.setdefault((record.point_key, given, _is_cut_short(record)), []).append(record)
    metric = run.recipe.search.metric
    choice = chosen(run.records, metric)
    rows = [_row(group, axes, metric, winner) for group in groups.values()]
    ranked = sorted((row for row in rows if row.state == "complete"), key=_order)
    unranked = sorted((row for row in rows if row.state != "complete"), key=_late_order)
    return Leaderboard(
        axes=axes,
        metric=metric,
        ranked=tuple(replace(row, rank=rank) for rank, row in enumerate(ranked, start=1)),
        unranked=tuple(unranked),
        tested=winner,
        noise_known=choice is not None and choice.standard_error is not None,
    )


def winning(run: RunRead, board: Leaderboard) -> TrialRecord | None:
    """The record of best/, or without one that of the best so far."""
    if run.best is not None:
        return run.best.record
    return board.winner.record if board.winner is not None else None


def describe(axes: Sequence[str], values: Sequence[str]) -> str:
    """A configuration in the recipe's words: `r 4, learning_rate 0.001`."""
    return ", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in zip(axes, values, strict=True))


def field(record: TrialRecord, name: str) -> Any:
    """The value of a dotted field in a trial's configuration; of the rows, those that it was trained on."""
    if name == ROWS:
        return record.train_rows
    section, _, leaf = name.partition(".")
    return getattr(getattr(record.configuration, section, None), leaf, None)


def as_written(record: TrialRecord, name: str) -> Any:
    """The value of a dotted field in a recipe that trains a trial again: its point's, but of the warm-up its own."""
    return record.point[name] if name in record.point and name != WARM_UP else field(record, name)


def axis_names(run: RunRead) -> tuple[str, ...]:
    """The recipe's axes in their order, then any that only the points name."""
    names = dict.fromkeys((*run.recipe.axes, *axes_of(run.records)))
    return (*names, ROWS) if len({record.train_rows for record in run.records}) > 1 else tuple(names)


def _row(group: list[TrialRecord], axes: Sequence[str], metric: Metric, winner: int | None) -> Row:
    group = sorted(group, key=lambda record: record.number)
    complete = [record for record in group if record.state == "complete"]
    shown = complete or [record for record in group if record.result]
    scores = [record.result.validation for record in shown if record.result]
    seconds = [record.timings.seconds for record in (shown or group) if record.timings]
    first = group[0]
    by_rows, by_seeds = _row_interval(scores), _seed_interval(scores)
    interval = by_seeds if len(complete) > 1 else by_rows
    written = tuple(as_written(first, axis) for axis in axes)
    return Row(
        rank=None,
        values=tuple(map(wording.value, written)),
        written=written,
        state=_state(group, bool(complete)),
        is_winner=any(record.number == winner for record in group),
        numbers=tuple(record.number for record in group),
        record=max(complete, key=lambda record: validation(record, metric), default=first),
        seeds=len(complete),
        trainable=first.counts.trainable,
        metric=_mean([validation(record, metric) for record in complete]),
        accuracy=_mean([score.accuracy for score in scores]),
        reach=reach((complete or group)[0]),
        cut_short=_is_cut_short(first),
        interval=interval,
        noise_floor=min((low for low, _ in filter(None, (by_rows, by_seeds))), default=None),
        macro_f1=_mean([score.macro_f1 for score in scores]),
        loss=_mean([score.loss for score in scores]),
        seconds=_mean(seconds),
        examples=scores[0].examples if scores else 0,
        reasons=tuple(dict.fromkeys(_reason(record, len(group)) for record in group if _lacks(record))),
    )


def _state(group: Sequence[TrialRecord], complete: bool) -> Ended:
    if complete:
        return "complete"
    return "pruned" if any(record.state == "pruned" for record in group) else "failed"


def _is_cut_short(record: TrialRecord) -> bool:
    return record.state == "complete" and record.cut_short


def _lacks(record: TrialRecord) -> bool:
    return record.state != "complete" or record.cut_short


def _reason(record: TrialRecord, of: int) -> str:
    if _is_cut_short(record):
        why = wording.cut_short(record.epochs, record.configuration.train.num_train_epochs)
        return why if of == 1 else f"seed {record.seed}: {why}"
    why = record.reason or "no reason was kept"
    return why if of == 1 else f"seed {record.seed} {record.state}: {why}"


def _seed_interval(scores: Sequence[Score]) -> Interval | None:
    rows = max(1, scores[0].examples) if scores else None
    between = mean_interval([score.accuracy for score in scores], rows=rows) if scores else None
    return None if between is None else (max(0.0, between[0]), min(1.0, between[1]))


def _row_interval(scores: Sequence[Score]) -> Interval | None:
    """Wilson's interval of the mean accuracy over the rows, which are the same for all seeds."""
    if not scores or scores[0].examples < 1:
        return None
    rows = scores[0].examples
    correct = round(fmean(score.accuracy for score in scores) * rows)
    return wilson_interval(max(0, min(rows, correct)), rows)


def _mean(values: Sequence[float]) -> float | None:
    return mean_of(values) if values else None


def _order(row: Row) -> Place:
    """As the search itself has it, the tested one first of equals."""
    assert row.metric is not None
    number, tested = row.record.number, row.is_winner
    return placed(row.reach, row.metric, row.trainable, number, cut_short=row.cut_short, tested=tested)


def _late_order(row: Row) -> tuple[bool, float, int]:
    return (row.state == "failed", -(row.accuracy or 0), row.numbers[0])
