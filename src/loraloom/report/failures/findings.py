"""Where the winner fails, as one value: a section of the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraloom.metrics import confusion
from loraloom.report.failures.calibrated import Calibrated, as_used, calibrated
from loraloom.report.failures.classes import ClassLine, class_lines
from loraloom.report.failures.groups import Dependence, by_class, by_cut, by_length, by_source, together
from loraloom.report.failures.kept import read_kept
from loraloom.report.failures.missed import Missed, missed
from loraloom.report.failures.selective import Selective, selective
from loraloom.report.failures.suspects import Suspects, suspects
from loraloom.report.failures.training_rows import TrainingRows, training_rows
from loraloom.report.leaderboard import Leaderboard
from loraloom.report.reading import RunRead
from loraloom.report.wording import listed
from loraloom.wording import plural


@dataclass(frozen=True, slots=True)
class Failures:
    """`split` names the rows that all but `missed` and `suspects` are about; None is what the run did not keep.

    `suspects` are of rows that the winner judged; `training` is of those that it learnt from.
    """

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
    training: TrainingRows

    @property
    def hardest_first(self) -> tuple[ClassLine, ...]:
        """The classes by their F1, the least first; last those without one, or without rows."""
        return tuple(sorted(self.classes, key=lambda each: each.f1 if each.f1 is not None and each.rows else 2.0))

    @property
    def lowest(self) -> ClassLine | None:
        """The class with the least F1, of those that have one and rows; None where all have the same."""
        scored = [each for each in self.classes if each.f1 is not None and each.rows]
        return None if self.f1_of_all is not None else min(scored, key=lambda each: each.f1 or 0, default=None)

    @property
    def f1_of_all(self) -> float | None:
        """The F1 of two or more classes that have rows, where it is that of each of them."""
        scored = [each.f1 for each in self.classes if each.f1 is not None and each.rows]
        return scored[0] if len(set(scored)) == 1 < len(scored) else None

    @property
    def wrong_labels(self) -> int:
        """How many labels look wrong, in all splits that were judged."""
        return sum(each.count for each in self.judged_labels)

    @property
    def on_labels(self) -> str:
        """How many labels look wrong, in a sentence."""
        parts = [f"{each.count:,} of {plural(each.rows, f'{each.split} row')}" for each in self.judged_labels]
        if self.training.suspects:
            parts[-1] += f" ({self.training.judge})"
        verb = "looks" if self.wrong_labels == 1 else "look"
        return f"{plural(self.wrong_labels, 'label')} {verb} wrong: {listed(parts)}."

    @property
    def on_judge(self) -> str:
        """Where the method's assumption does not hold: that what is usual for a class tells it from the others."""
        unsure = [each for each in self.judged_labels if each.unsure and each.count]
        if not unsure:
            return ""
        splits = listed([each.split for each in unsure])
        usual, dealt = (listed([f"{getattr(one, name):.2f}" for one in unsure]) for name in ("usual", "by_chance"))
        return (
            f"Their judge is too unsure for that to say much: it gives the labels of {splits} rows a probability of "
            f"{usual} on average, and {dealt} if they were dealt by chance, where the method counts on one that tells "
            "classes apart. What is named there may well be its own doubts."
        )

    @property
    def judged_labels(self) -> tuple[Suspects, ...]:
        """Of test, validation and training rows, as far as they were judged."""
        return (*self.suspects, *([self.training.suspects] if self.training.suspects else []))


def failures(run: RunRead, board: Leaderboard, problems: list[str]) -> Failures | None:
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
    texts = {number: row.text for number, row in kept.rows.items()}
    of_class = found["class"]
    assert of_class is not None
    believed = calibrated(judged, kept.validation)
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
        calibrated=believed,
        selective=selective(as_used(judged, believed), kept.validation and as_used(kept.validation, believed)),
        missed=missed(kept, labels),
        suspects=tuple(suspects(each, labels, texts) for each in (kept.test, kept.validation) if each is not None),
        training=training_rows(run, kept.winner, problems),
    )
