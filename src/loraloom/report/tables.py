"""The report's tables as CSV for people, a function for each section.

What can't be shown is replaced, and what a spreadsheet would run is disarmed. A table that may have no rows is left out
where it has none.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from loraloom.intervals import Interval
from loraloom.report.against import Against
from loraloom.report.curves import Curves
from loraloom.report.dataset import Dataset
from loraloom.report.details import Detail
from loraloom.report.effects.section import Effects
from loraloom.report.failures import Failures
from loraloom.report.findings import Findings
from loraloom.report.gap import Gap
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.similarity import Similarity
from loraloom.report.testset import Tested, entries
from loraloom.report.tradeoffs import Tradeoffs
from loraloom.report.wording import clean
from loraloom.study.csv_rows import Cell, CsvRows, disarmed

MOST_POINTS = 2_000
"""Of accuracy against coverage."""
MOST_CLASSES_ACROSS = 500
"""Of the confusion's square: of 2,000 it has 8 MB, nearly all of them zeros."""
DECIMALS = 5
"""Of what comes from embeddings: later digits are the processor's, and change with the number of threads."""


def tables(found: Findings) -> dict[str, str]:
    """File names and their text."""
    made = _leaderboard(found.board) | _details(found.details)
    if found.tradeoffs:
        made |= _tradeoffs(found.tradeoffs)
    made |= _effects(found.effects)
    if found.curves:
        made |= _curves(found.curves)
    if found.gap:
        made |= _gap(found.gap)
    if found.test:
        made |= _tested(found.test)
    if found.failures:
        made |= _failures(found.failures)
    made |= _dataset(found.dataset)
    if not isinstance(found.similarity, str):
        made |= similarity_tables(found.similarity)
    if found.against:
        made |= _against(found.against)
    return made


def safe_cell(value: Cell) -> Cell:
    """A cell as people may open it."""
    return disarmed(clean(value)) if isinstance(value, str) else value


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    buffer = io.StringIO(newline="")
    written = CsvRows(buffer)
    for row in (head, *rows):
        written.write([safe_cell(cell) for cell in row])
    return buffer.getvalue()


def _unless_empty(name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> dict[str, str]:
    held = list(rows)
    return {name: csv_text(head, held)} if held else {}


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval or (None, None)


def _with_ends(*figures: str) -> tuple[str, ...]:
    """The columns of figures that have intervals."""
    return tuple(f"{figure}{end}" for figure in figures for end in ("", "_low", "_high"))


def _leaderboard(board: Leaderboard) -> dict[str, str]:
    """A row for each configuration, ranked or not."""
    head = ("rank", "state", "winner", "trials", "seeds", *board.axes, "trainable_parameters", "validation_rows",
            "validation_accuracy", "accuracy_low", "accuracy_high", "interval_of", "validation_macro_f1",
            "validation_loss", "seconds", "reason")  # fmt: skip
    rows = (
        (row.rank, row.state, row.is_winner, row.trials, row.seeds, *row.values, row.trainable, row.examples or None,
         row.accuracy, *_ends(row.interval), row.interval_of if row.interval else None, row.macro_f1, row.loss,
         row.seconds, "; ".join(row.reasons))
        for row in board.rows
    )  # fmt: skip
    return {"leaderboard.csv": csv_text(head, rows)}


def _details(found: Sequence[Detail]) -> dict[str, str]:
    """What is drawn in the leaderboard's rows: each point of a curve, each count of a confusion."""
    points = (
        (f"{detail.number:04d}", sketch.title.lower(), split, epoch, value)
        for detail in found
        for sketch in detail.sketches
        for split, points in (("train", sketch.train), ("validation", sketch.validation))
        for epoch, value in points
    )
    counts = (
        (f"{detail.number:04d}", label, predicted, number)
        for detail in found
        if detail.matrix
        for label, line in zip(detail.matrix.labels, detail.matrix.counts, strict=True)
        for predicted, number in zip(detail.matrix.labels, line, strict=True)
    )
    return {
        **_unless_empty("rows_curves.csv", ("trial", "figure", "split", "epoch", "value"), points),
        **_unless_empty("rows_confusion.csv", ("trial", "true", "predicted", "rows"), counts),
    }


def _tradeoffs(found: Tradeoffs) -> dict[str, str]:
    """A row for each ranked configuration: its costs, and the fronts that it is on."""
    head = ("rank", "trial", "configuration", "trainable_parameters", "seconds", "validation_metric", "low", "high",
            "seeds", "all_rows", "on_size_front", "on_time_front", "winner")  # fmt: skip
    rows = (
        (one.rank, f"{one.number:04d}", one.name, one.trainable, one.seconds, one.metric, *_ends(one.interval),
         one.seeds, one.full, one.on_size_front, one.on_time_front, one.winner)
        for one in found.points
    )  # fmt: skip
    return {"tradeoffs.csv": csv_text(head, rows)}


def _effects(found: Effects) -> dict[str, str]:
    """A row for each comparison, for each axis's share, and for each cell of an interaction."""
    if found.analysis is None:
        return {}
    head = ("among", "axis", "comparison", "verdict", "difference", "low", "high", "p_value_corrected",
            "configurations", "pairs", "paired_difference", "paired_low", "paired_high", "with_axes",
            "configurations_needed")  # fmt: skip
    among = {"all, as first seen": found.effects, "survivors only": found.survivors.effects if found.survivors else ()}
    rows = (
        (where, one.axis, one.title, one.verdict, one.estimate, *_ends(one.interval), one.p_value, one.configurations,
         one.pairs.count, one.pairs.mean, *_ends(one.pairs.interval), "; ".join(one.with_axes), one.needed)
        for where, effects in among.items()
        for one in effects
    )  # fmt: skip
    cells = (
        (each.first, each.second, each.p_value, first, second, cell.mean, cell.count)
        for each in found.analysis.interactions.found
        for first, line in zip(each.first_labels, each.cells, strict=True)
        for second, cell in zip(each.second_labels, line, strict=True)
    )
    crossed = ("first_axis", "second_axis", "p_value_corrected", "first", "second", "adjusted_mean", "configurations")
    return {
        "effects.csv": csv_text(head, rows),
        **_unless_empty("importances.csv", ("axis", "share"), (found.importances or {}).items()),
        **_unless_empty("interactions.csv", crossed, cells),
    }


def _curves(found: Curves) -> dict[str, str]:
    """A row for each point that is drawn."""
    series = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate")
    rows = (
        (f"{curve.number:04d}", curve.name, name, epoch, value)
        for curve in found.trials
        for name in series
        for epoch, value in getattr(curve, name)
    )
    return {"curves.csv": csv_text(("trial", "configuration", "series", "epoch", "value"), rows)}


def _gap(found: Gap) -> dict[str, str]:
    """The gap by epoch and at the last evaluation, a row for each rank."""
    rows: list[tuple[Cell, ...]] = [
        ("by epoch", series.rank, epoch, gap, None, None, count)
        for series in found.series
        for epoch, gap, count in series.points
    ]
    rows += [
        ("last evaluation", f"{rank:g}", None, gap, *_ends(interval), count)
        for rank, gap, interval, count in found.by_rank
    ]
    return {"gap.csv": csv_text(("what", "rank", "epoch", "gap", "low", "high", "configurations"), rows)}


def _tested(found: Tested) -> dict[str, str]:
    """The test rows: the confusion, each class, and the errors that the winner was surest of."""
    classes = (
        (label, each.precision, each.recall, *_ends(each.recall_interval), each.f1, each.support)
        for label, each in zip(found.labels, found.classes, strict=True)
    )
    errors = (
        (error.row, error.label, error.prediction, error.confidence, error.of_true, error.text)
        for error in found.errors
    )
    return {
        "confusion.csv": _confusion(found),
        "classes.csv": csv_text(
            ("class", "precision", "recall", "recall_low", "recall_high", "f1", "support"), classes
        ),
        "worst_errors.csv": csv_text(("row", "true", "predicted", "confidence", "probability_of_true", "text"), errors),
    }


def _confusion(found: Tested) -> str:
    """A square of counts; of more classes than fit across, a line for each entry that is not 0."""
    labels = found.labels
    if len(labels) > MOST_CLASSES_ACROSS:
        held = ((labels[true], labels[predicted], rows) for true, predicted, rows in entries(found.counts))
        return csv_text(("true", "predicted", "rows"), held)
    return csv_text(
        ("true \\ predicted", *labels),
        ((label, *line) for label, line in zip(labels, found.matrix, strict=True)),
    )


def _failures(found: Failures) -> dict[str, str]:
    """Where the winner fails: classes, confidence, thresholds, groups of rows, missed rows, labels that look wrong."""
    classes = (
        (each.label, each.rows, each.predicted, each.precision, *_ends(each.precision_interval), each.recall,
         *_ends(each.recall_interval), each.f1, *_ends(each.f1_interval))
        for each in found.classes
    )  # fmt: skip
    mended = found.calibrated.mended
    reliability = (
        (name, each.low, each.high, each.rows, each.confidence, each.accuracy, *each.interval)
        for name, bins in (("as trained", found.calibrated.bins), ("with temperature", mended.bins if mended else ()))
        for each in bins
    )
    curve = found.selective.curve
    kept = curve.spread(MOST_POINTS)
    coverage = np.stack([curve.threshold, curve.coverage, curve.accuracy, curve.low, curve.high], axis=1)[kept]
    targets = (
        (each.wanted, each.threshold, each.coverage, *each.coverage_interval, each.accuracy,
         *_ends(each.accuracy_interval))
        for each in found.selective.targets
    )  # fmt: skip
    groups = {"length": found.by_length, "cut": found.by_cut, "source": found.by_source}
    missed = (
        (each.row, each.label, each.prediction, each.agreeing, each.of_given, each.text)
        for each in (found.missed.worst if found.missed else ())
    )
    suspects = (
        (of.split, each.row, each.label, each.suggested, each.of_given, each.of_suggested, each.text)
        for of in found.judged_labels
        for each in of.worst
    )
    return {
        "class_intervals.csv": csv_text(
            ("class", "rows", "predicted", *_with_ends("precision", "recall", "f1")), classes
        ),
        "reliability.csv": csv_text(
            ("bins_of", "from", "to", "rows", "confidence", "accuracy", "low", "high"), reliability
        ),
        "coverage.csv": csv_text(("threshold", "coverage", "accuracy", "low", "high"), coverage.tolist()),
        **_unless_empty("thresholds.csv", ("wanted", "threshold", *_with_ends("coverage", "accuracy")), targets),
        **{
            f"accuracy_by_{name}.csv": csv_text(
                ("group", "rows", "right", "accuracy", "low", "high"),
                ((each.name, each.rows, each.right, each.accuracy, *each.interval) for each in dependence.groups),
            )
            for name, dependence in groups.items()
            if dependence is not None
        },
        **_unless_empty(
            "missed_by_all.csv",
            ("row", "label", "predicted", "trials_agreeing", "mean_probability_of_label", "text"),
            missed,
        ),
        **_unless_empty(
            "suspect_labels.csv",
            ("split", "row", "label", "looks_like", "probability_of_label", "probability_of_other", "text"),
            suspects,
        ),
    }


def _dataset(found: Dataset) -> dict[str, str]:
    """Class shares, lengths, and what splits have in common."""
    counts, splits = found.counts, found.splits
    classes = (
        (each.label, *(cell for split in splits for cell in (each.rows[split], each.shares[split])))
        for each in found.classes
    )
    overlaps = ((each.split, each.other, each.equal, each.near) for each in counts.overlaps)
    return {
        **_unless_empty(
            "class_shares.csv",
            ("class", *(f"{split}_{what}" for split in splits for what in ("rows", "share"))),
            classes,
        ),
        **_unless_empty(
            "lengths.csv",
            ("split", "rows_measured", *(f"tokens_at_{at}_percent" for at in counts.at), "rows_cut"),
            ((each.split, each.measured, *each.quantiles, each.cut) for each in counts.lengths),
        ),
        **_unless_empty("overlaps.csv", ("split", "other", "rows_equal", "rows_nearly_equal"), overlaps),
    }


def similarity_tables(found: Similarity) -> dict[str, str]:
    """The comparisons, a row for each text, and accuracy by distance."""
    head = ("first", "second", "rows_first", "rows_second", "mmd", "bandwidth", "p", "p_corrected", "auc", "auc_low",
            "auc_high", "verdict")  # fmt: skip
    comparisons: list[tuple[Cell, ...]] = []
    for each in found.comparisons:
        figures: tuple[Cell, ...] = (None,) * 9
        if (result := each.result) is not None:
            measured = (result.mmd, result.bandwidth, result.p, each.p, result.auc, *result.auc_interval)
            figures = (result.first, result.second, *map(_rounded, measured))
        comparisons.append((*each.names, *figures, str(each.verdict)))
    distances = (
        (each.name, int(number), _rounded(distance), None if each.correct is None else bool(each.correct[place]))
        for each in found.distances
        for place, (number, distance) in enumerate(zip(each.numbers, each.distances, strict=True))
    )
    bins: Iterator[Sequence[Cell]] = (
        (one.trend.name, _rounded(each.low), _rounded(each.high), each.rows, each.correct,
         *map(_rounded, (each.accuracy, *each.interval)))
        for one in found.trends
        for each in one.trend.bins
    )  # fmt: skip
    return {
        "similarity.csv": csv_text(head, comparisons),
        "similarity_distances.csv": csv_text(("set", "row", "distance", "correct"), distances),
        **_unless_empty(
            "accuracy_by_distance.csv",
            ("set", "distance_low", "distance_high", "rows", "correct", *_with_ends("accuracy")),
            bins,
        ),
    }


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)


def _against(found: Against) -> dict[str, str]:
    """Both winners on the shared rows, and every row that one alone has right."""
    head = ("run", "path", "trial", "shared_rows", "correct", *_with_ends("accuracy"), "trainable_parameters",
            "trial_seconds", "search_seconds", "trials", *_with_ends("difference"), "mcnemar_p")  # fmt: skip
    sides = (
        (side.name, side.path, side.trial, found.rows, side.correct, side.accuracy, *side.interval, side.trainable,
         side.trial_seconds, side.search_seconds, side.trials, sign * found.difference,
         *(sorted(sign * end for end in found.interval) if found.interval else (None, None)), found.p)
        for side, sign in ((found.first, 1), (found.second, -1))
    )  # fmt: skip
    changed = (
        (one.row, one.label, one.first, one.first_confidence, one.second, one.second_confidence, one.text)
        for one in found.changed
    )
    return {
        "two_runs.csv": csv_text(head, sides),
        "changed_sides.csv": csv_text(
            ("row", "label", "first", "first_confidence", "second", "second_confidence", "text"), changed
        ),
    }
