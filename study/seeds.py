"""What to make of three seeds of one configuration: one of them, their soup, or all together.

    python -m study.seeds                 what is not yet in the results is trained; the table is printed
    python -m study.seeds --seconds 600   no draw is begun after as many
    python -m study.seeds --list          the cases, and train nothing

Each draw (`study/draws.py`) holds a tenth of its rows out for validation, is trained with three seeds by
`loraloom.search`, whose winner is the best of them on the validation rows, and mixed by `loraloom soup`. All are asked
of the same rows of the set's test. "Taken" is what the command says to take: of few rows the soup, else by the
validation rows the soup where it is as good as its seeds are in the mean, or else the winner. Sets that are held out
for checking defaults are not read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import loraloom
from loraloom.report.markdown.text import table
from loraloom.souping import soup
from loraloom.study.leaderboard import mean_of
from study.draws import Case, draws_of, gain_in_words, recipe_of, run_draws, splits_of

RESULT = Path(__file__).parent / "results" / "seeds.json"
SEEDS = 3
FEW = 1_000
"""Rows below which a case counts as one of few."""
CASES = (
    Case("subj16", None, 16, 4),
    Case("trec", 96, 16, 4),
    Case("sst2", 200, 16, 4),
    Case("trec", 500, 12, 3),
    Case("sst2", 500, 12, 3),
    Case("banking77", 770, 12, 2),
    Case("trec", 3_000, 4, 2),
    Case("sst2", 3_000, 4, 2),
    Case("banking77", 4_000, 4, 2),
    Case("agnews", 3_000, 2, 2),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """Test rows that were right, of `tested`: by each seed, by the winner, the soup, the mean of their probabilities.

    `validation` are accuracies on the validation rows, of a seed in the mean, and of the soup; `kept` is the share of
    the mean update that the soup's rank holds.
    """

    seed: int
    rows: int
    tested: int
    seeds: tuple[int, ...]
    winner: int
    soup: int
    together: int
    validation: tuple[float, float]
    kept: float

    def points(self, right: float) -> float:
        """So many right rows in percent."""
        return 100 * right / self.tested

    @property
    def taken(self) -> int:
        """What the one has right that the command says to take."""
        one, own = self.validation
        return self.soup if self.rows < FEW or mean_of([own]) >= one else self.winner

    @property
    def of_one(self) -> float:
        """What a seed has right in the mean."""
        return fmean(self.seeds)


COMPARED: dict[str, Callable[[Draw], tuple[float, float]]] = {
    "soup − a seed": lambda draw: (draw.soup, draw.of_one),
    "soup − winner": lambda draw: (draw.soup, draw.winner),
    "taken − winner": lambda draw: (draw.taken, draw.winner),
    "together − winner": lambda draw: (draw.together, draw.winner),
}


def main() -> None:
    run_draws("study.seeds", __doc__, RESULT, CASES, measure, lines)


def measure(case: Case, seed: int) -> Draw:
    """Trains, mixes and tests one draw.

    Raises:
        LoraloomError: the set can't be had, a training failed, or the seeds do not mix.
    """
    splits = splits_of(case, seed)
    recipe = recipe_of(case, len(splits["train"][0]), 100 * seed) | {"search": {"seeds": SEEDS}}
    texts, labels = splits["test"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        winner = loraloom.search(recipe, place, report=False, **splits)
        made = soup(place, **splits)
        true = np.array([winner.labels.index(label) for label in labels])
        of_seeds = [loraloom.load(place / "trials" / f"{number:04d}").predict_proba(texts) for number in range(SEEDS)]
        mixed = loraloom.load(place / "soup").predict_proba(texts)

    def right(probabilities: Any) -> int:
        return int((probabilities.argmax(axis=1) == true).sum())

    seeds, own = tuple(map(right, of_seeds)), right(mixed)
    return Draw(
        seed=seed,
        rows=winner.train_rows or 0,
        tested=len(true),
        seeds=seeds,
        winner=seeds[winner.number],
        soup=own,
        together=right(np.mean(of_seeds, axis=0)),
        validation=(made.mean, made.record.validation.accuracy),
        kept=made.kept,
    )


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The table, and the means over sets of few rows and of more."""
    shown: list[tuple[str, ...]] = []
    gains: dict[bool, dict[str, list[tuple[Case, float]]]]
    gains = {few: {name: [] for name in COMPARED} for few in (True, False)}
    for case in CASES:
        draws = [Draw(**one) for one in draws_of(kept, case)]
        if not draws:
            continue
        for name, pair in COMPARED.items():
            gains[draws[0].rows < FEW][name] += [
                (case, draw.points(a) - draw.points(b)) for draw in draws for a, b in [pair(draw)]
            ]
        accuracies = (
            fmean(draw.points(right) for draw, right in zip(draws, each, strict=True))
            for each in zip(*((d.of_one, d.winner, d.soup, d.together, d.taken) for d in draws), strict=True)
        )
        held = f"{fmean(draw.kept for draw in draws):.2f}"
        shown.append((case.name, f"{draws[0].rows:,}", str(len(draws)), *(f"{a:.2f}" for a in accuracies), held))
    head = "set", "rows", "draws", "a seed", "winner", "soup", "together", "taken", "held"
    yield table(head, shown, numbers=range(1, len(head)))
    for few, of_some in gains.items():
        for name, values in of_some.items():
            rows = f"fewer than {FEW:,} rows" if few else f"{FEW:,} rows or more"
            yield from gain_in_words(f"{name}, {rows}", values)


if __name__ == "__main__":
    main()
