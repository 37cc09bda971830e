"""How many seeds of one configuration a soup is to be of, where rows are few.

    python -m study.many_seeds                 what is not yet in the results is trained; the table is printed
    python -m study.many_seeds --seconds 600   no draw is begun after as many
    python -m study.many_seeds --list          the cases, and train nothing

Each draw (`study/draws.py`; others than those of `study/seeds.py`) is trained with nine seeds by `loraloom.search`. The
first three, five, seven and all of them are mixed into adapters of one's rank, which are asked of the set's test rows.
Sets that are held out for checking defaults are not read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

import loraloom
from loraloom.report.markdown.text import table
from loraloom.study.durable import write_manifest
from loraloom.study.record import RECORD
from loraloom.use.soup import mix
from study.draws import Case, draws_of, gain_in_words, recipe_of, run_draws, splits_of

RESULT = Path(__file__).parent / "results" / "many_seeds.json"
COUNTS = 3, 5, 7, 9
FIRST = 10
"""The draws before are those of `study/seeds.py`."""
CASES = (
    Case("subj16", None, 16, 4),
    Case("trec", 96, 16, 4),
    Case("sst2", 200, 16, 4),
    Case("trec", 500, 12, 2),
    Case("sst2", 500, 12, 2),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """Test rows that were right, of `tested`: by each seed, and by the soup of the first so many (`COUNTS`)."""

    seed: int
    rows: int
    tested: int
    seeds: tuple[int, ...]
    soups: tuple[int, ...]

    def points(self, right: float) -> float:
        """So many right rows in percent."""
        return 100 * right / self.tested


def main() -> None:
    run_draws("study.many_seeds", __doc__, RESULT, CASES, measure, lines)


def measure(case: Case, seed: int) -> Draw:
    """Trains, mixes and tests one draw.

    Raises:
        LoraloomError: the set can't be had, a training failed, or the seeds do not mix.
    """
    splits = splits_of(case, FIRST + seed)
    recipe = recipe_of(case, len(splits["train"][0]), 100 * (FIRST + seed)) | {"search": {"seeds": COUNTS[-1]}}
    texts, labels = splits["test"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        winner = loraloom.search(recipe, place, report=False, **splits)
        trials = [place / "trials" / f"{number:04d}" for number in range(COUNTS[-1])]
        true = np.array([winner.labels.index(label) for label in labels])
        return Draw(
            seed=seed,
            rows=winner.train_rows or 0,
            tested=len(true),
            seeds=tuple(_right(trial, texts, true) for trial in trials),
            soups=tuple(_right(_mixed(trials[:count], Path(folder)), texts, true) for count in COUNTS),
        )


def _mixed(trials: Sequence[Path], folder: Path) -> Path:
    """A folder of the mean of trials, whose answers are those of `loraloom soup`, though it is less sure of them."""
    new = folder / f"of-{len(trials)}"
    new.mkdir()
    mix(trials, new)
    shutil.copyfile(trials[0] / RECORD, new / RECORD)
    write_manifest(new)
    return new


def _right(adapter: Path, texts: Sequence[str], true: NDArray[np.int64]) -> int:
    return int((loraloom.load(adapter).predict_proba(texts).argmax(axis=1) == true).sum())


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The table, and what more seeds bring in the mean over sets."""
    shown: list[tuple[str, ...]] = []
    gains: dict[int, list[tuple[Case, float]]] = {count: [] for count in COUNTS[1:]}
    for case in CASES:
        draws = [Draw(**one) for one in draws_of(kept, case)]
        if not draws:
            continue
        for draw in draws:
            for count, soup in zip(COUNTS[1:], draw.soups[1:], strict=True):
                gains[count].append((case, draw.points(soup - draw.soups[0])))
        means = [fmean(draw.points(fmean(draw.seeds)) for draw in draws)]
        means += [fmean(draw.points(draw.soups[at]) for draw in draws) for at in range(len(COUNTS))]
        shown.append((case.name, f"{draws[0].rows:,}", str(len(draws)), *(f"{mean:.2f}" for mean in means)))
    head = "set", "rows", "draws", "a seed", *(f"soup of {count}" for count in COUNTS)
    yield table(head, shown, numbers=range(1, len(head)))
    for count, values in gains.items():
        yield from gain_in_words(f"Soup of {count} − soup of 3", values)


if __name__ == "__main__":
    main()
