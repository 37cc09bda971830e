"""Rows that errors are looked for in: those that the winner is judged on, and what the best trials said of validation.

Of a long search only the best few dozen trials are read, so that a report of 10,000 trials costs what one of 24 does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from loraloom.errors import RunError
from loraloom.report.leaderboard import Leaderboard, winning
from loraloom.report.reading import RunRead
from loraloom.study.evidence import KeptRow, Predicted, agrees, read_predicted, read_rows
from loraloom.study.leaderboard import reach, validation
from loraloom.study.provenance import rows_of
from loraloom.study.record import TrialRecord
from loraloom.study.run import BEST

T = TypeVar("T")
MOST_TRIALS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """N rows that the winner did not learn from; what a run did not keep is None.

    `labels`, `predictions` and `numbers` are (N,), `probabilities` (N, C). `tokens` (N,) are counted before texts are
    cut, `cut` (N,) says which were.
    """

    split: Literal["test", "validation"]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    predictions: NDArray[np.int64]
    numbers: NDArray[np.int64]
    texts: tuple[str, ...] | None
    tokens: NDArray[np.int64] | None
    sources: tuple[str, ...] | None
    max_length: int

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.predictions == self.labels, dtype=np.bool_)

    @property
    def cut(self) -> NDArray[np.bool_] | None:
        return None if self.tokens is None else self.tokens > self.max_length


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a run kept of single rows.

    `panel` has the predictions of the best trials that saw as many rows as the winner, by number, best first; `of` is
    how many such trials there are, and `of_all` how many did not fail, on however many rows. `rows` are validation rows
    by number.
    """

    winner: TrialRecord
    validation: Judged | None
    test: Judged | None
    panel: Mapping[int, Predicted]
    of: int
    of_all: int
    configurations: int
    rows: Mapping[int, KeptRow]

    @property
    def judged(self) -> Judged | None:
        """The test rows, or where there are none the validation rows."""
        return self.test or self.validation


def read_kept(run: RunRead, board: Leaderboard, problems: list[str]) -> Kept | None:
    """The rows of the winner, or of the best so far; None where no trial is complete.

    A file that is damaged, or does not fit, is named in `problems`, and left out.
    """
    winner = winning(run, board)
    if winner is None:
        return None
    classes = len(winner.labels)
    rows = _rows(run, classes, problems)
    limit = rows_of(run.recipe).get("validation")

    def predicted(record: TrialRecord, folder: Path | None) -> Predicted | None:
        if folder is None or len(record.labels) != classes:
            return None
        try:
            found = read_predicted(folder, classes, limit)
        except RunError as error:
            problems.append(str(error))
            return None
        return None if found is None or _contradicts(found, record, rows, problems) else found

    own = predicted(winner, run.path / BEST if winner.is_soup else run.folders.get(winner.number))
    trial = None if winner.is_soup else winner.number  # the mean of some is none of them
    panel = {} if own is None or trial is None else {trial: own}
    alike = _alike(run, winner)
    for record in alike[:MOST_TRIALS]:
        if record.number != trial and (found := predicted(record, run.folders.get(record.number))) is not None:
            panel[record.number] = found
    order = [record.number for record in alike if record.number in panel]
    return Kept(
        winner=winner,
        validation=None if own is None else _of_validation(own, rows, winner, run),
        test=_of_test(run, winner),
        panel={number: panel[number] for number in order},
        of=len(alike),
        of_all=sum(record.state != "failed" for record in run.records),
        configurations=len({record.point_key for record in alike if record.number in panel}),
        rows=rows,
    )


def _alike(run: RunRead, winner: TrialRecord) -> list[TrialRecord]:
    """Complete trials that have seen as many rows as the winner, best first."""
    metric = run.recipe.search.metric
    found = [each for each in run.records if each.state == "complete" and each.result and reach(each) == reach(winner)]
    return sorted(found, key=lambda record: (-validation(record, metric), record.number))


def _rows(run: RunRead, classes: int, problems: list[str]) -> dict[int, KeptRow]:
    try:
        return read_rows(run.path, classes)
    except RunError as error:
        problems.append(str(error))
        return {}


def _contradicts(predicted: Predicted, record: TrialRecord, rows: Mapping[int, KeptRow], problems: list[str]) -> bool:
    """Whether predictions are not of the trial that they lie beside, or of other rows than the run's."""
    result, right = record.result, predicted.right
    where = f"trial {record.number:04d}: its validation predictions can't be trusted:"
    if result is not None and not agrees(predicted, record):
        problems.append(
            f"{where} its record has {result.validation.correct:,} of {result.validation.examples:,} rows right, they "
            f"{int(right.sum()):,} of {right.size:,}"
        )
        return True
    for number, label in zip(predicted.rows.tolist(), predicted.labels.tolist(), strict=True):
        if number in rows and rows[number].label != label:
            problems.append(f"{where} row {number} has another label than in rows/")
            return True
    return False


def _of_validation(own: Predicted, rows: Mapping[int, KeptRow], winner: TrialRecord, run: RunRead) -> Judged:
    known = _all(rows.get(number) for number in own.rows.tolist())
    same_model = run.recipe.configuration({}).backbone.model == winner.configuration.backbone.model
    tokens = _all(row.tokens for row in known) if known is not None and same_model else None
    return Judged(
        split="validation",
        labels=own.labels,
        probabilities=summing(own.probabilities.astype(np.float64)),
        predictions=own.predictions,
        numbers=own.rows,
        texts=None if known is None else tuple(row.text for row in known),
        tokens=None if tokens is None else np.array(tokens),
        sources=None if known is None else _all(row.source for row in known),
        max_length=winner.configuration.data.max_length,
    )


def _of_test(run: RunRead, winner: TrialRecord) -> Judged | None:
    rows = run.best.predictions if run.best else ()
    if not rows:
        return None
    tokens = _all(row.tokens for row in rows)
    return Judged(
        split="test",
        labels=np.array([row.label for row in rows]),
        probabilities=summing(np.array([row.probabilities for row in rows], dtype=np.float64)),
        predictions=np.array([row.prediction for row in rows]),
        numbers=np.array([row.row for row in rows]),
        texts=tuple(row.text for row in rows),
        tokens=None if tokens is None else np.array(tokens),
        sources=_all(row.source for row in rows),
        max_length=winner.configuration.data.max_length,
    )


def _all(given: Iterable[T | None]) -> tuple[T, ...] | None:
    """What each row has; None where one lacks it."""
    found = tuple(given)
    known = tuple(each for each in found if each is not None)
    return known if len(known) == len(found) else None


def summing(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, C) whose rows sum to 1, whatever a file has rounded."""
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), dtype=np.float64)
