"""What blending TF-IDF's scores into an adapter's answers brings, and in which way they are best blended.

    python -m study.blends                 what is not yet in the results is trained; the table is printed
    python -m study.blends --seconds 600   no draw is begun after as many
    python -m study.blends --list          the cases, and train nothing

A tenth of a draw's rows (`study/draws.py`) is held out for validation, the rest is trained on, and TF-IDF is blended
into the adapter as `loraloom blend` does it. Asked are training rows of the set that are not in the draw. Beside the
adapter, TF-IDF alone and the blend stand other ways to blend the same two: with other parts of TF-IDF, by the mean of
probabilities, and with the two parts by which the validation rows are likeliest.

Test rows are not read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

import loraloom
from loraloom.blending import blend
from loraloom.intervals import Floats
from loraloom.metrics import log_loss, softmax
from loraloom.report.markdown.text import table
from loraloom.study.evidence import read_predicted, read_rows
from loraloom.use.tfidf import PART
from study.draws import Case, drawn_and_asked, draws_of, gain_in_words, recipe_of, run_draws, splits_beside
from study.robustness.rows import Labels
from study.sets import load

RESULT = Path(__file__).parent / "results" / "blends.json"
CASES = (
    Case("agnews", 200, 12, 2),
    Case("agnews", 2_000, 3, 2),
    Case("sst2", 500, 6, 2),
    Case("sst2", 4_500, 3, 2),
    Case("trec", 500, 8, 2),
    Case("trec", 4_000, 4, 2),
    Case("banking77", 770, 15, 2),
    Case("banking77", 8_000, 4, 2),
    Case("bbc", 900, 6, 2),
    Case("r8", 3_500, 3, 2),
    Case("clinc150", 8_000, 5, 2),
    Case("agnews", 20_000, 2, 1),
)
METHODS = "adapter", "TF-IDF", "blend", "a fifth", "a half", "mean", "fitted"


@dataclass(frozen=True, slots=True)
class Draw:
    """Of a draw's rows for training, accuracies by method, in percent."""

    seed: int
    rows: int
    accuracies: dict[str, float]


def main() -> None:
    run_draws("study.blends", __doc__, RESULT, CASES, measure, lines)


def measure(case: Case, seed: int) -> Draw:
    """Trains, blends and asks one draw.

    Raises:
        LoraloomError: the set can't be had, or a training failed.
    """
    rows = load(case.name)
    labels = rows.train.labels
    drawn, asked = drawn_and_asked(case, labels, seed)
    texts = rows.train.take(asked).texts
    splits = splits_beside(rows, drawn, asked, seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        winner = loraloom.search(recipe_of(case, len(drawn), seed), run, report=False, **splits)
        made = blend(run, **splits)
        own = log_softmax(loraloom.load(run / "best").logits(texts), axis=1).astype(np.float64)
        by_tfidf = made.tfidf.log_probabilities(texts).astype(np.float64)
        parts = _likeliest(run, made.tfidf, len(winner.labels))
        answers = {
            "adapter": own,
            "TF-IDF": by_tfidf,
            "blend": loraloom.load(run / "blend").predict_proba(texts),
            "a fifth": 0.8 * own + 0.2 * by_tfidf,
            "a half": 0.5 * own + 0.5 * by_tfidf,
            "mean": (1 - PART) * np.exp(own) + PART * np.exp(by_tfidf),
            "fitted": parts[0] * own + parts[1] * by_tfidf,
        }
    order = [winner.labels.index(name) for name in rows.labels]
    right = {name: _right(answer[:, order], labels[asked]) for name, answer in answers.items()}
    return Draw(seed, winner.train_rows or 0, right)


def _right(answer: Floats, true: Labels) -> float:
    return round(100 * float((answer.argmax(axis=1) == true).mean()), 2)


def _likeliest(run: Path, tfidf: Any, classes: int) -> Floats:
    """The parts of the adapter and of TF-IDF by which the validation rows' labels are likeliest."""
    predicted, kept = read_predicted(run / "best", classes), read_rows(run, classes)
    assert predicted is not None
    own = np.log(np.maximum(predicted.probabilities, 1e-9))
    by_tfidf = tfidf.log_probabilities([kept[int(row)].text for row in predicted.rows])

    def loss(parts: Floats) -> float:
        return log_loss(predicted.labels, softmax(parts[0] * own + parts[1] * by_tfidf))

    return np.asarray(minimize(loss, [1.0, 0.5], bounds=[(0, 20), (0, 20)]).x)


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """A table, and what each way to blend brings over the adapter alone, in the mean over sets."""
    by_case = [(case, [Draw(**one) for one in draws_of(kept, case)]) for case in CASES]
    shown = []
    for case, draws in by_case:
        if draws:
            rows = f"{fmean(draw.rows for draw in draws):,.0f}"
            means = [fmean(draw.accuracies[method] for draw in draws) for method in METHODS]
            shown.append((case.name, rows, str(len(draws)), *(f"{one:.1f}" for one in means)))
    head = "set", "rows", "draws", *METHODS
    yield "Accuracy on rows of which nothing was trained:\n"
    yield table(head, shown, numbers=range(1, len(head)))
    for method in METHODS[2:]:
        gains = ((case, draw.accuracies[method] - draw.accuracies["adapter"]) for case, own in by_case for draw in own)
        yield from gain_in_words(f"{method} − adapter", gains)


if __name__ == "__main__":
    main()
