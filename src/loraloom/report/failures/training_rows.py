"""Labels of training rows that look wrong, by what classifiers say of rows that they did not learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraloom.errors import RunError
from loraloom.report.failures.kept import summing
from loraloom.report.failures.suspects import Suspects, named
from loraloom.report.reading import RunRead
from loraloom.study.cross_fitted import CrossFitted, read_cross_fitted
from loraloom.study.embeddings import embeddings_key
from loraloom.study.record import TrialRecord
from loraloom.wording import percent

NOT_JUDGED = (
    "Training rows were not judged: the winner has learnt their labels, so what it says of them is no evidence. "
    "`loraloom report RUN` cross-fits them where the model and the data can be had, two classes or more have at least "
    "five different texts each, and its rows are not from Python."
)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """`judge` says by what the rows were judged, `how` more of it; where `suspects` is None, `how` says why."""

    suspects: Suspects | None
    judge: str
    how: str


def training_rows(run: RunRead, winner: TrialRecord, problems: list[str]) -> TrainingRows:
    """What RUN/cross_fitted/ says of the training rows, unless it is of other data or another model."""
    try:
        fitted = read_cross_fitted(run.path, len(winner.labels))
    except RunError as error:
        problems.append(str(error))
        fitted = None
    if fitted is None or fitted.key != embeddings_key(run.recipe, winner):
        return TrainingRows(None, "", NOT_JUDGED)
    shares = summing(fitted.predicted.probabilities.astype(np.float64))
    given = fitted.predicted.labels
    found = named("the linear probe", "training", given, shares, fitted.predicted.rows, fitted.texts, winner.labels)
    judge = f"by a linear probe on the frozen embeddings, {fitted.folds} folds"
    return TrainingRows(found, judge, _how(fitted, judge, float((shares.argmax(axis=1) == given).mean())))


def _how(fitted: CrossFitted, judge: str, accuracy: float) -> str:
    rows = len(fitted.predicted.labels)
    part = (
        f" Judged were {rows:,} of {fitted.of:,} training rows: a part stratified by class, without the rows of a "
        f"class that has fewer than {fitted.folds} different texts."
    )
    return (
        f"Training rows are not judged by the winner, which has learnt their labels, but cross-fitted: {judge}. "
        "Each row is judged by a logistic regression that was fitted without it; they are right on "
        f"{percent(accuracy)} of the rows.{part if rows < fitted.of else ''}"
    )
