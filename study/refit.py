"""What a refit brings: a winner's accuracy on test rows, and that of the same trained on the validation rows too.

    python -m study.refit                 what is not yet in the results is trained; the table is printed
    python -m study.refit --seconds 600   no draw is begun after as many
    python -m study.refit --list          the cases, and train nothing

Each draw (`study/draws.py`) holds a tenth of its rows out for validation, and is trained and refitted by
`loraloom.search` and `loraloom.refit`. Both are tested on the same rows of the set's test. Nothing was chosen by these
figures but whether to say that a refit is worth its time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import loraloom
from loraloom.report.markdown.text import table
from loraloom.study.record import TEST_PREDICTIONS
from study.draws import Case, draws_of, gain_in_words, recipe_of, run_draws, splits_of

RESULT = Path(__file__).parent / "results" / "refit.json"
CASES = (
    Case("subj16", None, 16, 3),
    Case("trec", 96, 16, 6),
    Case("sst2", 200, 16, 4),
    Case("trec", 1_000, 6, 2),
    Case("sst2", 1_000, 6, 2),
    Case("bbc", None, 6, 2, max_length=192),
    Case("r8", 1_000, 6, 2),
    Case("banking77", 1_540, 6, 2),
    Case("clinc150", 1_500, 8, 2),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: rows of both trainings, and test rows that were right, of which some in one of the two alone."""

    seed: int
    rows: tuple[int, int]
    tested: int
    right: tuple[int, int]
    alone: tuple[int, int]

    @property
    def gained(self) -> float:
        """Of all test rows, what the refit has right beyond the winner, in percent."""
        return 100 * (self.right[1] - self.right[0]) / self.tested


def main() -> None:
    run_draws("study.refit", __doc__, RESULT, CASES, measure, lines)


def measure(case: Case, seed: int) -> Draw:
    """Trains, refits and tests one draw.

    Raises:
        LoraloomError: the set can't be had, or a training failed.
    """
    splits = splits_of(case, seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        winner = loraloom.search(recipe_of(case, len(splits["train"][0]), seed), place, report=False, **splits)
        refitted = loraloom.refit(place, **splits)
        before, after = _right(place / "best"), _right(place / "refit")
    alone = [
        sum(one and not other for one, other in zip(*pair, strict=True)) for pair in ((before, after), (after, before))
    ]
    trained = winner.train_rows or 0, refitted.train_rows or 0
    return Draw(seed, trained, len(before), (sum(before), sum(after)), (alone[0], alone[1]))


def _right(adapter: Path) -> list[bool]:
    lines = (adapter / TEST_PREDICTIONS).read_text(encoding="utf-8").split("\n")  # texts hold other separators
    return [row["label"] == row["prediction"] for row in map(json.loads, filter(None, lines))]


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The table, and the mean over sets."""
    shown, gains = [], []
    for case in CASES:
        draws = [Draw(**one) for one in draws_of(kept, case)]
        if not draws:
            continue
        gains += [(case, draw.gained) for draw in draws]
        before, after = (fmean(draw.right[place] / draw.tested for draw in draws) for place in (0, 1))
        figures = f"{draws[0].rows[0]:,}", f"{draws[0].rows[1]:,}", str(len(draws)), f"{before:.4f}", f"{after:.4f}"
        each = ", ".join(f"{draw.gained:+.1f}" for draw in draws)
        shown.append((case.name, *figures, f"{fmean(draw.gained for draw in draws):+.2f} pp", each))
    head = "set", "rows", "rows, refitted", "draws", "winner", "refitted", "gained", "each draw"
    yield table(head, shown, numbers=range(1, 7))
    yield from gain_in_words("Refitted − winner", gains)


if __name__ == "__main__":
    main()
