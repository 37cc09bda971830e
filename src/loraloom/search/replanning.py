"""A plan made anew: what becomes of the one that a search has when costs, or the time that is given, are others.

Rungs stay, since results on different rows can't be compared, but for the last until a trial on it is begun. Where
there is time for many more rows, finals have them: in its place, or on a rung above.
"""

from __future__ import annotations

from dataclasses import replace

from loraloom.search.costs import Costs
from loraloom.search.ladder import REDUCTION_FACTOR
from loraloom.search.passes import passes
from loraloom.search.plan import CLOCKED_SHARE, FINALISTS, NoTrialFitsError, Plan, make_plan, recounted
from loraloom.search.task import Task

MORE_ROWS = 1.5
"""A plan that was made has more rows for its finals where there is time for so many times its rows, or for all."""


def extended(kept: Plan, task: Task, costs: Costs, seconds: float | None, slots: int) -> Plan:
    """The plan of a run that goes on, with rungs above where there is time for many more rows than it had.

    For a few more it would train its finals anew: what an estimate was off by is no reason.
    """
    try:
        new = make_plan(task, costs, seconds, slots)
    except NoTrialFitsError:
        return kept
    if not _has_many_more_rows(new, kept, task):
        if seconds is None or kept.epochs is None or kept.finalists is None:
            return _with_finals_of(new, kept, task)
        counted = recounted(kept, task, costs, seconds, slots)
        if not kept.fitted:
            return counted
        # Finals were begun that are as many as they had time for; those that are left have it once more.
        finalists, seeds = max((kept.finalists, kept.seeds), (counted.finalists or 0, counted.seeds))
        return replace(kept, finalists=finalists, seeds=seeds)
    between = (rung for rung in new.rungs[:-1] if task.rows(rung) >= REDUCTION_FACTOR * task.rows(kept.top))
    rungs, epochs = (*kept.rungs, *between, new.top), new.epochs or kept.epochs
    return Plan(rungs, _finalists(new, task), new.seeds, epochs, kept.leading_rung)


def planned_anew(kept: Plan, new: Plan, task: Task, costs: Costs, seconds: float, *, begun: bool) -> Plan:
    """A plan under way with the finalists, seeds and passes of a `new` one for the same `seconds`.

    The rungs stay, but for the last where there is time for many more rows and no final was `begun`: nothing was
    compared on it.
    """
    compares = new.finalists is None or len(new.rungs) > 1  # else its rows are those of all the time
    if not begun and compares and _has_many_more_rows(new, kept, task):
        below = kept.rungs[:-1] or new.rungs[:-1]
        return Plan((*below, new.top), _finalists(new, task), new.seeds, new.epochs, kept.leading_rung)
    if new.finalists is None:
        return kept
    epochs = new.epochs
    if epochs is not None and new.top != kept.top:  # passes over the rows that the rungs are of
        epochs = passes(task, costs, task.rows(kept.top), CLOCKED_SHARE * seconds)
    return Plan(kept.rungs, new.finalists, new.seeds, epochs, kept.leading_rung)


def _has_many_more_rows(new: Plan, kept: Plan, task: Task) -> bool:
    """Whether finals of a new plan have so many more rows than those of the one before that they are to have them."""
    rows, had = task.rows(new.top), task.rows(kept.top)
    return rows > had and (new.top is None or rows >= MORE_ROWS * had)


def _with_finals_of(new: Plan, kept: Plan, task: Task) -> Plan:
    """The rungs that are kept, with the finalists and seeds that there is time for now."""
    if kept.finalists is None:
        return replace(kept, seeds=max(kept.seeds, new.seeds))
    return replace(kept, finalists=_finalists(new, task), seeds=new.seeds)


def _finalists(new: Plan, task: Task) -> int:
    """As many as a plan has, or all where it trains all in full."""
    return new.finalists or task.configurations or FINALISTS
