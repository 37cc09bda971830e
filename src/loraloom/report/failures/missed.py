"""Validation rows that all of the best trials get wrong: hard texts, or wrong labels, and not a trial's fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loraloom.report.failures.kept import Kept
from loraloom.wording import plural

MOST_ROWS = 15
FEWEST_TRIALS = 2


@dataclass(frozen=True, slots=True)
class MissedRow:
    """`of_given` is the mean probability of its label over the trials; `prediction` is what most of them said."""

    row: int
    text: str | None
    label: str
    prediction: str
    agreeing: int
    of_given: float


@dataclass(frozen=True, slots=True)
class Missed:
    """`count` of `rows` validation rows are wrong in all `trials`, of `of` complete ones on as many rows as the winner.

    `of_all` counts those of other rows too, `configurations` are those of `trials`.

    `expected` is how many would be if each trial erred as often as it does, but on rows of its own; `of_winner` is how
    many rows the winner gets wrong, None where it is none of the `trials`: its predictions can't be read, or it is a
    mean of several.
    """

    trials: tuple[int, ...]
    of: int
    of_all: int
    rows: int
    count: int
    expected: float
    of_winner: int | None
    worst: tuple[MissedRow, ...]
    configurations: int

    @property
    def verdict(self) -> str:
        """What that means, in a sentence or two."""
        trials = f"all {len(self.trials)} trials" if len(self.trials) > 2 else "both trials"
        if not self.count:
            by = "some configuration" if self.configurations > 1 else "another seed"
            return f"No validation row is wrong in {trials}: each error can be avoided by {by}."
        expected = "less than 0.1" if self.expected < 0.1 else f"about {self.expected:.1f}"
        of_winner = ""
        if self.of_winner is not None:
            of_winner = f" That is {self.count:,} of the winner's {plural(self.of_winner, 'error')} there."
        every = self.configurations > 1 and len(self.trials) == self.of_all
        others = "Another configuration of this search does not mend" if every else "None of these trials mends"
        return (
            f"{self.count:,} of {plural(self.rows, 'validation row')} {'is' if self.count == 1 else 'are'} wrong in "
            f"{trials}; if each erred on rows of its own, {expected} would be.{of_winner} {others} those; "
            "other labels or another model may."
        )


def missed(kept: Kept, labels: Sequence[str]) -> Missed | None:
    """None where fewer than two trials kept their predictions of the same rows."""
    if len(kept.panel) < FEWEST_TRIALS:
        return None
    numbers = tuple(kept.panel)
    shared = kept.panel[numbers[0]].rows
    for predicted in kept.panel.values():
        shared = np.intersect1d(shared, predicted.rows, assume_unique=True)
    if shared.size == 0:
        return None
    places = [np.searchsorted(kept.panel[number].rows, shared) for number in numbers]
    shares = np.stack([kept.panel[n].probabilities[at] for n, at in zip(numbers, places, strict=True)])  # (K, N, C)
    true = kept.panel[numbers[0]].labels[places[0]]
    said = shares.argmax(axis=2)
    wrong = said != true  # (K, N)
    of_given = shares[:, np.arange(true.size), true].astype(np.float64).mean(axis=0)
    all_wrong = np.flatnonzero(wrong.all(axis=0))
    order = all_wrong[np.argsort(of_given[all_wrong], kind="stable")]
    worst = []
    for place in order[:MOST_ROWS].tolist():
        prediction, agreeing = Counter(said[:, place].tolist()).most_common(1)[0]
        row = int(shared[place])
        worst.append(
            MissedRow(
                row=row,
                text=kept.rows[row].text if row in kept.rows else None,
                label=labels[int(true[place])],
                prediction=labels[prediction],
                agreeing=agreeing,
                of_given=float(of_given[place]),
            )
        )
    own = None if kept.winner.is_soup else kept.winner.number
    return Missed(
        trials=numbers,
        of=kept.of,
        of_all=kept.of_all,
        rows=int(shared.size),
        count=int(all_wrong.size),
        expected=float(shared.size * np.prod(wrong.mean(axis=1))),
        of_winner=int(wrong[numbers.index(own)].sum()) if own in numbers else None,
        worst=tuple(worst),
        configurations=kept.configurations,
    )
