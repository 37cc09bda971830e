"""By which rule a temperature is fitted and applied, where validation rows are few and where they are many.

    python -m study.temperatures                 what is not yet trained is; measures, and prints the table
    python -m study.temperatures --seconds 600   no model is trained after as many; what there is, is measured
    python -m study.temperatures --list          the models, and train nothing

Each case is trained with three seeds, and mixed by `loraloom soup`; what they give for a pool of rows that nothing was
trained on is kept in runs/study/temperatures/. Then rows are drawn from the pool, many times, as validation rows: each
rule fits a temperature on them, and is judged by the other rows of the pool, beside no temperature. A winner is the
seed that has most of the drawn rows right, as in a search, so that it owes part of that to them.

Training with smoothed labels leaves adapters that are not sure enough, and many passes without it such as are too sure.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

import loraloom
from loraloom.calibration import COLDEST, HOTTEST, SPREAD, Temperature, at_temperature, fit_temperature
from loraloom.data import Split
from loraloom.data.sampling import part_of
from loraloom.metrics import expected_calibration_error, log_loss
from loraloom.report.markdown.text import table
from loraloom.souping import soup
from loraloom.study.durable import write_text
from study.arguments import run
from study.draws import Case, named, parser_of, recipe_of
from study.machine import described
from study.sets import load
from study.trials import RUNS

RESULT = Path(__file__).parent / "results" / "temperatures.json"
FOLDER = RUNS / "temperatures"
SEEDS = 3
POOL = 1_500
ROWS = 20, 50, 100, 200, 500, 1_000
DRAWS = 40
FOUND = "winner", "soup"
FIGURES = "loss", "unlucky", "error"
"""The mean change of the log loss by model; what 19 of 20 draws of all stay below; the mean of the ECE's."""

Labels = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Model:
    """A case, and how its labels are smoothed in training."""

    case: Case
    smoothing: float

    @property
    def name(self) -> str:
        return f"{self.case.name}-{self.case.rows or 'all'}-{self.case.passes}-{self.smoothing}"


MODELS = (
    Model(Case("subj16", None, 16, 1), 0.1),
    Model(Case("subj16", None, 16, 1), 0.0),
    Model(Case("trec", 96, 16, 1), 0.1),
    Model(Case("trec", 96, 16, 1), 0.0),
    Model(Case("sst2", 200, 16, 1), 0.0),
    Model(Case("bbc", 200, 6, 1), 0.1),
    Model(Case("trec", 500, 6, 1), 0.1),
    Model(Case("agnews", 200, 8, 1), 0.0),
    Model(Case("trec", 500, 6, 1), 0.0),
    Model(Case("agnews", 200, 8, 1), 0.1),
    Model(Case("sst2", 500, 4, 1), 0.1),
    Model(Case("banking77", 770, 6, 1), 0.1),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The `spread` of the prior of `fit_temperature`, and whether 1 is kept unless the interval leaves it out.

    With fewer than `wrong` wrong rows it is kept too.
    """

    spread: float
    is_gated: bool
    wrong: int = 0

    def temperature(self, fitted: Temperature, wrong: int) -> float:
        """What logits are divided by, of what was fitted with this spread on rows of which so many are wrong."""
        is_best = 1.01 * COLDEST < fitted.value < 0.99 * HOTTEST
        shown = not self.is_gated or (is_best and fitted.is_needed)
        return fitted.value if shown and wrong >= self.wrong else 1.0


RULES = {
    "likeliest, where shown": Rule(math.inf, is_gated=True),
    "the same, of 10 wrong rows": Rule(math.inf, is_gated=True, wrong=10),
    "likeliest, always": Rule(math.inf, is_gated=False),
    "up to 4 times, where shown": Rule(2 * SPREAD, is_gated=True),
    "up to twice, where shown": Rule(SPREAD, is_gated=True),
    "up to 1.4 times, where shown": Rule(SPREAD / 2, is_gated=True),
    "up to twice, always": Rule(SPREAD, is_gated=False),
}
"""The likeliest temperature, or with a prior by which 95 % lie up to so many times above or below 1."""
TAKEN, BEFORE = "up to twice, where shown", "likeliest, where shown"


@dataclass(frozen=True, slots=True)
class Given:
    """The pool's labels (N,), and the probabilities (N, C) that each seed and the soup give."""

    labels: Labels
    seeds: tuple[Shares, ...]
    soup: Shares


def main() -> None:
    run("study.temperatures", _do, parser_of("study.temperatures", __doc__, RESULT).parse_args())


def _do(given: argparse.Namespace) -> None:
    if given.list:
        for model in MODELS:
            print(model.name)
        return
    start, models = time.monotonic(), {}
    for model in MODELS:
        if given.seconds is None or time.monotonic() - start < given.seconds or _file(model, FOLDER).exists():
            models[model.name] = read_or_train(model, FOLDER)
    kept = measure(models) | {"machine": described()}
    write_text(given.results, json.dumps(kept) + "\n")
    print("\n".join(lines(kept)))


def _file(model: Model, folder: Path) -> Path:
    return folder / f"{model.name}.npz"


def read_or_train(model: Model, folder: Path) -> Given:
    """What a model gives for its pool, trained where `folder` does not keep that.

    Raises:
        LoraloomError: the set can't be had, a training failed, or the seeds do not mix.
    """
    file = _file(model, folder)
    if not file.exists():
        given = train(model)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, labels=given.labels, seeds=np.stack(given.seeds), soup=given.soup)
    with np.load(file) as arrays:
        seeds, mixed = (arrays[name].astype(np.float64) for name in ("seeds", "soup"))
        return Given(arrays["labels"], tuple(seeds), mixed)


def train(model: Model) -> Given:
    train, pool, labels = rows_of(model.case)
    recipe = recipe_of(model.case, len(train), 0) | {"search": {"seeds": SEEDS}}
    recipe["train"] |= {"label_smoothing_factor": model.smoothing}
    rows: Any = {"train": named(train, labels)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        winner = loraloom.search(recipe, place, report=False, **rows)
        assert tuple(winner.labels) == labels
        soup(place, **rows)
        folders = [place / "trials" / f"{number:04d}" for number in range(SEEDS)]
        *seeds, mixed = (loraloom.load(each).predict_proba(pool.texts) for each in (*folders, place / "soup"))
    return Given(pool.labels, tuple(seeds), mixed)


def rows_of(case: Case) -> tuple[Split, Split, tuple[str, ...]]:
    """Training rows of a case, a pool of at most `POOL` other rows of its set, and its labels.

    Raises:
        LoraloomError: the set can't be had.
    """
    rows = load(case.name)
    train = rows.train if case.rows is None else part_of(rows.train, case.rows, 0)
    drawn = set(train.texts)
    rest = rows.train.take([number for number, text in enumerate(rows.train.texts) if text not in drawn])
    test = rows.tests["test"]
    pool = Split((*test.texts, *rest.texts), np.concatenate([test.labels, rest.labels]))
    return train, part_of(pool, POOL, 0), rows.labels


def measure(models: Mapping[str, Given], draws: int = DRAWS) -> dict[str, Any]:
    """How good each model is, and by what is found, rule and drawn rows the `FIGURES`."""
    each = {name: changes_of(given, draws) for name, given in models.items()}
    changes = {
        found: {
            rule: {str(rows): _figures([drawn[found, rule, rows] for drawn in each.values()]) for rows in ROWS}
            for rule in RULES
        }
        for found in FOUND
    }
    return {"models": {name: about(given) for name, given in models.items()}, "changes": changes}


def _figures(drawn: list[Shares]) -> dict[str, Any]:
    """`FIGURES` of the changes (draws, 2) of each model."""
    losses = [float(changes[:, 0].mean()) for changes in drawn]
    unlucky, error = np.quantile(np.stack(drawn)[:, :, 0], 0.95), np.stack(drawn)[:, :, 1].mean()
    return {
        "loss": [round(loss, 4) for loss in losses],
        "unlucky": round(float(unlucky), 4),
        "error": round(float(error), 4),
    }


def about(given: Given) -> dict[str, list[float]]:
    """Of each seed and of the soup, on the whole pool: accuracy, log loss, and the temperature that makes it least."""
    every = (*given.seeds, given.soup)
    return {
        "accuracy": [round(float(np.mean(shares.argmax(axis=1) == given.labels)), 4) for shares in every],
        "log_loss": [round(log_loss(given.labels, shares), 4) for shares in every],
        "temperature": [round(fit_temperature(given.labels, shares, math.inf).value, 3) for shares in every],
    }


def changes_of(given: Given, draws: int) -> dict[tuple[str, str, int], Shares]:
    """By what is found, rule and drawn rows: how log loss and calibration error of the others change (draws, 2)."""
    generator = np.random.default_rng(0)
    seen: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for rows in ROWS:
        for _ in range(draws):
            order = generator.permutation(given.labels.size)
            drawn, others = order[:rows], order[rows:]
            hits = [(shares[drawn].argmax(axis=1) == given.labels[drawn]).sum() for shares in given.seeds]
            for found, shares in zip(FOUND, (given.seeds[int(np.argmax(hits))], given.soup), strict=True):
                for rule, temperature in temperatures(given.labels[drawn], shares[drawn]).items():
                    change = _change(given.labels[others], shares[others], temperature)
                    seen.setdefault((found, rule, rows), []).append(change)
    return {key: np.array(changes) for key, changes in seen.items()}


def temperatures(labels: Labels, shares: Shares) -> dict[str, float]:
    """What each rule makes of validation rows."""
    wrong = int((shares.argmax(axis=1) != labels).sum())
    fitted = {spread: fit_temperature(labels, shares, spread) for spread in {rule.spread for rule in RULES.values()}}
    return {name: rule.temperature(fitted[rule.spread], wrong) for name, rule in RULES.items()}


def _change(labels: Labels, shares: Shares, temperature: float) -> tuple[float, float]:
    if temperature == 1:
        return 0.0, 0.0
    after = at_temperature(shares, temperature)
    loss, error = (figure(labels, after) - figure(labels, shares) for figure in (log_loss, expected_calibration_error))
    return loss, error


def lines(kept: dict[str, Any]) -> Iterator[str]:
    """The models, and a table for what a search finds and for the soup."""
    figures = "accuracy", "log_loss", "temperature"
    cells = [(name, *(_span(one[figure]) for figure in figures)) for name, one in kept["models"].items()]
    yield table(("model", "accuracy", "log loss", "best temperature"), cells, numbers=(1, 2, 3))
    head = "rule", *(f"{rows:,} rows" for rows in ROWS)
    for found, rules in kept["changes"].items():
        yield f"\nLog loss of the {found} less that without, in thousandths: mean, worst model, unlucky draw; ECE's.\n"
        cells = [(rule, *(_cell(of_rows[str(rows)]) for rows in ROWS)) for rule, of_rows in rules.items()]
        yield table(head, cells, numbers=range(1, len(head)))


def _span(values: list[float]) -> str:
    return f"{min(values):.2f}–{max(values):.2f}"


def _cell(figures: dict[str, Any]) -> str:
    values = fmean(figures["loss"]), max(figures["loss"]), figures["unlucky"], figures["error"]
    return " / ".join(f"{1000 * value:+.0f}" for value in values)


if __name__ == "__main__":
    main()
