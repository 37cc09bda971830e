"""What a search itself costs a trial, whatever training costs: `python -m bench.ledger [--sizes 10,100,1000,10000]`.

A ledger and trial folders are filled with synthetic trials over six axes. Then some more trials are gone through as the
driver does it, without training: the next is proposed and begun in the ledger (ask), evaluations are reported, the end
is told, the leaderboard and the standings follow, and the terminal draws its view. Each line of the table is a process
of its own. Filling 10,000 trials takes two minutes, all of it some ten.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from rich.console import Console

from bench.measure import RESULTS, RUNS
from bench.synthetic import drawn_point, synthetic_record
from loraloom.recipe import Recipe, read_recipe
from loraloom.search.costs import Costs
from loraloom.search.outlook import Outlook, Step
from loraloom.search.pace import Pace
from loraloom.search.plan import make_plan
from loraloom.search.points import distribution, ledger_params
from loraloom.search.proposals import Proposals
from loraloom.search.pruning import make_pruner
from loraloom.search.task import Task
from loraloom.search.watcher import SearchPlan
from loraloom.study import live_leaderboard
from loraloom.study.durable import MANIFEST, sha256, write_json
from loraloom.study.leaderboard import LEADERBOARD
from loraloom.study.ledger import Ledger, noted, write_trials
from loraloom.study.live_leaderboard import LiveLeaderboard
from loraloom.study.record import RECORD, Score, TrialRecord
from loraloom.study.run import LEDGER, Run
from loraloom.terminal.live import Terminal
from study.machine import described

RESULT = RESULTS / "ledger.json"
SIZES = (10, 100, 1_000, 10_000)
CASES = (
    ("grid", "none", "epochs"),
    ("random", "none", "epochs"),
    ("tpe", "none", "epochs"),
    ("random", "halving", "epochs"),
    ("random", "hyperband", "epochs"),
    ("random", "halving", "rows"),
)
TASK_ROWS = 20_000
"""Training rows where rungs are of rows: five of them."""
EVALUATIONS = 9
"""Of a trial; with a reduction factor of 3, as many as reach the third rung."""

OUTLOOK = Outlook((), Step(1000, 100), None, 1, 100, None, None, None)
"""What the terminal is told of trials to come."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds: the median and the largest on the clock, and the processor's median, which other work lets be."""

    median: float
    largest: float
    processor: float

    @classmethod
    def of(cls, samples: list[tuple[float, float]]) -> Cost:
        if not samples:  # nothing is done there, as for reports without a pruner
            return cls(0.0, 0.0, 0.0)
        clock, processor = zip(*samples, strict=True)
        return cls(statistics.median(clock), max(clock), statistics.median(processor))


@dataclass(frozen=True, slots=True)
class Line:
    """Costs of a trial over `repeats` trials, in milliseconds, and what is once.

    `ask` and `tell` are what the ledger takes. `commits` are SQLite's in one of each, and `disk` is what they took on
    the clock: mostly waiting for the disk (fsync). `report` is of one evaluation, `table` of the trial's place in the
    leaderboard and the standings, `file` of leaderboard.csv, and `screen` of the terminal's view, drawn once.
    """

    sampler: str
    pruner: str
    trials: int
    repeats: int
    open_seconds: float
    open_megabytes: float
    ask: Cost
    tell: Cost
    commits: int
    disk: Cost
    report: Cost
    table: Cost
    file: Cost
    screen: Cost


def recipe_of(sampler: str, pruner: str = "none", resource: str = "epochs") -> Recipe:
    """Six axes: lists, of which the grid has 12,960 points, or ranges and lists for random and tpe."""
    search = {"sampler": sampler, "pruner": pruner, "resource": resource, "n_trials": 2 * max(SIZES)}
    if sampler == "grid":
        return read_recipe(
            {
                "lora": {"r": [1, 2, 4, 8, 12, 16], "lora_alpha": [4, 8, 16, 32, 64], "lora_dropout": [0, 0.05, 0.1]},
                "train": {
                    "optim": ["adam", "adamw", "sgd", "muon"],
                    "learning_rate": [1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3],
                    "weight_decay": [0, 0.01, 0.02, 0.05, 0.1, 0.2],
                },
                "search": search,
            }
        )
    return read_recipe(
        {
            "lora": {
                "r": {"min": 1, "max": 32, "log": True},
                "lora_alpha": {"min": 4, "max": 64},
                "target_modules": [["query", "value"], ["query"], "all-linear"],
            },
            "train": {
                "optim": ["adam", "adamw", "sgd", "muon"],
                "learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
                "weight_decay": {"min": 0.0, "max": 0.2},
            },
            "search": search,
        }
    )


def pace_of(recipe: Recipe) -> Pace:
    """What a search without a deadline is planned as: rungs, where they are of rows."""
    task = Task(recipe, TASK_ROWS, TASK_ROWS // 10, 2, recipe.search.n_trials)
    return Pace(task, make_plan(task, Costs(), None, slots=1))


class Filled:
    """A run folder of synthetic trials, which grows."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.run = Run.create(folder, recipe)
        self._points = recipe.grid() if recipe.search.sampler == "grid" else _drawn(recipe)
        self._rows = pace_of(recipe).plan.rungs[0]
        self._trials: list[FrozenTrial] = []
        self._write()

    def grow(self, size: int) -> None:
        """Adds trials until there are `size`."""
        recipe = self.run.recipe
        distributions = {name: distribution(axis) for name, axis in recipe.axes.items()}
        begun = len(self._trials)
        for number, point in enumerate(islice(self._points, size - begun), start=begun):
            record = record_of(recipe, number, point)
            folder = self.run.trial_folder_to_begin(number)
            (folder / RECORD).write_text(record.model_dump_json(indent=2), encoding="utf-8")
            manifest = {"sha256": {RECORD: sha256(folder / RECORD)}}
            (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            value = record.validation.accuracy
            steps = {step: value * (1 - 0.5**step) for step in range(1, EVALUATIONS + 1)}
            self._trials.append(
                create_trial(
                    params=ledger_params(recipe.axes, point),
                    distributions=distributions,
                    value=value,
                    user_attrs=noted(0, self._rows),
                    system_attrs={f"completed_rung_{rung}": steps[3**rung] for rung in range(3)},
                    intermediate_values=steps,
                )
            )
        self._write()
        os.sync()  # else what is measured waits for these files too

    def _write(self) -> None:
        write_trials(self.run.path / LEDGER, self._trials)


def record_of(recipe: Recipe, number: int, point: Mapping[str, Any]) -> TrialRecord:
    """A finished trial as training might have left it."""
    chance = random.Random(number)  # noqa: S311
    accuracy = 0.8 + 0.1 * (1 - 1 / (1 + point["lora.r"])) + 0.05 * chance.random()
    score = Score(examples=2000, accuracy=accuracy, macro_f1=accuracy - 0.01, loss=1 - accuracy)
    return synthetic_record(recipe, number, point, score, seconds=60 + chance.random())


def _drawn(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Random points of the axes, the same each time."""
    chance = random.Random(0)  # noqa: S311
    while True:
        yield drawn_point(recipe, chance)


class _Timed(sqlite3.Connection):
    """Counts and times commits."""

    commits, seconds = 0, 0.0

    def commit(self) -> None:
        writes, start = self.in_transaction, time.perf_counter()
        super().commit()
        _Timed.commits += writes
        _Timed.seconds += (time.perf_counter() - start) * writes


def measure(folder: Path, recipe: Recipe, trials: int, repeats: int) -> Line:
    """Goes through `repeats` trials more than the `trials` that `folder` holds; it stays as it is."""
    from scipy import stats  # noqa: F401  what is imported on first use is no cost of a trial

    connect = sqlite3.connect
    sqlite3.connect = lambda *given, **options: connect(*given, factory=_Timed, **options)  # type: ignore[assignment]
    run = Run(folder)
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        path = Path(shutil.copy(folder / LEDGER, copy))
        before, start = _resident(), time.perf_counter()
        ledger = Ledger(path, make_pruner(recipe))
        proposals = Proposals(recipe, ledger, lambda _: None, pace_of(recipe), rows=(None, None))
        terminal = _terminal(run, recipe, proposals)
        leaderboard = LiveLeaderboard(Path(copy) / LEADERBOARD, "accuracy", run.records())
        leaderboard.write()
        live_leaderboard.PAUSE = 3600.0  # `add` does not write meanwhile, which is timed by itself
        opened, megabytes = time.perf_counter() - start, _resident() - before
        costs: dict[str, list[tuple[float, float]]] = {
            name: [] for name in ("ask", "tell", "report", "table", "file", "screen", "disk")
        }
        for _ in range(repeats):
            _Timed.commits, _Timed.seconds = 0, 0.0
            with _timed(costs["ask"]):
                proposal = proposals.next()
            assert proposal is not None
            waited, commits = _Timed.seconds, _Timed.commits
            record = record_of(recipe, proposal.number, proposal.point)
            values = {step: record.validation.accuracy * (1 - 0.5**step) for step in range(1, EVALUATIONS + 1)}
            for step in values if ledger.prunes else ():  # as the driver does
                with _timed(costs["report"]):
                    ledger.report(record.number, {number: values[number] for number in range(1, step + 1)})
            _Timed.commits, _Timed.seconds = 0, 0.0
            with _timed(costs["tell"]):
                ledger.tell(record.number, "complete", record.validation.accuracy, reports=values)
            costs["disk"].append((1000 * (waited + _Timed.seconds), 0.0))
            commits += _Timed.commits
            with _timed(costs["table"]):
                leaderboard.add(record)
                ranked = leaderboard.standings
            with _timed(costs["file"]):
                leaderboard.write()
            with _timed(costs["screen"]):
                terminal.trial_started(proposal, record.counts.trainable)
                terminal.trial_ended(record, ranked, OUTLOOK)
                Console(file=io.StringIO(), width=120, force_terminal=True).print(terminal)
    return Line(
        recipe.search.sampler,
        recipe.search.pruner + (" on rows" if pace_of(recipe).plan.finalists else ""),
        trials,
        repeats,
        open_seconds=opened,
        open_megabytes=megabytes,
        commits=commits,
        **{name: Cost.of(samples) for name, samples in costs.items()},
    )


@contextmanager
def _timed(into: list[tuple[float, float]]) -> Iterator[None]:
    clock, processor = time.perf_counter(), time.process_time()
    yield
    into.append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)))


def _resident() -> float:
    """Resident memory of this process in 10^6 bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def _terminal(run: Run, recipe: Recipe, proposals: Proposals) -> Terminal:
    terminal = Terminal(Console(file=io.StringIO(), width=120), quiet=False)
    plan = SearchPlan(
        recipe, run.path, "synthetic", ("a", "b"), (1, 1, 1), proposals.listing.configurations, 0, (), "", "", OUTLOOK
    )
    terminal.planned(plan)
    return terminal


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="trials in the ledger, rising")
    parser.add_argument("--repeats", type=int, default=20, help="trials measured at each size (20)")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is written")
    given = parser.parse_args()
    RUNS.mkdir(exist_ok=True)  # where runs are made, and not a folder in memory
    sizes, lines = [int(size) for size in given.sizes.split(",")], []
    with tempfile.TemporaryDirectory(prefix=".ledger-", dir=RUNS) as folder:
        recipes = {"grid": recipe_of("grid"), "random": recipe_of("random")}
        recipes["rungs"] = recipe_of("random", "halving", "rows")
        filled = {name: Filled(Path(folder) / name, recipe) for name, recipe in recipes.items()}
        for size in sizes:
            for each in filled.values():
                each.grow(size)
            for sampler, pruner, resource in CASES:
                place = filled["rungs" if resource == "rows" else sampler if sampler == "grid" else "random"].run.path
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    line = process.submit(
                        measure, place, recipe_of(sampler, pruner, resource), size, given.repeats
                    ).result()
                print(json.dumps(asdict(line)), flush=True)
                lines.append(line)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        given.out,
        {"machine": described(), "evaluations": EVALUATIONS, "lines": [asdict(x) for x in lines]},
    )


if __name__ == "__main__":
    main()
