"""What the winner did on the test rows: its confusion, each class, and the errors that it was surest of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loraloom.metrics import ClassScore, class_scores, confusion
from loraloom.report.reading import Best, Prediction
from loraloom.wording import plural

MOST_ERRORS = 20
MOST_PAIRS = 20
MOST_CLASSES_IN_MATRIX = 20


@dataclass(frozen=True, slots=True)
class Error:
    """A wrong test row; `confidence` is the probability of what was predicted, `of_true` of what is right."""

    row: int
    text: str
    label: str
    prediction: str
    confidence: float
    of_true: float


@dataclass(frozen=True, slots=True)
class Pair:
    """`rows` test rows of class `label` were taken for `prediction`; `share` of the class."""

    label: str
    prediction: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Tested:
    """`counts` (C, C) are the rows of true class t predicted as p; `pairs` are its largest wrong entries."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64] = field(compare=False)
    classes: tuple[ClassScore, ...]
    pairs: tuple[Pair, ...]
    errors: tuple[Error, ...]
    wrong: int
    rows: int
    majority_label: str
    majority_share: float

    @property
    def sentence(self) -> str:
        """How many of its rows were wrong."""
        return f"{self.wrong:,} of {plural(self.rows, 'test row')} {'was' if self.wrong == 1 else 'were'} wrong."

    @property
    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """The counts, line by line."""
        return tuple(map(tuple, self.counts.tolist()))

    @property
    def matrix_fits(self) -> bool:
        return len(self.labels) <= MOST_CLASSES_IN_MATRIX


def tested(best: Best, problems: list[str]) -> Tested | None:
    """None where the winner left no test predictions; what contradicts its record goes to `problems`."""
    rows = best.predictions
    if not rows:
        return None
    labels = best.record.labels
    counts = confusion([row.label for row in rows], [row.prediction for row in rows], len(labels))
    wrong = sorted((row for row in rows if not row.is_right), key=lambda row: (-row.confidence, row.row))
    majority = int(counts.sum(axis=1).argmax())  # the first of as many, as where the search ends
    _compare(best, len(rows) - len(wrong), problems)
    return Tested(
        labels=labels,
        counts=counts,
        classes=class_scores(counts),
        pairs=_pairs(labels, counts),
        errors=tuple(_error(row, labels) for row in wrong[:MOST_ERRORS]),
        wrong=len(wrong),
        rows=len(rows),
        majority_label=labels[majority],
        majority_share=int(counts[majority].sum()) / len(rows),
    )


def _error(row: Prediction, labels: Sequence[str]) -> Error:
    return Error(
        row=row.row,
        text=row.text,
        label=labels[row.label],
        prediction=labels[row.prediction],
        confidence=row.confidence,
        of_true=row.probabilities[row.label],
    )


def _pairs(labels: Sequence[str], counts: NDArray[np.int64]) -> tuple[Pair, ...]:
    of_class = counts.sum(axis=1).tolist()
    wrong = [
        Pair(labels[true], labels[predicted], rows, rows / of_class[true])
        for true, predicted, rows in entries(counts)
        if true != predicted
    ]
    return tuple(sorted(wrong, key=lambda pair: (-pair.rows, pair.label, pair.prediction))[:MOST_PAIRS])


def entries(counts: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """True class, predicted class and rows of each of `counts` (C, C) that is not 0: no more than there are rows."""
    true, predicted = np.nonzero(counts)
    yield from zip(true.tolist(), predicted.tolist(), counts[true, predicted].tolist(), strict=True)


def _compare(best: Best, correct: int, problems: list[str]) -> None:
    """The record's accuracy and the predictions beside it must be of the same rows."""
    recorded = best.record.result.test if best.record.result else None
    rows = len(best.predictions)
    if recorded and (recorded.examples, recorded.correct) != (rows, correct):
        problems.append(
            f"trial.json has {recorded.correct:,} of {recorded.examples:,} test rows right, the test predictions "
            f"{correct:,} of {rows:,}: they are not of the same test"
        )
