"""A planner without an engine: its clock, its first measurement and what leads are the test's."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from loraloom.data import Split
from loraloom.engine import Job, Outcome
from loraloom.execute.planning import Planner
from loraloom.recipe import Recipe
from loraloom.search.clock import Clock
from loraloom.search.costs import Measured, measured
from loraloom.search.pace import Pace
from loraloom.study.record import Timings
from loraloom.study.run import PLAN
from loraloom.study.sealed import write_sealed
from tests.execute.engines import COUNTS, SOURCE, result_of, rows

ROW_SECONDS = 0.01


@dataclass(slots=True)
class Planned:
    """A planner of a run of 20,000 rows, whose first point was timed before; the clock is the test's."""

    recipe: Recipe
    run: Path
    at: float = 0.0
    seconds: float = 600.0
    start_up: float = 0.0
    """Seconds of a command that pass before it plans."""
    where: str = "in this process, 4 threads"
    timed: tuple[Measured, ...] = ()
    """What was timed before, in place of the first point."""
    test_rows: int = 100
    most_rows: tuple[int, int] = (20_000, 20_000)
    ranks: tuple[int, ...] = (16, 16)
    """Of what leads."""
    layers: tuple[Any, Any] = ("top-half", "top-half")
    """The same; the second comes first once that is told."""
    listing: Any = None
    has_results: bool = True
    """Whether a trial was finished."""
    apart: Any = None
    """Who measures in the place of who trains."""
    notes: list[str] = field(default_factory=list)
    planner: Planner = field(init=False)
    foresaw: list[float] = field(default_factory=list)
    """Examples that proposals were told a final will see, command by command."""
    every_layer_first: list[bool] = field(default_factory=list)
    """Whether they were told to begin with every layer adapted."""

    def __post_init__(self) -> None:
        self.run.mkdir(exist_ok=True)
        write_sealed(self.run / PLAN, {"measured": [asdict(one) for one in self.timed or (self._first,)]})
        self.planner = self.again()

    @property
    def _first(self) -> Measured:
        training, evaluation = 1_000 * ROW_SECONDS, 100 * ROW_SECONDS / 3
        timings = Timings(seconds=training + evaluation, train_seconds=training, examples_per_second=1 / ROW_SECONDS)
        return measured(
            self.recipe.configuration({}),
            timings,
            timings.seconds + 0.5,
            train_rows=1_000,
            eval_rows=100,
            passes=1,
            evaluated=1,
        )

    def again(self) -> Planner:
        """The planner of a command that goes on with the run."""
        labels = np.arange(20_000) % 2
        split = Split(("",) * len(labels), labels)
        data = SimpleNamespace(
            train=split, validation=split, test=split.take(range(self.test_rows)), labels=("no", "yes")
        )
        place: Any = SimpleNamespace(
            recipe=self.recipe,
            data=data,
            most_rows=self.most_rows,
            demands=SimpleNamespace(fitting=dict),
        )
        leading = tuple(
            self.recipe.configuration({}).with_fields(lora={"r": rank, "layers_to_transform": layers})
            for rank, layers in zip(self.ranks, self.layers, strict=True)
        )
        self.listing = SimpleNamespace(
            configurations=None,
            leading=leading,
            every=(),
            leads_alone=False,
            foresee=self._foresee,
        )
        proposals: Any = SimpleNamespace(listing=self.listing, has_results=self.has_results)
        clock = Clock(None if self.seconds == math.inf else self.seconds, lambda: self.at)
        planner = Planner(self.run, place, Pace(clock=clock), proposals)
        self.at += self.start_up
        planner.prepare(cast(Any, SimpleNamespace(where=self.where)), self.notes.append, self.apart)
        planner.write()
        return planner

    def _foresee(self, seen: float, *, every_layer_first: bool) -> None:
        self.foresaw.append(seen)
        self.every_layer_first.append(every_layer_first)
        self.listing.leading = self.listing.leading[:: -1 if every_layer_first else 1]

    def trained(self, point: dict[str, Any], row_seconds: float, *, alone: bool = True) -> None:
        """Has the planner take note of a trial of one epoch."""
        of = rows()
        job = Job(0, self.recipe.configuration(point), SOURCE, of, self.run, 1, None)
        seconds = len(of.train) * row_seconds
        timings = Timings(seconds=seconds, train_seconds=seconds, examples_per_second=1 / row_seconds)
        outcome = Outcome("nothing", "complete", "fp32", COUNTS, None, result_of(job, 1), timings)
        self.planner.note(job, outcome, 1.0, seconds if alone else None)
