"""Section 6 as one value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraloom.metrics import confusion
from loraloom.report.failures.calibrated import Calibrated, calibrated
from loraloom.report.failures.classes import ClassLine, class_lines
from loraloom.report.failures.groups import Dependence, by_class, by_cut, by_length, by_source, together
from loraloom.report.failures.kept import Kept, read_kept
from loraloom.report.failures.missed import Missed, missed
from loraloom.report.failures.selective import Selective, selective
from loraloom.report.failures.suspects import Suspects, suspects
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.reading import Run
from loraloom.report.wording import duration

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Failures:
    """`split` names the rows that all but `missed` and `suspects` are about; None is what the run did not keep."""

    split: str
    rows: int
    wrong: int
    max_length: int
    classes: tuple[ClassLine, ...]
    by_class: Dependence
    by_length: Dependence | None
    by_cut: Dependence | None
    by_source: Dependence | None
    cut: int | None
    calibrated: Calibrated
    selective: Selective
    missed: Missed | None
    suspects: tuple[Suspects, ...]
    on_training_rows: str


def failures(run: Run, board: Leaderboard, problems: list[str]) -> Failures | None:
    """None where no complete trial left predictions of single rows."""
    kept = read_kept(run, board, problems)
    judged = kept.judged if kept is not None else None
    if kept is None or judged is None:
        return None
    labels = kept.winner.labels
    found = together(
        {
            "class": by_class(judged, labels),
            "length": by_length(judged),
            "cut": by_cut(judged),
            "source": by_source(judged),
        },
        judged,
    )
    counts = confusion(judged.labels, judged.predictions, len(labels))
    of_class = found["class"]
    assert of_class is not None
    return Failures(
        split=judged.split,
        rows=int(judged.labels.size),
        wrong=int((~judged.right).sum()),
        max_length=judged.max_length,
        classes=class_lines(labels, counts),
        by_class=of_class,
        by_length=found["length"],
        by_cut=found["cut"],
        by_source=found["source"],
        cut=None if judged.cut is None else int(np.count_nonzero(judged.cut)),
        calibrated=calibrated(judged, kept.validation),
        selective=selective(judged, kept.validation),
        missed=missed(kept, labels),
        suspects=tuple(suspects(each, labels) for each in (kept.test, kept.validation) if each is not None),
        on_training_rows=_on_training_rows(kept),
    )


def _on_training_rows(kept: Kept) -> str:
    timings = kept.winner.timings
    cost = f"about {duration(FOLDS * timings.seconds)} here" if timings else f"{FOLDS} times a trial's time"
    return (
        "Training rows are not judged: the model has learnt their labels, so what it says of them is no evidence. That "
        f"takes cross-fitting, which this report does not do: {FOLDS} trainings of the winner's configuration, each "
        f"without a fifth of the rows, which it then judges ({cost})."
    )
