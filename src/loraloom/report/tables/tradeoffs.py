"""tradeoffs.csv: a row for each ranked configuration, its costs, and the fronts that it is on."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.tables.cells import Cell, csv_text
from loraloom.report.tradeoffs import Tradeoffs


def tradeoffs_table(found: Tradeoffs) -> str:
    head = ("rank", "trial", "configuration", "trainable_parameters", "seconds", "validation_metric", "low", "high")
    return csv_text((*head, "seeds", "all_rows", "on_size_front", "on_time_front", "winner"), _rows(found))


def _rows(found: Tradeoffs) -> Iterator[tuple[Cell, ...]]:
    for point in found.points:
        low, high = point.interval or (None, None)
        figures = (point.trainable, point.seconds, point.metric, low, high, point.seeds)
        flags = (point.full, point.on_size_front, point.on_time_front, point.winner)
        yield (point.rank, f"{point.number:04d}", point.name, *figures, *flags)
