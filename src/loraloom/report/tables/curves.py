"""curves.csv: a row for each point that is drawn."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.curves import Curves
from loraloom.report.tables.cells import Cell, csv_text


def curves_table(found: Curves) -> str:
    return csv_text(("trial", "configuration", "series", "epoch", "value"), _rows(found))


def _rows(found: Curves) -> Iterator[tuple[Cell, ...]]:
    series = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate")
    for curve in found.trials:
        for name in series:
            for epoch, value in getattr(curve, name):
                yield (f"{curve.number:04d}", curve.name, name, epoch, value)
