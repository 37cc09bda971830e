"""The plan as people see it: what was measured, which trials fit into the time, what is left out, when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loraloom.search.ladder import REDUCTION_FACTOR
from loraloom.search.pace import Pace

MOST_TRIALS = 100_000
"""Planned where the time alone is to end the search."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rung or the finals: how many trials, on how many training rows."""

    trials: int
    rows: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to come. `seconds_left` and `examples_per_second` are None where there is no deadline.

    `rungs` are trials that find the finalists, `finals` those that compare them; where every configuration is trained
    in full, there are finals alone. `leading` are trials that come before both, of the presets that lead, None where
    they begin with all others. `part` is the part of the rows that the time allows for, None where it is all. `passes`
    are the fewest and the most over the rows that a final has. `validated` are the rows that `part` is validated on,
    None where they are all `eval_rows`.
    """

    rungs: tuple[Step, ...]
    finals: Step
    finalists: int | None
    seeds: int
    train_rows: int
    part: int | None
    seconds_left: float | None
    examples_per_second: float | None
    leading: Step | None = None
    passes: tuple[float, float] | None = None
    eval_rows: int | None = None
    validated: int | None = None

    @property
    def trials(self) -> int:
        """All trials that are to come, those of the rungs included."""
        first = self.leading.trials if self.leading else 0
        return first + self.finals.trials + sum(step.trials for step in self.rungs)


def look_ahead(
    pace: Pace, configurations: int | None, *, tried: int, ended: int, finals_to_come: int | None = None
) -> Outlook:
    """What `pace` has in mind, with `tried` configurations begun and `ended` trials behind it.

    `finals_to_come` are the trials that its finalists lack; None: all that the plan has.
    """
    task, plan = pace.task, pace.plan
    assert task is not None
    left, dearest = pace.clock.training_seconds_left, task.dearest(pace.costs)
    speed = None if not pace.costs.known else 1 / pace.costs.train_row_seconds(dearest)
    rows = [task.rows(rung) for rung in plan.rungs]
    seconds = [pace.seconds(dearest, rung) for rung in plan.rungs]
    to_come = MOST_TRIALS if configurations is None else max(0, configurations - tried)
    rungs: tuple[Step, ...] = ()
    passes = task.recipe.values("train.num_train_epochs") if plan.epochs is None else tuple(plan.epochs.values())
    compared = min(to_come, max(0, len(task.leading) - tried)) if plan.leading_rung else 0
    least = int(not (tried or compared))  # the first trial is begun, whatever it takes
    if plan.finalists is None:
        trials = MOST_TRIALS if configurations is None else max(0, configurations * plan.seeds - ended)
        if left is not None and seconds[-1] > 0:
            trials = min(trials, max(least, int(pace.slots * left / seconds[-1])))
        finals = Step(trials, rows[-1])
    else:
        finals = Step(plan.lacking(plan.finalists) if finals_to_come is None else finals_to_come, rows[-1])
        to_come -= compared
        if left is not None and seconds[0] > 0:
            climb = sum(cost / REDUCTION_FACTOR**rung for rung, cost in enumerate(seconds[:-1])) or seconds[0]
            rounds = math.ceil(finals.trials / pace.slots)
            beside = pace.slots * rounds * seconds[-1] + compared * seconds[plan.leading_rung]
            searching = max(0.0, pace.slots * left - beside)
            to_come = min(to_come, max(least, int(searching / climb)))
        rungs = tuple(Step(to_come // REDUCTION_FACTOR**rung, size) for rung, size in enumerate(rows[:-1] or rows))
    if plan.epochs is not None and task.leading and not tried and finals.trials + sum(one.trials for one in rungs) == 1:
        passes = (plan.planned(task.leading[0], plan.top).train.num_train_epochs,)  # of the one that has all the time
    return Outlook(
        rungs=tuple(step for step in rungs if step.trials),
        finals=finals,
        finalists=plan.finalists,
        seeds=plan.seeds,
        train_rows=task.train_rows,
        part=None if plan.top is None else task.rows(plan.top),
        seconds_left=pace.clock.seconds_left,
        examples_per_second=speed,
        leading=Step(compared, rows[plan.leading_rung]) if compared else None,
        passes=(min(passes), max(passes)),
        eval_rows=task.eval_rows,
        validated=None if task.validated(plan.top) == task.eval_rows else task.validated(plan.top),
    )
