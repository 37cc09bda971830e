"""leaderboard.csv: a row for each configuration, ranked or not."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.leaderboard import Leaderboard
from loraloom.report.tables.cells import Cell, csv_text


def leaderboard_table(board: Leaderboard) -> str:
    return csv_text(_head(board), _rows(board))


def _head(board: Leaderboard) -> tuple[str, ...]:
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


def _rows(board: Leaderboard) -> Iterator[tuple[Cell, ...]]:
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
