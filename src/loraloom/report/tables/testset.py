"""The test rows: confusion.csv, classes.csv, worst_errors.csv."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.tables.cells import Cell, csv_text
from loraloom.report.testset import Tested


def test_tables(test: Tested) -> dict[str, str]:
    return {
        "confusion.csv": csv_text(("true \\ predicted", *test.labels), _confusion(test)),
        "classes.csv": csv_text(
            ("class", "precision", "recall", "recall_low", "recall_high", "f1", "support"), _classes(test)
        ),
        "worst_errors.csv": csv_text(
            ("row", "true", "predicted", "confidence", "probability_of_true", "text"), _errors(test)
        ),
    }


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
