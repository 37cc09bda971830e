"""The report's tables as CSV for people: a text that a spreadsheet would run as a formula is disarmed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from loraloom.report.curves import Curves
from loraloom.report.findings import Findings
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.testset import Tested
from loraloom.report.wording import clean

Cell = str | int | float | bool | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def tables(found: Findings) -> dict[str, str]:
    """File names and their text; a table that has no rows is left out."""
    made = {"leaderboard.csv": _csv(_leaderboard_head(found.board), _leaderboard(found.board))}
    if found.curves:
        made["curves.csv"] = _csv(("trial", "configuration", "series", "epoch", "value"), _curves(found.curves))
    if found.test:
        made["confusion.csv"] = _csv(("true \\ predicted", *found.test.labels), _confusion(found.test))
        made["classes.csv"] = _csv(
            ("class", "precision", "recall", "recall_low", "recall_high", "f1", "support"),
            _classes(found.test),
        )
        made["worst_errors.csv"] = _csv(
            ("row", "true", "predicted", "confidence", "probability_of_true", "text"), _errors(found.test)
        )
    return made


def safe_cell(value: Cell) -> Cell:
    """Text that begins like a formula gets a ' before it; numbers are numbers, whatever their sign."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in head])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _leaderboard_head(board: Leaderboard) -> tuple[str, ...]:
    figures = (
        "trainable_parameters",
        "validation_rows",
        "validation_accuracy",
        "accuracy_low",
        "accuracy_high",
        "interval_of",
        "validation_macro_f1",
        "validation_loss",
        "seconds",
    )
    return ("rank", "state", "winner", "trials", "seeds", *board.axes, *figures, "reason")


def _leaderboard(board: Leaderboard) -> Iterator[tuple[Cell, ...]]:
    for row in board.rows:
        low, high = row.interval or (None, None)
        yield (
            row.rank,
            row.state,
            row.is_winner,
            row.trials,
            row.seeds,
            *row.values,
            row.trainable,
            row.examples or None,
            row.accuracy,
            low,
            high,
            row.interval_of if row.interval else None,
            row.macro_f1,
            row.loss,
            row.seconds,
            "; ".join(row.reasons),
        )


def _curves(found: Curves) -> Iterator[tuple[Cell, ...]]:
    series = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate")
    for curve in found.trials:
        for name in series:
            for epoch, value in getattr(curve, name):
                yield (f"{curve.number:04d}", curve.name, name, epoch, value)


def _confusion(test: Tested) -> Iterator[tuple[Cell, ...]]:
    for label, line in zip(test.labels, test.matrix, strict=True):
        yield (label, *line)


def _classes(test: Tested) -> Iterator[tuple[Cell, ...]]:
    for label, each in zip(test.labels, test.classes, strict=True):
        low, high = each.recall_interval or (None, None)
        yield (label, each.precision, each.recall, low, high, each.f1, each.support)


def _errors(test: Tested) -> Iterator[tuple[Cell, ...]]:
    for error in test.errors:
        yield (error.row, error.label, error.prediction, error.confidence, error.of_true, error.text)
