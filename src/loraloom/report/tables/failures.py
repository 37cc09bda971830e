"""Section 6 as CSV: reliability, coverage, thresholds, accuracy by groups, missed rows, labels that look wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from loraloom.calibration import Bin
from loraloom.report.failures import Failures
from loraloom.report.failures.groups import Dependence
from loraloom.report.failures.missed import Missed
from loraloom.report.failures.selective import Selective
from loraloom.report.failures.suspects import Suspects
from loraloom.report.tables.cells import Cell, csv_text

MOST_POINTS = 2_000


def failure_tables(found: Failures) -> dict[str, str]:
    """File names and their text; a table that has no rows is left out."""
    made = {
        "class_intervals.csv": csv_text(_CLASS_HEAD, _classes(found)),
        "reliability.csv": csv_text(
            ("bins_of", "from", "to", "rows", "confidence", "accuracy", "low", "high"), _reliability(found)
        ),
        "coverage.csv": csv_text(("threshold", "coverage", "accuracy", "low", "high"), _coverage(found.selective)),
    }
    if found.selective.targets:
        made["thresholds.csv"] = csv_text(_TARGET_HEAD, _targets(found.selective))
    for name, dependence in (
        ("accuracy_by_length", found.by_length),
        ("accuracy_by_cut", found.by_cut),
        ("accuracy_by_source", found.by_source),
    ):
        if dependence is not None:
            made[f"{name}.csv"] = csv_text(("group", "rows", "right", "accuracy", "low", "high"), _groups(dependence))
    if found.missed is not None and found.missed.worst:
        made["missed_by_all.csv"] = csv_text(
            ("row", "label", "predicted", "trials_agreeing", "mean_probability_of_label", "text"), _missed(found.missed)
        )
    if any(each.worst for each in found.judged_labels):
        made["suspect_labels.csv"] = csv_text(
            ("split", "row", "label", "looks_like", "probability_of_label", "probability_of_other", "text"),
            _suspects(found.judged_labels),
        )
    return made


_CLASS_HEAD = (
    "class",
    "rows",
    "predicted",
    *(f"{figure}{end}" for figure in ("precision", "recall", "f1") for end in ("", "_low", "_high")),
)
_TARGET_HEAD = (
    "wanted",
    "threshold",
    *(f"{figure}{end}" for figure in ("coverage", "accuracy") for end in ("", "_low", "_high")),
)


def _classes(found: Failures) -> Iterator[tuple[Cell, ...]]:
    for each in found.classes:
        yield (
            *(each.label, each.rows, each.predicted),
            *(each.precision, *(each.precision_interval or (None, None))),
            *(each.recall, *(each.recall_interval or (None, None))),
            *(each.f1, *(each.f1_interval or (None, None))),
        )


def _reliability(found: Failures) -> Iterator[tuple[Cell, ...]]:
    def lines(name: str, bins: Sequence[Bin]) -> Iterator[tuple[Cell, ...]]:
        for each in bins:
            yield (name, each.low, each.high, each.rows, each.confidence, each.accuracy, *each.interval)

    yield from lines("as trained", found.calibrated.bins)
    if found.calibrated.mended is not None:
        yield from lines("with temperature", found.calibrated.mended.bins)


def _coverage(found: Selective) -> Iterator[tuple[Cell, ...]]:
    curve = found.curve
    for at in np.unique(np.linspace(0, len(curve.coverage) - 1, MOST_POINTS).round().astype(int)).tolist():
        columns = curve.threshold, curve.coverage, curve.accuracy, curve.low, curve.high
        yield tuple(float(column[at]) for column in columns)


def _targets(found: Selective) -> Iterator[tuple[Cell, ...]]:
    for each in found.targets:
        accuracy = (each.accuracy, *(each.accuracy_interval or (None, None)))
        yield (each.wanted, each.threshold, each.coverage, *each.coverage_interval, *accuracy)


def _groups(found: Dependence) -> Iterator[tuple[Cell, ...]]:
    for each in found.groups:
        yield (each.name, each.rows, each.right, each.accuracy, *each.interval)


def _missed(found: Missed) -> Iterator[tuple[Cell, ...]]:
    for each in found.worst:
        yield (each.row, each.label, each.prediction, each.agreeing, each.of_given, each.text)


def _suspects(found: Sequence[Suspects]) -> Iterator[tuple[Cell, ...]]:
    for of in found:
        for each in of.worst:
            yield (of.split, each.row, each.label, each.suggested, each.of_given, each.of_suggested, each.text)
