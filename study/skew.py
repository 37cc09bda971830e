"""What helps an adapter of skewed rows where classes are in other shares than in training.

    python -m study.skew                 what is not yet in the results is trained; the table is printed
    python -m study.skew --seconds 600   no draw is begun after as many
    python -m study.skew --list          the cases, and train nothing

The rows of a draw (`study/draws.py`) are skewed as by `study/robustness/rows.py: skewed`, a tenth of them is held out
for validation, and the rest is trained on twice: as it is, and with `train.class_weight: balanced`. Both adapters are
asked for training rows of the set that are not in the draw, where classes are as common as each other, as skewed as in
training, or skewed the other way round: of such shares the accuracy is the mean of the classes' recalls, weighed by
them. Beside both stand the first adapter's answers where the shares are told, as `loraloom predict --class_shares` is
told them; where they are told, and its training rows' shares stand for what it expects; and where they are estimated
from the texts that are asked for (Saerens et al. 2002, section 2.2).

Test rows are not read.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import loraloom
from loraloom.calibration import at_odds
from loraloom.intervals import Floats
from loraloom.report.markdown.text import table
from loraloom.use.class_shares import expected_shares
from loraloom.use.ensemble import load_ensemble
from study.draws import Case, drawn_and_asked, draws_of, gain_in_words, recipe_of, run_draws, splits_beside
from study.robustness.rows import Labels, skewed
from study.sets import load

RESULT = Path(__file__).parent / "results" / "skew.json"
ROUNDS = 500
"""Of an estimate of shares, which ends before where it stands still."""


@dataclass(frozen=True, slots=True)
class Skew(Case):
    """A case whose classes' sizes fall from 1 to 1 : `ratio`."""

    ratio: int = 10


CASES = (
    Skew("agnews", 2_000, 3, 3, ratio=3),
    Skew("agnews", 2_000, 4, 3, ratio=10),
    Skew("agnews", 2_000, 6, 3, ratio=100),
    Skew("sst2", 2_000, 3, 3, ratio=3),
    Skew("sst2", 2_000, 4, 3, ratio=10),
    Skew("trec", 2_500, 16, 3, ratio=10),
    Skew("bbc", 900, 10, 3, ratio=10),
)
METHODS = "as it is", "weighed", "told", "told, by rows", "estimated"
TARGETS = "alike", "as in training", "reversed"


@dataclass(frozen=True, slots=True)
class Draw:
    """Of a draw's rows for training, accuracies by target and method, in percent."""

    seed: int
    rows: int
    accuracies: dict[str, dict[str, float]]


def main() -> None:
    run_draws("study.skew", __doc__, RESULT, CASES, measure, lines)


def measure(case: Skew, seed: int) -> Draw:
    """Trains and asks one draw.

    Raises:
        LoraloomError: the set can't be had, or a training failed.
    """
    rows = load(case.name)
    labels, classes = rows.train.labels, len(rows.labels)
    drawn, asked = drawn_and_asked(case, labels, seed)
    trained = drawn[skewed(labels[drawn], case.ratio, classes, seed)]
    recipe = recipe_of(case, len(trained), seed)
    texts = rows.train.take(asked).texts
    splits = splits_beside(rows, trained, asked, seed)
    of_asked: dict[str, Floats] = {}
    with tempfile.TemporaryDirectory() as folder:
        for weight in ("none", "balanced"):
            place = Path(folder) / weight
            weighed = recipe | {"train": recipe["train"] | {"class_weight": weight}}
            winner = loraloom.search(weighed, place, report=False, **splits)
            ensemble = load_ensemble([place / "best"])
            of_asked[weight] = ensemble.probabilities(ensemble.encoded(texts))[0]
            if weight == "none":
                expected = expected_shares(place / "best", winner, ensemble.members[0].classifier.temperature)
    found = _accuracies(of_asked, expected, labels[asked], np.bincount(labels[trained]))
    return Draw(seed, winner.train_rows or 0, found)


def _accuracies(
    given: dict[str, Floats], expected: Floats, true: Labels, trained: Labels
) -> dict[str, dict[str, float]]:
    plain, classes = given["none"], len(trained)
    counted = trained / trained.sum()
    order = np.argsort(counted)
    opposite = np.empty(classes)
    opposite[order] = counted[order[::-1]]
    found = {}
    for target, shares in zip(TARGETS, (np.full(classes, 1 / classes), counted, opposite), strict=True):
        of_row = (shares / np.bincount(true, minlength=classes))[true]
        answers = (
            plain,
            given["balanced"],
            at_odds(plain, shares / expected),
            at_odds(plain, shares / counted),
            at_odds(plain, estimated(plain, expected, of_row) / expected),
        )
        found[target] = {
            method: round(100 * float(of_row @ (answer.argmax(axis=1) == true)), 2)
            for method, answer in zip(METHODS, answers, strict=True)
        }
    return found


def estimated(probabilities: Floats, expected: Floats, weights: Floats) -> Floats:
    """The likeliest shares (C,) of rows of such weights (N,), whose sum is 1, by expectation and maximisation."""
    shares = expected
    for _ in range(ROUNDS):
        before, shares = shares, np.maximum(weights @ at_odds(probabilities, shares / expected), 1e-9)
        if np.abs(shares - before).max() < 1e-7:
            break
    return shares


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """A table for each target, and the means over sets of what is told, against what is not."""
    by_case = [(case, [Draw(**one) for one in draws_of(kept, case)]) for case in CASES]
    gains: dict[str, list[tuple[Case, float]]] = defaultdict(list)
    head = "set", "skew", "rows", "draws", *METHODS
    for target in TARGETS:
        shown = []
        for case, draws in by_case:
            if not draws:
                continue
            means = (fmean(draw.accuracies[target][method] for draw in draws) for method in METHODS)
            rows = f"{fmean(draw.rows for draw in draws):,.0f}"
            shown.append((case.name, f"1:{case.ratio}", rows, str(len(draws)), *(f"{one:.1f}" for one in means)))
            for method in METHODS[:2]:
                gains[f"told − {method}, {target}"] += [
                    (case, draw.accuracies[target]["told"] - draw.accuracies[target][method]) for draw in draws
                ]
        yield f"\nAccuracy where classes are {target}:\n"
        yield table(head, shown, numbers=range(1, len(head)))
    for what, points in gains.items():
        yield from gain_in_words(what, points)


if __name__ == "__main__":
    main()
