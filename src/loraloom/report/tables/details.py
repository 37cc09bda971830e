"""What is drawn in the leaderboard's rows: rows_curves.csv, a row for each point, and rows_confusion.csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loraloom.report.details import Detail
from loraloom.report.tables.cells import Cell, csv_text


def details_tables(found: Sequence[Detail]) -> dict[str, str]:
    made = {}
    if any(detail.sketches for detail in found):
        made["rows_curves.csv"] = csv_text(("trial", "figure", "split", "epoch", "value"), _points(found))
    if any(detail.matrix for detail in found):
        made["rows_confusion.csv"] = csv_text(("trial", "true", "predicted", "rows"), _counts(found))
    return made


def _points(found: Sequence[Detail]) -> Iterator[tuple[Cell, ...]]:
    for detail in found:
        for sketch in detail.sketches:
            for split, points in (("train", sketch.train), ("validation", sketch.validation)):
                for epoch, value in points:
                    yield (f"{detail.number:04d}", sketch.title.lower(), split, epoch, value)


def _counts(found: Sequence[Detail]) -> Iterator[tuple[Cell, ...]]:
    for detail in found:
        matrix = detail.matrix
        for label, line in zip(matrix.labels, matrix.counts, strict=True) if matrix else ():
            for predicted, number in zip(matrix.labels if matrix else (), line, strict=True):
                yield (f"{detail.number:04d}", label, predicted, number)
