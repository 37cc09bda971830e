"""Compares engines: `python -m bench.engines [case ...] [--quick] [--engine trainer]`; all cases by default.

Peers take turns, in an order that is turned round every time. All ways to tune HF Trainer are measured in the first
round; the fastest of them goes on. Figures come from each peer's best times over the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.agnews import need_agnews
from bench.cases import CASES, MEGA_BATCH, Case, Peer, quick
from bench.comparison import Comparison, fastest, goals_of, lines_of, refuse_other_machine, tokens_per_row
from bench.measure import RESULTS, Sample, Task, run, sample, threads
from loraloom.errors import LoraloomError
from study.machine import described

NAMES = tuple(case.name for case in CASES)


@dataclass(frozen=True, slots=True)
class Bench:
    """How cases are run: what stands behind `loom`, how often, and where models are made."""

    engine: str
    rounds: int
    quick: bool
    folder: Path
    console: Console

    def compare(self, case: Case) -> Comparison:
        """Measures a case.

        Raises:
            RuntimeError: a measurement failed, or peers did not train the same parameters.
        """
        peaks: list[dict[str, Any]] = []
        samples: list[Sample] = []
        for round_ in range(self.rounds):
            peaks.append(run(self._task(case, "peak")))
            self._measure(case, round_, samples)
        peak = max(peaks, key=lambda peak: peak["operations_per_second"])
        if len(trained := {s.trainable for s in samples}) > 1:
            raise RuntimeError(f"{case.name}: peers train {sorted(trained)} parameters; they must train the same")
        return Comparison(
            case=case.name,
            title=case.title,
            measure=case.measure,
            work=asdict(case.work),
            engine=self.engine,
            quick=self.quick,
            rounds=self.rounds,
            threads=threads(),
            machine=described(),
            tokens_per_row=tokens_per_row(case, samples),
            peak=peak,
            peaks=tuple(peak["operations_per_second"] for peak in peaks),
            lines=lines_of(case, samples, peak),
            goals=goals_of(case, samples, peak),
            samples=tuple(samples),
            mega_batch=MEGA_BATCH,
        )

    def _measure(self, case: Case, round_: int, samples: list[Sample]) -> None:
        """Adds a round to `samples`."""
        for peer in _turn(case, samples, round_):
            for rows in sorted(set(case.work.rows)):
                samples.append(sample(self._task(case, case.measure, peer, rows), round_))
                self._say(case, samples[-1])

    def _task(self, case: Case, do: Any, peer: Peer | None = None, rows: int = 0) -> Task:
        return Task(do, case.work, self.folder, peer, rows, self.engine)

    def _say(self, case: Case, taken: Sample) -> None:
        self.console.print(
            f"{case.name}, round {taken.round + 1}, {taken.rows} rows, {taken.peer}: {taken.seconds:.2f} s, "
            f"{taken.peak_mb:,.0f} MiB",
            style="dim",
            highlight=False,
        )


def _turn(case: Case, taken: list[Sample], round_: int) -> list[Peer]:
    """Who is measured in a round, and in which order."""
    looms = [Peer("loom", trials=trials) for trials in case.trials]
    if round_ == 0:
        return [Peer("plain"), *case.tuned, *looms]
    peers = [*([Peer("plain")] if case.repeats_plain else []), fastest(case, taken), *looms]
    return peers[::-1] if round_ % 2 else peers


def show(console: Console, comparison: Comparison) -> None:
    """Prints a comparison's table and goals."""
    header, rows = comparison.table()
    table = Table(title=f"{comparison.case}: {comparison.title}", title_justify="left")
    for column in header:
        table.add_column(column, justify="left" if column == "peer" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for goal in comparison.goals:
        console.print(f"{'met' if goal.met else 'missed':>6}: {goal.sentence}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--engine", choices=("loom", "trainer"), default="loom", help="what is measured as loraloom")
    parser.add_argument("--rounds", type=int, help="how often each peer is measured (2, or 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; not written")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (bench/results)")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(NAMES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    need_agnews(parser)
    try:
        refuse_other_machine(given.out)
    except LoraloomError as error:
        parser.error(str(error))
    console = Console(width=None if Console().is_terminal else 140)
    with tempfile.TemporaryDirectory(prefix="loraloom-bench-") as folder:
        rounds = given.rounds or (1 if given.quick else 2)
        bench = Bench(given.engine, rounds, given.quick, Path(folder), console)
        chosen = [quick(case) if given.quick else case for case in CASES if case.name in (given.cases or NAMES)]
        run(Task("prepare", (quick(CASES[0]) if given.quick else CASES[0]).work, Path(folder), None, 32, given.engine))
        for case in chosen:
            comparison = bench.compare(case)
            show(console, comparison)
            if not given.quick or given.out != RESULTS:
                comparison.write(given.out)


if __name__ == "__main__":
    main()
