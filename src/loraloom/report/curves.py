"""How the best few trials learned: loss, accuracy and learning rate against epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loraloom.recipe.fields import Train
from loraloom.report.leaderboard import Leaderboard, describe
from loraloom.report.wording import loss, passes, value
from loraloom.study.record import Evaluation

MOST_TRIALS = 4
MOST_TRACE_POINTS = 200

Points = tuple[tuple[float, float], ...]
"""(epoch, value), in order."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One trial; `train_loss` follows the trace where there is one, else the evaluations.

    `name` is its whole configuration, `differs` what tells it from the other trials: of the first, its values along the
    axes that differ; of another, those that are not the first's.
    """

    number: int
    name: str
    differs: str
    train_loss: Points
    validation_loss: Points
    train_accuracy: Points
    validation_accuracy: Points
    learning_rate: Points


@dataclass(frozen=True, slots=True)
class Curves:
    """The best few trials, best first, and a sentence on each picture."""

    trials: tuple[Curve, ...]
    on_loss: str
    on_accuracy: str
    on_rate: str


def trials_to_draw(board: Leaderboard) -> list[int]:
    """The best trial of each of the best configurations, the winner's first."""
    rows = sorted(board.ranked, key=lambda row: not row.is_winner)
    return [row.record.number for row in rows[:MOST_TRIALS]]


def curves(board: Leaderboard, evaluations: Mapping[int, Sequence[Evaluation]]) -> Curves | None:
    """Curves of the trials in `evaluations`; None where none of them was evaluated."""
    rows = {row.record.number: row for row in board.ranked}
    shown = {number: lines for number, lines in evaluations.items() if lines}
    differs = _differences(board, {number: rows[number].values for number in shown})
    drawn = tuple(
        _curve(number, describe(board.axes, rows[number].values), differs[number], lines)
        for number, lines in shown.items()
    )
    if not drawn:
        return None
    best = drawn[0]
    on_loss = _on_loss(best) + _on_objective([rows[number].record.configuration.train for number in shown])
    return Curves(drawn, on_loss, _on_accuracy(best), _on_rate(best))


def _differences(board: Leaderboard, values: Mapping[int, tuple[str, ...]]) -> dict[int, str]:
    """What tells each trial from the others, in words."""
    said = {}
    first = next(iter(values), None)
    for number, own in values.items():
        compared = values.values() if number == first else [values[first or 0]]
        places = [place for place in range(len(own)) if any(own[place] != other[place] for other in compared)]
        but = describe([board.axes[place] for place in places], [own[place] for place in places])
        said[number] = but if number == first or not but else f"as {first:04d}, but {but}"
    return said


def _curve(number: int, name: str, differs: str, lines: Sequence[Evaluation]) -> Curve:
    traced = _thinned(list(_trace(lines)))
    by_epoch = {
        field: finite((line.epoch, getattr(line, field)) for line in lines)
        for field in (
            "train_loss",
            "validation_loss",
            "train_accuracy",
            "validation_accuracy",
            "learning_rate",
        )
    }
    if len(traced) > len(lines):
        by_epoch["train_loss"] = finite((epoch, train_loss) for epoch, train_loss, _ in traced)
        by_epoch["learning_rate"] = finite((epoch, rate) for epoch, _, rate in traced)
    return Curve(number, name, differs, **by_epoch)


def _trace(lines: Sequence[Evaluation]) -> Iterable[tuple[float, float, float]]:
    """(epoch, train loss, learning rate) of each traced step; an evaluation's step gives the scale."""
    for line in lines:
        for step, train_loss, rate in line.trace:
            yield (step * line.epoch / line.step if line.step else 0.0, train_loss, rate)


def _thinned(points: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """At most `MOST_TRACE_POINTS`: each the mean of a run of losses, at the last of their steps."""
    width = math.ceil(len(points) / MOST_TRACE_POINTS) or 1
    runs = [points[start : start + width] for start in range(0, len(points), width)]
    return [(run[-1][0], sum(train_loss for _, train_loss, _ in run) / len(run), run[-1][2]) for run in runs]


def finite(points: Iterable[tuple[float, float]]) -> Points:
    """Those that can be drawn."""
    return tuple((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))


def _on_loss(curve: Curve) -> str:
    points = curve.validation_loss
    if not points:
        return f"Trial {curve.number:04d} left no finite validation loss."
    if len(points) == 1:
        ((epoch, only),) = points
        return (
            f"The validation loss of trial {curve.number:04d} is {loss(only)} at epoch {passes(epoch)}, its one "
            "evaluation: whether it still falls there is not known."
        )
    epoch, lowest = min(reversed(points), key=lambda point: point[1])
    last_epoch, last = points[-1]
    opening = f"The validation loss of trial {curve.number:04d} is lowest at epoch {passes(epoch)} ({loss(lowest)})"
    if epoch >= last_epoch:
        return f"{opening}, its last evaluation: more epochs might lower it further."
    if loss(last) == loss(lowest):
        return f"{opening}, and has hardly changed at epoch {passes(last_epoch)}, the last."
    return f"{opening} and ends at {loss(last)} at epoch {passes(last_epoch)}: after its lowest point it rises."


def _on_objective(trained: Sequence[Train]) -> str:
    """That training loss is of another kind than validation loss, where it is: it may be the higher, all being well."""
    smoothed = any(train.label_smoothing_factor for train in trained)
    weighed = any(train.class_weight != "none" for train in trained)
    kinds = [*(["smoothed labels"] if smoothed else []), *(["weighed classes"] if weighed else [])]
    if not kinds:
        return ""
    return f" Training loss is of {' and '.join(kinds)}, as validation loss is not, and may be the higher by that."


def _on_accuracy(curve: Curve) -> str:
    train, validation = curve.train_accuracy, curve.validation_accuracy
    if not train or not validation:
        return f"Trial {curve.number:04d} left no accuracy on both splits."
    gap = train[-1][1] - validation[-1][1]
    way = f"{abs(gap):.3f} {'above' if gap > 0 else 'below'}" if round(gap, 3) else "level with"
    return f"At the end, the training accuracy of trial {curve.number:04d} is {way} its validation accuracy."


def _on_rate(curve: Curve) -> str:
    rates = [rate for _, rate in curve.learning_rate]
    if not rates:
        return f"Trial {curve.number:04d} left no learning rate."
    first, highest, last = (value(float(f"{rate:.2g}")) for rate in (rates[0], max(rates), rates[-1]))
    if max(rates) == min(rates):
        return f"Trial {curve.number:04d} kept its learning rate at {first} throughout."
    way = f" by way of {highest}" if max(rates) > max(rates[0], rates[-1]) else ""
    return f"The learning rate of trial {curve.number:04d} went from {first}{way} to {last}."
