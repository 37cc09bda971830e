"""Searches against deadlines on a disturbed machine: does each end in time, and how much of it was used?

    python -m bench.deadlines                  20 searches of 20 s to 10 min, two at a time: half an hour
    python -m bench.deadlines --searches 4 --longest 60

Searches run beside each other and beside a load that comes and goes, so that each finds the machine at another speed
from one minute to the next. The share of the time counts training and validation, as trials were timed, and the
winner's test; loading, planning, writing and the report are the rest. Searches that were refused since their time
suffices for no trial are counted apart. Prints a table, and keeps it as JSON. An overrun, or
a search that failed, is exit code 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.comparison import machine_folder, refuse_other_machine
from bench.measure import RESULTS, RUNS
from loraloom.report.markdown.text import table
from loraloom.study.durable import write_json
from loraloom.study.run import Run
from study.machine import described

NAME = "deadlines.json"
"""The file's, in this machine's folder of results."""
FOLDER = RUNS / ".deadlines"
RATE = "train.learning_rate={min: 5e-4, max: 8e-3, log: true}"


@dataclass(frozen=True, slots=True)
class Search:
    """One search: what it was given, what it took, what it has to show."""

    deadline: float
    seconds: float
    code: int
    trials: int
    finals: int
    rows: int
    training_seconds: float
    accuracy: float | None
    said: str

    @property
    def share(self) -> float:
        """Of the time, for training and evaluation."""
        return self.training_seconds / self.deadline

    @property
    def refused(self) -> bool:
        """Whether it said that its time suffices for no trial, and trained none."""
        return self.code == 2 and not self.trials and re.search("d(oes|id) not suffice", self.said) is not None

    @property
    def failed(self) -> bool:
        """Whether it ended by anything but its plan, and was not refused."""
        return self.code != 0 and not self.refused


def run(number: int, deadline: float) -> Search:
    """Runs one search as a user would, and reads what it left."""
    out = FOLDER / f"{number:02d}"
    changes = [f"budget.max_seconds={deadline:.0f}", "search.seeds=2", "search.n_trials=null", RATE]
    command = [sys.executable, "-m", "loraloom", "search", "recipes/demo.yaml", "--out", str(out), "--quiet"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, *(part for change in changes for part in ("--set", change))],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    records = Run(out).records() if (out / "recipe.yaml").is_file() else ()
    best = Run(out).best() if records else None
    most = max((record.train_rows or 0 for record in records), default=0)
    timed = [record.timings for record in records if record.timings is not None]
    tested = 0.0
    if best is not None and best.timings is not None and best.result is not None and best.result.test is not None:
        evaluation = best.timings.seconds - best.timings.train_seconds
        tested = evaluation / 2 * best.result.test.examples / best.result.validation.examples
    return Search(
        deadline=deadline,
        seconds=seconds,
        code=done.returncode,
        trials=len(records),
        finals=sum(record.train_rows == most for record in records),
        rows=most,
        training_seconds=sum(one.seconds for one in timed) + tested,
        accuracy=best.result.test.accuracy if best and best.result and best.result.test else None,
        said=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "",
    )


def disturb(seed: int) -> None:
    """A load of one thread that comes and goes, for as long as it is let."""
    generator = random.Random(seed)  # noqa: S311
    matrix = np.ones((256, 256))
    while True:
        until = time.monotonic() + generator.uniform(1, 20)
        while time.monotonic() < until:
            matrix = matrix @ matrix / 256
        time.sleep(generator.uniform(1, 40))


def main() -> int:
    """Returns 1 where a search was late, or failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.deadlines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--shortest", type=float, default=20, help="seconds")
    parser.add_argument("--longest", type=float, default=600, help="seconds")
    parser.add_argument("--together", type=int, default=2, help="searches at once")
    parser.add_argument("--out", type=Path, help=f"where it is kept (bench/results/engines/MACHINE/{NAME})")
    given = parser.parse_args()
    refuse_other_machine(RESULTS)
    subprocess.run(["rm", "-rf", str(FOLDER)], check=True)  # noqa: S607
    FOLDER.mkdir(parents=True)
    deadlines = np.geomspace(given.shortest, given.longest, given.searches).round()
    order = np.random.default_rng(0).permutation(given.searches)
    load = multiprocessing.Process(target=disturb, args=(0,), daemon=True)
    load.start()
    with ThreadPoolExecutor(given.together) as pool:
        found = list(pool.map(lambda number: run(int(number), float(deadlines[number])), order))
    load.terminate()
    found.sort(key=lambda search: search.deadline)
    machine = described()
    late = [search for search in found if search.seconds > search.deadline]
    used = [search for search in found if not search.refused]
    values = {
        "machine": machine,
        "together": given.together,
        "overruns": len(late),
        "refused": len(found) - len(used),
        "failed": sum(search.failed for search in found),
        "mean_share": float(np.mean([search.share for search in used])) if used else 0.0,
        "share_of_all": sum(search.training_seconds for search in used) / max(1.0, sum(one.deadline for one in used)),
        "searches": [{**asdict(search), "share": search.share} for search in found],
    }
    out = given.out or machine_folder(RESULTS) / NAME
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, values)
    print(f"{machine['machine']['processor']}, {machine['machine']['cores']} cores, {machine['started'][:10]}")
    head = "deadline s", "took s", "exit", "trials", "on most rows", "rows", "training, evaluation", "accuracy"
    rows = [
        (
            f"{search.deadline:.0f}",
            f"{search.seconds:.1f}",
            *map(str, (search.code, search.trials, search.finals)),
            f"{search.rows:,}",
            f"{search.share:.0%}",
            "–" if search.accuracy is None else f"{search.accuracy:.3f}",
        )
        for search in found
    ]
    print(table(head, rows, range(len(head))))
    print(
        f"\n{len(late)} overruns of {len(found)}, {values['refused']} refused, {values['failed']} failed; "
        "those that were not refused used "
        f"{values['mean_share']:.0%} of their time on average, {values['share_of_all']:.0%} of all of it"
    )
    return 1 if late or values["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
