"""What rows beyond the first hundred show when they are opened: their evaluations and confusions, packed.

Ten thousand rows drawn as the first hundred are would take a hundred megabytes. So the page holds their figures alone,
as deflated JSON in base64, some 100 bytes a row, and its script draws a row as board.html.jinja draws the first ones
(board.js: `drawnSketch`, `smallMatrix`). Confusions are those of the records: predictions of validation rows, which are
a hundred times as long, are not read.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from loraloom.report import wording
from loraloom.report.details import MOST_ROWS, short_labels, why_left_out
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.reading import RunRead, read_evaluations
from loraloom.study.record import Evaluation, TrialRecord

WHY_NONE = "It has no confusion here: its record keeps none of the run's classes."
_FIGURES = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def packed_rows(run: RunRead, board: Leaderboard, problems: list[str]) -> str | None:
    """`{"across": labels, "down": labels, "why": sentence, "trials": {"0123": [evaluations, confusion]}}`, packed.

    An evaluation has the `_FIGURES`, null where one is not finite; a confusion its counts line by line, or is null, and
    `why` says why. None where every row is among the first.
    """
    rows = board.rows[MOST_ROWS:]
    if not rows:
        return None
    labels, records = run.records[0].labels, [row.record for row in rows]
    evaluations = read_evaluations(run, [record.number for record in records], problems)
    trials = {
        f"{record.number:04d}": [_lines(evaluations.get(record.number, ())), _counts(record, labels)]
        for record in records
    }
    across, down = short_labels(labels)
    content = {"across": across, "down": down, "why": why_left_out(labels) or WHY_NONE, "trials": trials}
    return base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)).decode()


def _lines(evaluations: Sequence[Evaluation]) -> list[list[float | None]]:
    return [[_short(getattr(line, name)) for name in _FIGURES] for line in evaluations]


def _short(figure: float) -> float | None:
    """Of four digits, or of as many more as it takes for its texts not to be those of another figure."""
    if not math.isfinite(figure):
        return None
    tried, written = (float(f"{figure:.{digits}g}") for digits in range(4, 18)), _texts(figure)
    return next(short for short in tried if _texts(short) == written)


def _texts(figure: float) -> tuple[str, str, str, str]:
    """What is written of a share, of a loss, and of an epoch, in a sentence and at the end of an axis."""
    return wording.share(figure), wording.loss(figure), wording.passes(figure), f"{figure:.3g}"


def _counts(record: TrialRecord, labels: Sequence[str]) -> list[Any] | None:
    confusion = record.result.validation.confusion if record.result else None
    if confusion is None or tuple(record.labels) != tuple(labels):
        return None
    return [number for line in confusion for number in line]
