"""Labels that look wrong, by confident learning on rows that their judge did not learn from.

numpy only, one pass over the probabilities. Rejected: cleanlab, which is this and much more, for a page of arithmetic;
thresholds at 0.5, which blame the classes that a model is less sure of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loraloom.intervals import wilson_interval
from loraloom.report.failures.kept import Judged
from loraloom.wording import percent, plural

MOST_ROWS = 200
"""Rows of a split that are listed in suspect_labels.csv."""
TELLING = 0.1
"""Of the way from labels that are dealt by chance to certainty: a judge that goes less of it tells no classes apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Confident:
    """`rows` (M,) are confidently of another class than the given one, `suggested` (M,) the class that each looks like.

    They are ordered by the probability of the given label, the least first. `thresholds` (C,) are NaN for a class that
    no row is given.
    """

    thresholds: NDArray[np.float64]
    rows: NDArray[np.int64]
    suggested: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose `label` has the probability `of_given`, and looks like `suggested` with `of_suggested`."""

    row: int
    text: str | None
    label: str
    suggested: str
    of_given: float
    of_suggested: float


@dataclass(frozen=True, slots=True)
class Suspects:
    """`count` of the `rows` of `split`, the most suspicious first.

    `usual` is the mean probability that the judge gives the rows' own labels, `by_chance` that which it would give them
    if they were dealt to the rows by chance.
    """

    split: str
    rows: int
    count: int
    worst: tuple[Suspect, ...]
    usual: float
    by_chance: float
    verdict: str

    @property
    def unsure(self) -> bool:
        """Whether what it names may well be its own doubts: it finds labels less likely than not, right ones too.

        Or hardly likelier than the shares of the classes make them: of two classes in unlike shares, labels are
        likelier than not by these alone.
        """
        return self.usual < 0.5 or self.usual - self.by_chance < TELLING * (1 - self.by_chance)


def confident_learning(labels: ArrayLike, probabilities: ArrayLike) -> Confident:
    """Rows whose label (N,) contradicts out-of-sample probabilities (N, C).

    A class's threshold is its mean probability over the rows that are given it; a row counts as the likeliest of the
    classes whose thresholds it reaches, and as none if it reaches none. Source: Northcutt, Jiang and Chuang,
    "Confident learning: estimating uncertainty in dataset labels", Journal of Artificial Intelligence Research 70
    (2021), 1373-1411: equation 1 (the confident joint; collisions go to the largest probability), equation 2 (the
    thresholds). The candidates are the rows off the joint's diagonal.
    """
    given, shares = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    classes = shares.shape[1]
    counts = np.bincount(given, minlength=classes)
    own = np.bincount(given, weights=shares[np.arange(given.size), given], minlength=classes)
    thresholds = np.divide(own, counts, out=np.full(classes, np.nan), where=counts > 0)
    reached = shares >= np.where(counts > 0, thresholds, np.inf) - 1e-12  # a class of one row reaches its own
    confident = reached.any(axis=1)
    looks = np.where(reached, shares, -1.0).argmax(axis=1)
    wrong = np.flatnonzero(confident & (looks != given))
    rows = wrong[np.argsort(shares[wrong, given[wrong]], kind="stable")]
    return Confident(thresholds, rows, looks[rows])


def suspects(judged: Judged, labels: Sequence[str], kept: Mapping[int, str]) -> Suspects:
    """The rows of a split whose label looks wrong to the winner; `kept` are texts by number where not all are known."""
    texts = kept if judged.texts is None else dict(zip(judged.numbers.tolist(), judged.texts, strict=True))
    return named("the winner", judged.split, judged.labels, judged.probabilities, judged.numbers, texts, labels)


def named(
    judge: str,
    split: str,
    given: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    numbers: NDArray[np.int64],
    texts: Mapping[int, str],
    labels: Sequence[str],
) -> Suspects:
    """The rows `numbers` (N,) whose label, `given` (N,), contradicts what `judge` gives them (N, C) out of sample."""
    found = confident_learning(given, probabilities)
    rows, count = int(given.size), len(found.rows)
    worst = tuple(
        Suspect(
            row=int(numbers[row]),
            text=texts.get(int(numbers[row])),
            label=labels[int(given[row])],
            suggested=labels[looks],
            of_given=float(probabilities[row, given[row]]),
            of_suggested=float(probabilities[row, looks]),
        )
        for row, looks in zip(found.rows[:MOST_ROWS].tolist(), found.suggested.tolist(), strict=False)
    )
    wrong = int((probabilities.argmax(axis=1) != given).sum())
    usual = float(probabilities[np.arange(rows), given].mean())
    by_chance = float(np.bincount(given, minlength=len(labels)) @ probabilities.mean(axis=0) / rows)
    return Suspects(split, rows, count, worst, usual, by_chance, _verdict(judge, split, rows, count, wrong))


def _verdict(judge: str, split: str, rows: int, count: int, wrong: int) -> str:
    if not count:
        return f"No label of the {rows:,} {split} rows looks wrong to {judge}."
    low, high = wilson_interval(count, rows)
    return (
        f"{count:,} of {rows:,} {split} rows {'has' if count == 1 else 'have'} a label that looks wrong to {judge} "
        f"({percent(count / rows)}, 95 % interval {percent(low)} to {percent(high)}), which answers otherwise than the "
        f"label in {plural(wrong, 'row')}."
    )
