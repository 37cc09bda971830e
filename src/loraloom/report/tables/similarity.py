"""similarity.csv (comparisons), similarity_distances.csv (a row for each text), accuracy_by_distance.csv.

Their numbers are rounded: the last digits are the processor's, and change with the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.report.similarity import Similarity
from loraloom.report.tables.cells import Cell, csv_text

DECIMALS = 5


def similarity_tables(found: Similarity) -> dict[str, str]:
    made = {
        "similarity.csv": csv_text(
            ("first", "second", "rows_first", "rows_second", "mmd", "bandwidth", "p", "p_corrected", "auc", "auc_low",
             "auc_high", "verdict"),
            _comparisons(found),
        ),
        "similarity_distances.csv": csv_text(("set", "row", "distance", "correct"), _distances(found)),
    }  # fmt: skip
    if bins := list(_bins(found)):
        head = ("set", "distance_low", "distance_high", "rows", "correct", "accuracy", "accuracy_low", "accuracy_high")
        made["accuracy_by_distance.csv"] = csv_text(head, bins)
    return made


def _comparisons(found: Similarity) -> Iterator[tuple[Cell, ...]]:
    for each in found.comparisons:
        result = each.result
        figures: tuple[Cell, ...] = (None,) * 9
        if result is not None:
            measured = (result.mmd, result.bandwidth, result.p, each.p, result.auc, *result.auc_interval)
            figures = (result.first, result.second, *map(_rounded, measured))
        yield (*each.names, *figures, str(each.verdict))


def _distances(found: Similarity) -> Iterator[tuple[Cell, ...]]:
    for each in found.distances:
        for place, (number, distance) in enumerate(zip(each.numbers, each.distances, strict=True)):
            correct = None if each.correct is None else bool(each.correct[place])
            yield (each.name, int(number), _rounded(distance), correct)


def _bins(found: Similarity) -> Iterator[tuple[Cell, ...]]:
    for trend in (each.trend for each in found.trends):
        for one in trend.bins:
            accuracy = map(_rounded, (one.accuracy, *one.interval))
            yield (trend.name, _rounded(one.low), _rounded(one.high), one.rows, one.correct, *accuracy)


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
