"""The contest's grid, 108 points, trained whole once; and a search of it by halving: how much sooner, at what regret.

    python -m bench.grid --whole     every point on all rows, by loom: bench/results/grid.json (about an hour)
    python -m bench.grid             a search of the same space on the same rows, set beside that table

Texts are AG News (LORALOOM_AGNEWS), the encoder is the demo's. What HF Trainer + PEFT would take for the grid is its
marginal speed on this machine (`python -m bench.engines demo`), for training alone; the search's time is the whole
command's. Regret is the validation accuracy that the winner has in the table, against the best in it; whether the two
can be told apart is a McNemar test on the test rows, both adapters as they were saved (the table's best is trained
again where the grid's run is not at hand).
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.agnews import need_agnews
from bench.comparison import Comparison, machine_folder, refuse_other_machine
from bench.measure import RESULTS, RUNS
from loraloom import pipeline
from loraloom.intervals import mcnemar
from loraloom.recipe import Recipe, read_recipe
from loraloom.study.record import TrialRecord
from loraloom.study.run import Run
from loraloom.use.backbones import load
from study.agnews_files import agnews_rows
from study.machine import described

FOLDER = RUNS / ".grid"
WHOLE, SEARCHED, BEST = FOLDER / "whole", FOLDER / "searched", FOLDER / "best"
TRAIN, VALIDATION, TEST = 4_000, 1_000, 2_000


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration, trained on all rows."""

    point: dict[str, Any]
    accuracy: float
    seconds: float


def recipe(fields: Mapping[str, Any]) -> Recipe:
    """The contest's grid on the demo's encoder, without the data set that it names, but for some fields."""
    here = {
        "data.dataset": "null",
        "data.text_column": "null",
        "data.label_column": "null",
        "backbone.model": "demo",
    }
    return read_recipe("recipes/agnews-grid.yaml", [f"{name}={value}" for name, value in {**here, **fields}.items()])


def rows(train: int) -> dict[str, tuple[list[str], list[str]]]:
    """Rows of AG News, as loraloom.search takes them."""
    read = list(islice(agnews_rows("train.csv"), train + VALIDATION + TEST))
    parts = read[:train], read[train : train + VALIDATION], read[train + VALIDATION :]
    names = "train", "validation", "test"
    return {name: ([t for t, _ in part], [c for _, c in part]) for name, part in zip(names, parts, strict=True)}


def search(searched: Recipe, out: Path, train: int) -> tuple[TrialRecord, float]:
    """A search from nothing; returns the winner and the seconds that it took."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    in_memory: dict[str, Any] = dict(rows(train))
    winner = pipeline.search(searched, out, allow_leak=True, **in_memory)
    return winner, time.monotonic() - start


def whole(train: int, out: Path) -> None:
    """Trains the grid, and keeps it as a table."""
    _, seconds = search(recipe({"search.pruner": "none"}), WHOLE, train)
    points = [
        Point(record.point, record.result.validation.accuracy, record.timings.seconds)
        for record in Run(WHOLE).records()
        if record.result is not None and record.timings is not None
    ]
    values = {
        "machine": described(),
        "rows": train,
        "seconds": seconds,
        "points": [asdict(point) for point in points],
    }
    (out / "grid.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(f"{len(points)} points in {seconds:.0f} s; the best has {max(point.accuracy for point in points):.4f}")


def adapter_of(point: Point, train: int) -> Path:
    """The folder of a point of the grid, trained on all rows."""
    if WHOLE.is_dir():
        run = Run(WHOLE)
        return run.trial_folder(next(record.number for record in run.records() if record.point == point.point))
    search(recipe({"search.pruner": "none", **point.point}), BEST, train)
    return BEST / "best"


def correct(folder: Path, train: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which test rows an adapter has right."""
    texts, labels = rows(train)["test"]
    predicted = load(folder).predict(texts)
    return np.array([one == other for one, other in zip(predicted, labels, strict=True)], dtype=np.bool_)


def compare(train: int, out: Path) -> None:
    """Searches, and prints what became of it beside the table."""
    if not (out / "grid.json").is_file():
        raise SystemExit(f"{out / 'grid.json'}: is missing; make the table by --whole, or copy that of {RESULTS}")
    table = json.loads((out / "grid.json").read_text(encoding="utf-8"))
    if table["rows"] != train:
        raise SystemExit(f"the table is of {table['rows']} rows; make it anew by --whole")
    beside = machine_folder(RESULTS) / "demo.json"
    if not beside.is_file():
        raise SystemExit("HF Trainer's speed was not measured here; run first: python -m bench.engines demo")
    refuse_other_machine(RESULTS)
    lines = {line.peer: line.examples_per_second for line in Comparison.read(beside).lines}
    points = [Point(**point) for point in table["points"]]
    winner, seconds = search(recipe({"search.pruner": "halving", "search.seeds": 1}), SEARCHED, train)
    best = max(points, key=lambda one: one.accuracy)
    reached = next(one for one in points if one.point == winner.point)
    rank = sum(one.accuracy > reached.accuracy for one in points) + 1
    plain = next(speed for peer, speed in lines.items() if "as it comes" in peer)
    tuned = max(speed for peer, speed in lines.items() if "tuned" in peer)
    needed = {name: len(points) * train / speed for name, speed in (("as it comes", plain), ("tuned", tuned))}
    here = described()
    same = here["machine"] | table["machine"]["machine"] == here["machine"]  # whatever the table says of its machine
    result: dict[str, Any] = {
        "machine": here,
        "rows": train,
        "seconds": seconds,
        "trials": len(Run(SEARCHED).records()),
        "winner": winner.point,
        "rank_in_table": rank,
        "regret": best.accuracy - reached.accuracy,
        "whole_grid_by_loom_is": table["seconds"] / seconds if same else None,
        **{f"hf_trainer_{name.replace(' ', '_')}_is": took / seconds for name, took in needed.items()},
    }
    ours, theirs = correct(SEARCHED / "best", train), correct(adapter_of(best, train), train)
    result |= {"mcnemar_p": mcnemar(ours, theirs), "test": float(ours.mean()), "test_of_best": float(theirs.mean())}
    (out / "grid_search.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "machine"}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grid", description=__doc__)
    parser.add_argument("--whole", action="store_true", help="train the whole grid")
    parser.add_argument("--rows", type=int, default=TRAIN, help="training rows")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table and the result (bench/results)")
    given = parser.parse_args()
    need_agnews(parser)
    FOLDER.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (whole if given.whole else compare)(given.rows, given.out)


if __name__ == "__main__":
    main()
