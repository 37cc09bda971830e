"""two_runs.csv: both winners on the shared rows; changed_sides.csv: every row that one alone has right."""

from __future__ import annotations

from loraloom.report.against import Against
from loraloom.report.tables.cells import csv_text


def against_tables(found: Against) -> dict[str, str]:
    figures = ("run", "path", "trial", "shared_rows", "correct", "accuracy", "accuracy_low", "accuracy_high",
               "trainable_parameters", "trial_seconds", "search_seconds", "trials",
               "difference", "difference_low", "difference_high", "mcnemar_p")  # fmt: skip
    sides = [
        (side.name, side.path, side.trial, found.rows, side.correct, side.accuracy, *side.interval, side.trainable,
         side.trial_seconds, side.search_seconds, side.trials, sign * found.difference,
         *(sorted(sign * end for end in found.interval) if found.interval else (None, None)), found.p)
        for side, sign in ((found.first, 1), (found.second, -1))
    ]  # fmt: skip
    head = ("row", "label", "first", "first_confidence", "second", "second_confidence", "text")
    rows = [
        (one.row, one.label, one.first, one.first_confidence, one.second, one.second_confidence, one.text)
        for one in found.changed
    ]
    return {"two_runs.csv": csv_text(figures, sides), "changed_sides.csv": csv_text(head, rows)}
