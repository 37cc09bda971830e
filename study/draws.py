"""Small draws of the study's sets, and how they are trained: as by loraloom's preset that adapts every layer.

Each draw takes other training rows of a set; test rows are the same for all draws, at most `TEST_ROWS`. The training is
written here, and not taken from `search/presets.py`, since draws that are kept are of it. It has the biases of adapted
layers trained too, which the preset leaves as they are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from loraloom.data import Split
from loraloom.data.sampling import part_of, part_rows
from loraloom.intervals import mean_interval
from loraloom.study.durable import write_json
from study.arguments import run
from study.machine import described
from study.sets import Rows, load

TEST_ROWS = 2_000
ASKED = 2_000
"""Rows outside a draw that its adapter is asked for, at most."""
TESTED = 100
"""Of the rows that are asked for, by the run, which has to test its winner."""
FEW = 500
"""Below so many rows the preset pools by the mean, and warms up in a tenth as many steps (`search/presets.py`)."""


@dataclass(frozen=True, slots=True)
class Case:
    """Rows that are drawn from a set (None: all), and how they are trained."""

    name: str
    rows: int | None
    passes: int
    draws: int
    max_length: int = 128


def parser_of(module: str, about: str | None, results: Path) -> argparse.ArgumentParser:
    """Where the results of draws are kept, how long it trains, and whether the cases are but listed."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=results, help="the file of results")
    parser.add_argument("--seconds", type=float, help="begin no training after as many; by default all are trained")
    parser.add_argument("--list", action="store_true", help="list the cases, and train nothing")
    return parser


def key_of(case: Case, seed: int) -> str:
    """Under which a draw is kept."""
    return f"{json.dumps(asdict(case))} {seed}"


def read_kept(results: Path) -> dict[str, Any]:
    """The draws of a file of results, by their keys; none where there is no file."""
    kept: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"draws": {}}
    return kept


_Case = TypeVar("_Case", bound=Case)


def run_draws(
    module: str,
    about: str | None,
    results: Path,
    cases: Sequence[_Case],
    measure: Callable[[_Case, int], Any],
    lines: Callable[[dict[str, Any]], Iterator[str]],
) -> None:
    """A module's command: draws that are not in its file of results are `measure`d, and `lines` of all are printed.

    What is measured of a draw is a data class, and is kept at once.
    """

    def do(given: argparse.Namespace) -> None:
        if given.list:
            for case in cases:
                print(f"{case.name}, {case.rows or 'all'} rows, {case.passes} passes, {case.draws} draws")
            return
        start, kept = time.monotonic(), read_kept(given.results)
        for seed in range(max(case.draws for case in cases)):  # a draw of each set before the next of any
            for case in cases:
                if seed >= case.draws or key_of(case, seed) in kept["draws"]:
                    continue
                if given.seconds is not None and time.monotonic() - start > given.seconds:
                    break
                draw = measure(case, seed)
                kept["draws"][key_of(case, seed)] = asdict(draw) | {"machine": described()}
                write_json(given.results, kept)
                print(key_of(case, seed), draw, flush=True)
        print("\n".join(lines(kept)))

    run(module, do, parser_of(module, about, results).parse_args())


def draws_of(kept: dict[str, Any], case: Case) -> list[dict[str, Any]]:
    """The draws of a case that are kept, without what is kept of the machine beside them."""
    found = (kept["draws"].get(key_of(case, seed)) for seed in range(case.draws))
    return [{name: value for name, value in one.items() if name != "machine"} for one in found if one]


def gain_in_words(what: str, points: Iterable[tuple[Case, float]]) -> Iterator[str]:
    """The mean over sets of their draws' means, with its interval; nothing where they are too few for one.

    What a user asks is what a method brings on a set of their own. Draws of one set are alike in that, and are no
    evidence of other sets, so that an interval over draws would be too narrow.
    """
    by_set: dict[str, list[float]] = defaultdict(list)
    for case, one in points:
        by_set[case.name].append(one)
    means = [fmean(of_one) for of_one in by_set.values()]
    interval = mean_interval(means) if means else None
    if interval is not None:
        span = f"95 % interval {interval[0]:+.2f} to {interval[1]:+.2f}"
        count = sum(map(len, by_set.values()))
        yield f"\n{what}: {fmean(means):+.2f} points, {span}, {count} draws of {len(means)} sets."


def drawn_and_asked(case: Case, labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of a draw's rows, of a set's training rows with these `labels`, and of others that are asked for."""
    drawn = part_rows(labels, case.rows or len(labels), seed)
    others = np.setdiff1d(np.arange(len(labels)), drawn)
    return drawn, others[part_rows(labels[others], min(ASKED, len(others)), seed)]


def splits_beside(rows: Rows, trained: NDArray[np.int64], asked: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Rows of a set that are trained on, and `TESTED` of those that are asked for, as `loraloom.search` takes them."""
    tested = asked[part_rows(rows.train.labels[asked], TESTED, seed)]
    return {name: named(rows.train.take(some), rows.labels) for name, some in (("train", trained), ("test", tested))}


def splits_of(case: Case, seed: int) -> dict[str, Any]:
    """Training and test rows of a draw, as `loraloom.search` takes them: texts and names of labels.

    Raises:
        LoraloomError: the set can't be had.
    """
    rows = load(case.name)
    train = rows.train if case.rows is None else part_of(rows.train, case.rows, seed)
    test = part_of(rows.tests["test"], min(TEST_ROWS, len(rows.tests["test"])), 0)
    return {"train": named(train, rows.labels), "test": named(test, rows.labels)}


def named(split: Split, labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Rows as `loraloom.search` takes them: texts, and names of labels."""
    return list(split.texts), [labels[label] for label in split.labels]


def recipe_of(case: Case, rows: int, seed: int) -> dict[str, Any]:
    """The training of a draw of so many `rows`."""
    few = rows < FEW
    warm_up = rows // 10 if few else min(300, max(60, rows // 40))
    return {
        "data": {"max_length": case.max_length},
        "backbone": {"model": "demo", "dropout": "off"},
        "lora": {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"},
        "head": {"kind": "linear", "pooling": "mean" if few else "native"},
        "train": {
            **{"optim": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "label_smoothing_factor": 0.1},
            **{"lr_scheduler_type": "linear", "warmup_steps": warm_up, "num_train_epochs": case.passes},
            **{"eval_strategy": "end", "seed": seed},
        },
    }
