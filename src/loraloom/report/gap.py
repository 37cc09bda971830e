"""The gap between training and validation accuracy, by rank and by epoch, and whether it widens with them.

Both claims are slopes over configurations, tested at 2.5 % each, so that both hold together at 5 %:

- by rank: the gap at a configuration's last evaluation, in the model of all axes (effects/model.py: HC2, Bell and
  McCaffrey's degrees of freedom) with the rank as one straight column of log2 r, so that the slope is that of a
  doubling. Where it is not known at the last evaluation, an earlier one's would not do: where validation is noisier at
  higher ranks, these would be seen earlier, and the gap would seem to narrow.
- by epoch: a slope within each configuration over its evaluations from the first whole epoch on, then Student's
  interval of the slopes' mean (summary measures: Matthews, Altman, Campbell and Royston 1990, "Analysis of serial
  measurements in medical research"). A configuration's evaluations depend on each other; its slope is one number, and
  slopes do not. Rejected: a mixed model, which finds the same mean with assumptions on how evaluations depend.

Training accuracy is a mean over the batches since the evaluation before, as the model was then; so what it is compared
with is the mean of the validation accuracies at both ends. That is wrong by half of what validation moved in between,
at most, while accuracy rises: where that is more than `MOST_MOVED`, and at a first evaluation, which has a drawn head's
batches in it, there is no gap. Rejected: validation's accuracy at the end alone, by which every training begins with
a gap far below zero that then closes, whatever is true.

The trials are those of effects/observations.py: as first seen, before results chose who went on. Where trials were
ended within their epochs, those that went on had a high validation accuracy, and so a small gap, by luck too, which
later evaluations lack: the gap widens among survivors though it may not. No verdict and no picture is given there.
Reads the evaluations of `MOST_CONFIGURATIONS` at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, linear_regression

import numpy as np

from loraloom.intervals import Interval, mean_interval
from loraloom.recipe import Recipe, Train
from loraloom.recipe.fields import MOST_EPOCHS
from loraloom.report.curves import Points
from loraloom.report.effects.analysis import MARGIN, Verdict, decided
from loraloom.report.effects.axes import Axis, make_axis
from loraloom.report.effects.model import ALMOST, LEAST_FREEDOM, fit, make_design
from loraloom.report.effects.observations import Observations, as_planned
from loraloom.report.points import points, size, spread
from loraloom.report.reading import RunRead, read_evaluations
from loraloom.report.wording import value
from loraloom.study.record import Evaluation
from loraloom.wording import plural

MOST_CONFIGURATIONS = 400
MOST_MOVED = 0.02
"""Of validation accuracy between two evaluations: the gap is then known to a percentage point."""
MOST_SERIES = 4
LEVEL = 0.05 / 2
_RANK = "lora.r"
_Accuracies = tuple[float, float, float]
"""Of an evaluation: its epoch, the accuracy in training and that of validation."""
_WHY_NOT_AT_END = (
    "The gap at the last evaluation is known of fewer than two ranks, since validation accuracy still moved by more "
    f"than {100 * MOST_MOVED:g} points before it. More epochs may settle it: "
)
_LEAST_EPOCHS = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """`slope` is a difference of shares for each step (a doubling, an epoch); `configurations` is what it rests on."""

    title: str
    verdict: Verdict
    slope: float | None
    interval: Interval | None
    configurations: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Series:
    """The mean gap of the configurations of one rank at each epoch: (epoch, gap, configurations)."""

    rank: str
    points: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """`by_rank` has (rank, gap, interval, configurations) at the last evaluation, the interval Student's over these."""

    series: tuple[Series, ...]
    by_rank: tuple[tuple[float, float, Interval | None, int], ...]
    claims: tuple[Claim, ...]
    configurations: int


@dataclass(frozen=True, slots=True)
class _Curve:
    """One configuration, seeds averaged: its gap at each epoch where it is known; `end` is its last evaluation's."""

    row: int
    rank: float
    gaps: Points
    end: float

    @property
    def at_end(self) -> float | None:
        epoch, last = self.gaps[-1]
        return last if epoch == self.end else None


def gap(run: RunRead, seen: Observations | None, problems: list[str]) -> Gap | None:
    """The gaps of the configurations that effects are measured on; None where none left evaluations."""
    if seen is None:
        return None
    rows = seen.table.drawn(MOST_CONFIGURATIONS).tolist()
    lines = read_evaluations(run, [number for row in rows for number in seen.numbers[row]], problems)
    if not any(lines.values()):
        return None
    curves = [] if seen.epochs is not None else _curves(run, seen, rows, lines)
    most = max(record.configuration.train.num_train_epochs for record in run.records)
    recipe = run.recipe.with_fields(train={"num_train_epochs": most})  # a clock gave as many as that
    return Gap(
        series=tuple(_series(curves)),
        by_rank=_by_rank(curves, min(seen.validated, default=0)),
        claims=(_of_rank(seen, curves, recipe), _of_epochs(seen, curves, recipe)),
        configurations=len(curves),
    )


def _curves(
    run: RunRead, seen: Observations, rows: Sequence[int], lines: Mapping[int, Sequence[Evaluation]]
) -> list[_Curve]:
    configurations = {record.number: record.configuration for record in run.records}
    found = []
    for row in rows:
        numbers = seen.numbers[row]
        trials = [_by_epoch(configurations[number].train, lines[number]) for number in numbers if lines.get(number)]
        gaps = _mean_gaps(trials)
        if gaps:
            end = max(each[-1][0] for each in trials)
            found.append(_Curve(row, float(configurations[numbers[0]].lora.r), gaps, end))
    return found


def _by_epoch(train: Train, lines: Sequence[Evaluation]) -> list[_Accuracies]:
    return [(round(as_planned(train, line), 3), line.train_accuracy, line.validation_accuracy) for line in lines]


def gaps(lines: Sequence[_Accuracies]) -> Points:
    """A trial's gap at each epoch where it is known, from (epoch, training, validation accuracy) of its evaluations."""
    return tuple(
        (epoch, training - (before + validation) / 2)
        for (_, _, before), (epoch, training, validation) in pairwise(lines)
        if abs(validation - before) <= MOST_MOVED and np.isfinite(training)
    )


def _mean_gaps(trials: Sequence[Sequence[_Accuracies]]) -> Points:
    """Over seeds, at the epochs at which it is known of all of them."""
    by_epoch: dict[float, list[float]] = {}
    for lines in trials:
        for epoch, each in gaps(lines):
            by_epoch.setdefault(epoch, []).append(each)
    return tuple((epoch, fmean(each)) for epoch, each in sorted(by_epoch.items()) if len(each) == len(trials))


def _series(curves: Sequence[_Curve]) -> Iterator[Series]:
    ranks = sorted({curve.rank for curve in curves})
    if len(ranks) > MOST_SERIES:
        ranks = [ranks[round(place * (len(ranks) - 1) / (MOST_SERIES - 1))] for place in range(MOST_SERIES)]
    for rank in ranks:
        by_epoch: dict[float, list[float]] = {}
        for curve in curves:
            if curve.rank == rank:
                for epoch, each in curve.gaps:
                    by_epoch.setdefault(epoch, []).append(each)
        yield Series(value(int(rank)), tuple((e, fmean(gaps), len(gaps)) for e, gaps in sorted(by_epoch.items())))


def _by_rank(curves: Sequence[_Curve], rows: int) -> tuple[tuple[float, float, Interval | None, int], ...]:
    """With the rounding to whole validation `rows`: few configurations often come to the same gap."""
    last: dict[float, list[float]] = {}
    for curve in curves:
        if curve.at_end is not None:
            last.setdefault(curve.rank, []).append(curve.at_end)
    return tuple(
        (rank, fmean(gaps), mean_interval(gaps, rows=rows or None), len(gaps)) for rank, gaps in sorted(last.items())
    )


def _of_rank(seen: Observations, curves: Sequence[_Curve], recipe: Recipe) -> Claim:
    title = "Higher rank widens the gap"
    if not curves:
        return _unknown(title, 0, _why_none(seen, recipe))
    if _RANK not in seen.table.axes:
        ranks = f"No rank but {curves[0].rank:g} can be compared"
        return _unknown(title, len(curves), f"{ranks}: try others, as in `--set lora.r=2,8,32`")
    known = [(curve, at_end) for curve in curves if (at_end := curve.at_end) is not None]
    curves, ends = [curve for curve, _ in known], [at_end for _, at_end in known]
    if len({curve.rank for curve in curves}) < 2:
        return _unknown(title, len(curves), _WHY_NOT_AT_END + _more_epochs(recipe))
    rows = [curve.row for curve in curves]
    others = {name: [each[row] for row in rows] for name, each in seen.table.axes.items() if name != _RANK}
    axes = [axis for name, each in others.items() if (axis := make_axis(name, each))]
    doublings = np.log2([curve.rank for curve in curves])[:, None]
    straight = Axis(
        _RANK, "curve", doublings, np.array([[0.0], [1.0]]), ("", ""), np.zeros(len(rows), dtype=np.int64), None
    )
    design = make_design([straight, *axes], seen.table.block[rows])
    model = fit(design.matrix, np.array(ends), rounding=seen.table.rounding)
    contrast = design.contrast(straight, (-1.0, 1.0))
    if not model.knows(contrast):
        return _unknown(title, len(curves), "The rank changed along with other axes, and can't be told apart from them")
    estimate = model.estimate(contrast)
    if estimate.freedom < LEAST_FREEDOM or estimate.error == 0:
        return _unknown(title, len(curves), _too_few(len(curves), model.basis.shape[1]))
    claim = _claim(title, estimate.value, estimate.interval(LEVEL), len(curves), "for each doubling of the rank")
    left_out = min(seen.table.size, MOST_CONFIGURATIONS) - len(curves)
    if not left_out:
        return claim
    they = f"{plural(left_out, 'other configuration')} {'is' if left_out == 1 else 'are'} left out"
    return replace(claim, sentence=f"{claim.sentence} {they}, of which the gap at the last evaluation is not known.")


def _of_epochs(seen: Observations, curves: Sequence[_Curve], recipe: Recipe) -> Claim:
    title = "More epochs widen the gap"
    if not curves:
        return _unknown(title, 0, _why_none(seen, recipe))
    slopes = [slope for curve in curves if (slope := _slope(curve.gaps)) is not None]
    if not slopes:
        return _unknown(
            title,
            0,
            f"The gap of no configuration is known after two different epochs: {_more_epochs(recipe)}",
        )
    interval = mean_interval(slopes, 1 - LEVEL)
    if len(slopes) <= LEAST_FREEDOM or interval is None or float(np.ptp(slopes)) <= ALMOST:
        return _unknown(title, len(slopes), _too_few(len(slopes), 1))
    return _claim(title, fmean(slopes), interval, len(slopes), "for each epoch after the first")


def _why_none(seen: Observations, recipe: Recipe) -> str:
    if seen.epochs is not None:
        return (
            "Trials were ended by their validation accuracy, and those that went on had a small gap by luck too, so "
            f"that it widens whatever is true: run it with {_sets(recipe, 'search.pruner=none')}"
        )
    if seen.at_end:
        return (
            "On a part of the rows configurations are evaluated once, at their end, and of one evaluation the gap is "
            f"not known: run it with {_sets(recipe, 'search.pruner=none', 'train.eval_strategy=auto')}"
        )
    return (
        f"No configuration has two evaluations between which validation moved by {100 * MOST_MOVED:g} points at most, "
        f"which it takes to know the gap: {_more_epochs(recipe)}"
    )


def _more_epochs(recipe: Recipe) -> str:
    """Twice as many as the recipe has, and no more than it may have."""
    more = max(_LEAST_EPOCHS, 2 * max(recipe.values("train.num_train_epochs")))
    return _sets(recipe, f"train.num_train_epochs={min(more, MOST_EPOCHS):g}")


def _sets(recipe: Recipe, *sets: str) -> str:
    """What to put over the run's recipe; under a clock, which heeds no passes of a recipe's, this is taken off it."""
    clock = ("search.epochs=recipe",) if recipe.search.epochs == "clock" else ()
    return f"`{' '.join(f'--set {each}' for each in (*clock, *sets))}`"


def _slope(gaps: Points) -> float | None:
    late = [(epoch, each) for epoch, each in gaps if epoch > 0.999]
    if len(late) < 2:
        return None
    return linear_regression(*zip(*late, strict=True)).slope


def _claim(title: str, slope: float, interval: Interval, count: int, step: str) -> Claim:
    verdict = decided(*interval)
    figures = f"{points(slope, interval)} {step}, 95 % {spread(interval)}, {plural(count, 'configuration')}"
    said = {
        "effect": f"{'holds' if slope > 0 else 'does not hold, it narrows'} ({figures})",
        "none": f"no effect found ({figures})",
        "open": f"not enough trials to tell ({figures}); one of {size(MARGIN)} may be there or not",
    }[verdict]
    return Claim(title, verdict, slope, interval, count, f"{title}: {said}.")


def _unknown(title: str, count: int, why: str) -> Claim:
    return Claim(title, "few", None, None, count, f"{title}: not enough trials. {why}.")


def _too_few(count: int, unknowns: int) -> str:
    least = unknowns + int(LEAST_FREEDOM) + (unknowns > 1)  # beside a mean, freedom is estimated, and comes out lower
    if count >= least:
        return f"{plural(count, 'configuration')} are spread too unevenly, or are all alike, to measure noise"
    given = f"{plural(count, 'configuration')} for {plural(unknowns, 'unknown')}"
    return f"{given} say too little: at least {least} are needed"
