"""How many workers one driver serves: its cost measured with real workers that do nothing, then 1 to 1,000 simulated.

    python -m bench.scale [--workers 2] [--quick] [--out bench/results/scale.json]
    python -m bench.scale_page                    its figures, in docs/cluster.md

The driver is the one of every search, with its ledger, records and leaderboard on the disk; its workers are processes
that report and end at once (`nothing.py`). What it takes for a report, for a trial's start and for a trial's end is
then given to a discrete-event simulation (simpy) of workers that train for as long as real ones do, report, die and
are replaced. What a start and an end cost may grow with the trials in the ledger: both are given for the first and for
the last of those measured, and the simulation takes the last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import simpy

from bench.nothing import NothingEngine
from bench.scale_page import RESULT, simulated
from bench.texts import make_models
from loraloom.data import load_data
from loraloom.execute.driver import Driver
from loraloom.execute.pool import Pool
from loraloom.execute.reserve import Rehearsal
from loraloom.execute.stopping import Stop
from loraloom.execute.workers import WorkerProcesses
from loraloom.execute.workplace import Workplace
from loraloom.recipe import read_recipe
from loraloom.report.writing import rehearse_report
from loraloom.search.clock import Clock
from loraloom.search.watcher import Watcher
from loraloom.study import ledger as study_ledger
from loraloom.study.commands import COMMANDS, Command, CommandLog
from loraloom.study.run import Run
from loraloom.use.evaluate import rehearse_test
from study.machine import described

WANTED = 200
"""Reports a second that a driver is to take."""
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
TRIAL_SECONDS = (10.0, 60.0, 600.0)
REPORTS = 10
"""Of each simulated trial."""
LedgerKind = Literal["as it is", "unsynced"]
CASES: tuple[tuple[str, LedgerKind], ...] = (
    ("none", "as it is"),
    ("none", "unsynced"),
    ("halving", "as it is"),
    ("halving", "unsynced"),
)
"""Where a report's time goes: with and without the disk's sync, and without the ledger."""
DRIVER_PARTS = {
    "report": "_hear",
    "report, of which the ledger": "_ledger.report",
    "start": "_next_pack",
    "begin": "_begin",
    "end": "_end",
    "end, of which the record and manifest": "_recorder.write",
    "end, of which the ledger": "_ledger.tell",
}


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that the driver takes, per report, start and end of a trial."""

    report: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Of each worker: how seldom it dies, what it then loses since its last checkpoint, and until another has begun."""

    mean_seconds_between: float = 6 * 3600.0
    lost_seconds: float = 10.0
    begin_seconds: float = 30.0


class Stopwatch:
    """Seconds that calls of some methods took, in their order."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def watch(self, owner: Any, path: str, name: str) -> None:
        """Times each call of owner.path from now on."""
        *outer, last = path.split(".")
        for step in outer:
            owner = getattr(owner, step)
        call: Callable[..., Any] = getattr(owner, last)
        taken = self.seconds.setdefault(name, [])

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                taken.append(time.perf_counter() - start)

        setattr(owner, last, timed)


def measure(
    folder: Path, executor: Pool, *, trials: int, reports: int, pruner: str = "none", ledger: LedgerKind = "as it is"
) -> dict[str, Any]:
    """Runs a search of trials that do nothing; returns rates, and seconds of each part of the driver's work."""
    rows = ([f"{word} number {row}" for row in range(30) for word in ("good", "bad")], ["yes", "no"] * 30)
    recipe = read_recipe(
        {
            "backbone": {"model": str(folder / "tiny")},
            "train": {
                "learning_rate": {"min": 1e-5, "max": 1e-2, "log": True},
                "num_train_epochs": reports,
                "bf16": False,
            },
            "search": {"sampler": "random", "n_trials": trials, "pruner": pruner, "resource": "epochs"},
        }
    )
    data = load_data(recipe.data, seed=0, train=rows)
    place = Workplace(recipe, data, lambda finding: None)
    path = folder / f"{pruner} {trials} {ledger}"
    run = Run.create(path, recipe.model_copy(update={"provenance": place.pins()}))
    with _unsynced() if ledger == "unsynced" else nullcontext():
        log, rehearsal = CommandLog(path / COMMANDS, [Command(started="")]), Rehearsal(rehearse_test, rehearse_report)
        driver = Driver(run, place, executor, Watcher(), Clock(None), Stop(), rehearsal, log)
    watch = Stopwatch()
    for name, part in DRIVER_PARTS.items():
        watch.watch(driver, part, name)
    place.rows(recipe.configuration({"train.learning_rate": 1e-3}))
    executor.pack_size(place.source(recipe.backbone), recipe.configuration({"train.learning_rate": 1e-3}))
    with run.locked():
        driver.plan("nothing", "to measure the driver")
        start = time.perf_counter()
        driver.run_trials()
        seconds = time.perf_counter() - start
    heard = len(watch.seconds["report"])
    return {
        "pruner": pruner,
        "ledger": ledger,
        "trials": trials,
        "reports": heard,
        "seconds": seconds,
        "reports_per_second": heard / (seconds - sum(sum(watch.seconds[name]) for name in ("start", "begin", "end"))),
        "parts": {name: _first_and_last(taken) for name, taken in watch.seconds.items()},
    }


@contextmanager
def _unsynced() -> Iterator[None]:
    """SQLite leaves the disk's cache alone: what is left of the ledger's cost is Optuna's and SQLAlchemy's."""
    synchronous = study_ledger.SYNCHRONOUS
    study_ledger.SYNCHRONOUS = "OFF"
    try:
        yield
    finally:
        study_ledger.SYNCHRONOUS = synchronous


def _first_and_last(taken: list[float]) -> dict[str, float]:
    """Mean milliseconds over the first and the last quarter of calls; 0 where there was none."""
    if not taken:
        return {"calls": 0, "first_ms": 0.0, "last_ms": 0.0}
    quarter = max(1, len(taken) // 4)
    return {"calls": len(taken), "first_ms": 1e3 * fmean(taken[:quarter]), "last_ms": 1e3 * fmean(taken[-quarter:])}


def costs_of(reporting: dict[str, Any], ending: dict[str, Any]) -> Costs:
    """What the simulation takes: a report with its round trip, and the last trials' starts (with folders) and ends."""
    parts = ending["parts"]
    starts = parts["start"]["last_ms"] + parts["begin"]["last_ms"]
    return Costs(1 / reporting["reports_per_second"], starts / 1e3, parts["end"]["last_ms"] / 1e3)


@dataclass(slots=True)
class _Tally:
    useful: float = 0.0
    driver_busy: float = 0.0
    lost: int = 0


def simulate(
    workers: int, trial_seconds: float, costs: Costs, failures: Failures, *, seed: int = 0
) -> dict[str, float]:
    """Simulates 20 trials' time; returns the share of the ideal (all workers train all the time) and of the driver."""
    environment, tally = simpy.Environment(), _Tally()
    driver, generator, horizon = simpy.Resource(environment), random.Random(seed), 20 * trial_seconds  # noqa: S311

    def served(seconds: float) -> Generator[simpy.Event, Any, None]:
        with driver.request() as turn:
            yield turn
            yield environment.timeout(seconds)
            tally.driver_busy += min(seconds, max(0.0, horizon - environment.now + seconds))

    def work() -> Generator[simpy.Event, Any, None]:
        dies_at = generator.expovariate(1 / failures.mean_seconds_between)
        yield from served(costs.start)
        while True:
            between = trial_seconds * generator.uniform(0.8, 1.2) / REPORTS
            for _ in range(REPORTS):
                while environment.now + between > dies_at:
                    yield environment.timeout(max(0.0, dies_at - environment.now))
                    tally.lost += 1
                    tally.useful -= failures.lost_seconds
                    yield environment.timeout(failures.begin_seconds)
                    yield from served(costs.start)
                    dies_at = environment.now + generator.expovariate(1 / failures.mean_seconds_between)
                yield environment.timeout(between)
                tally.useful += between
                yield from served(costs.report)
            yield from served(costs.end + costs.start)

    for _ in range(workers):
        environment.process(work())
    environment.run(until=horizon)
    return {
        "workers": workers,
        "trial_seconds": trial_seconds,
        "share_of_ideal": max(0.0, tally.useful) / (workers * horizon),
        "driver_busy": min(1.0, tally.driver_busy / horizon),
        "workers_lost": tally.lost,
    }


def limit(trial_seconds: float, costs: Costs) -> float:
    """Workers that keep the driver busy all the time."""
    return trial_seconds / (costs.start + costs.end + REPORTS * costs.report)


def limits(costs: Costs) -> dict[str, float]:
    """The same, by the length of trials."""
    return {f"{seconds:g}": limit(seconds, costs) for seconds in TRIAL_SECONDS}


def print_tables(result: dict[str, Any]) -> None:
    about, machine = result["machine"], result["machine"]["machine"]
    words = f"{machine['processor']}, {machine['cores']} cores, Python {about['python']}, {about['started'][:10]}"
    print(f"{words}, load average {result['load_average']:.1f}")
    for case in result["measured"]:
        print(f"\npruner {case['pruner']}, ledger {case['ledger']}, {result['workers']} workers:", end=" ")
        print(
            f"{case['trials']} trials, {case['reports']} reports, {case['reports_per_second']:.0f} reports/s", end=" "
        )
        print(f"between starts and ends, {case['reports'] / case['seconds']:.0f} with them")
        for name, part in case["parts"].items():
            print(f"  {name:<40} {part['first_ms']:8.2f} ms at first {part['last_ms']:8.2f} ms at last")
    print("", simulated(result), sep="\n")
    for seconds, workers in result["limits"].items():
        print(f"trials of {seconds} s: the driver is busy all the time at {workers:.0f} workers")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few trials: to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args(arguments)
    few = 10 if chosen.quick else 1
    pool = Pool(WorkerProcesses(chosen.workers, NothingEngine, 1), lambda sentence: None)
    with tempfile.TemporaryDirectory() as name, closing(pool):
        folder = Path(name)
        make_models(folder, tiny=True)
        as_it_is, unsynced, pruned, pruned_unsynced = [
            measure(folder, pool, trials=8, reports=100 // few, pruner=pruner, ledger=ledger)
            for pruner, ledger in CASES
        ]
        ends = measure(folder, pool, trials=200 // few, reports=1)
    costs = costs_of(as_it_is, ends)
    numbers = WORKERS[:2] if chosen.quick else WORKERS
    result = {
        "machine": described(),
        "load_average": os.getloadavg()[0],
        "workers": chosen.workers,
        "wanted_reports_per_second": WANTED,
        "measured": [as_it_is, unsynced, pruned, pruned_unsynced, ends],
        "costs": asdict(costs),
        "failures": asdict(Failures()),
        "reports_per_trial": REPORTS,
        "simulated": [simulate(w, seconds, costs, Failures()) for seconds in TRIAL_SECONDS for w in numbers],
        "limits": limits(costs),
        "limits_with_pruner": limits(costs_of(pruned, ends)),
    }
    chosen.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print_tables(result)


if __name__ == "__main__":
    main()
