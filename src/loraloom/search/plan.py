"""The plan of a search: which rungs of rows, how many finalists with how many seeds, and what the time leaves out.

Made before training from what a warm-up measured; what becomes of it as trials end is in `replanning.py`. Three shapes:

- all: every configuration on all rows with all seeds, where that fits the time or no pruner is asked for;
- rungs: configurations are tried on few rows, the better ones on more, and finalists on all with repeated seeds;
- fewer rows: as either, on a stratified part, where not even one finalist fits on all rows.

Where `search.epochs` is by the clock, a finalist has as many passes as let it use its share of the time, more of them
where a row is cheaper: so models are compared by what they reach in the same time, on every rung, and so are adapted
layers once they were timed.
Passes over all rows come before finalists and seeds. A larger model may have less than one pass. What was learnt from
few rows says little of what is learnt from many, and the less the larger a model is; so the presets that lead, which
differ by little or in their model, are compared on as many rows as the time allows, and all else begins on the fewest.
Of many rows the one with every layer adapted comes first, and further passes of it are worth more than any choice.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from loraloom.errors import BudgetError
from loraloom.recipe import Configuration
from loraloom.recipe.fields import MORE_SEEDS
from loraloom.search.costs import Costs, Key, cost_key
from loraloom.search.ladder import REDUCTION_FACTOR, ladder
from loraloom.search.passes import FITTED_EPOCHS, most_passes, on_rung, passes, passes_of, with_epochs
from loraloom.search.presets import EACH_SEEN
from loraloom.search.space import SPACE
from loraloom.search.task import Task

FINALISTS = 3
FINALS_SHARE = 0.6
"""Of the time, at most, for the finalists on all rows; the rest finds them."""
CLOCKED_SHARE = 0.7
"""The same, where epochs are by the clock: better trained is worth more than better searched."""
HURRIED_SHARE = 0.85
"""The same, beyond which what comes first has it all, of many rows: what is left would do for no choice."""
LEADING_SHARE = 0.2
"""The same, for the comparison of the presets that lead."""
SHARED_PARTS = 1.5
"""Token ids and states of frozen layers are computed for all rows, and for the part of each rung: thirds of thirds."""
FEWEST_COMPARED = 2
"""Configurations on the lowest rung that a final is chosen of; one alone is a waste where passes can use its time."""
BEGUN_APART = 1.0
"""Seconds by which one of several trials at once may begin later than the one before it."""
TOO_FEW = 4
"""Of so many rungs and more the lowest has too few rows to compare the presets that lead: the first has the time."""
_LAYERS = "lora.layers_to_transform"
FEWEST_ROWS = 32
"""Rows on which a trial means anything, if there are no more classes than that: each has a row."""


class NoTrialFitsError(BudgetError):
    """The time does not suffice for one trial; by the estimate it lacks `missing` seconds."""

    def __init__(self, rows: int, takes: float, left: float) -> None:
        self.missing = takes - left
        super().__init__(
            f"the time does not suffice for one trial: one on {rows} rows takes about {takes:.0f} s, "
            f"{max(0.0, left):.0f} s are left for it"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """`rungs` are rows, rising; None is all rows. `finalists` is None where every configuration is trained in full.

    `epochs` are passes by what a row is as dear as; None where the recipe says how many. On the rung of number
    `leading_rung` the presets that lead begin.
    """

    rungs: tuple[int | None, ...] = (None,)
    finalists: int | None = None
    seeds: int = 1
    epochs: Mapping[Key, float] | None = None
    leading_rung: int = 0
    fitted: bool = False
    """Whether the finals fill all the time that was left when the search before them had ended."""

    @property
    def top(self) -> int | None:
        """The rows of the last rung."""
        return self.rungs[-1]

    def planned(self, configuration: Configuration, rows: int | None) -> Configuration:
        """A configuration as it is tried on `rows`: on a part of them it is evaluated once, where any are promoted."""
        if self.epochs is not None:
            configuration = with_epochs(configuration, passes_of(cost_key(configuration), self.epochs))
        return configuration if self.finalists is None else on_rung(configuration, rows)

    def lacking(self, finalists: int) -> int:
        """Trials that so many finalists lack, of which none has had a final; on one rung each has its first seed."""
        return finalists * (self.seeds - (len(self.rungs) == 1))

    def is_last(self, rows: int | None) -> bool:
        """Whether a trial on `rows` is on the last rung."""
        return self.rung(rows) == len(self.rungs) - 1

    def is_final(self, rows: int | None) -> bool:
        """Whether a trial on `rows` is a final, on the most rows or, on no rung, on as many as there was time for."""
        return self.is_last(rows) or rows not in self.rungs

    def rung(self, rows: int | None) -> int:
        """The rung that a trial on `rows` belongs to: the highest that has no more rows."""
        if rows is None or rows == self.top:
            return len(self.rungs) - 1
        return max(0, bisect_right([rung for rung in self.rungs if rung is not None], rows) - 1)


def make_plan(task: Task, costs: Costs, seconds: float | None, slots: int) -> Plan:
    """The plan for `seconds` of training of `slots` trials at once, or for as long as it takes.

    Raises:
        NoTrialFitsError: the time does not suffice for one trial on the fewest rows that mean anything.
    """
    search = task.recipe.search
    by_rows = search.names_a_pruner and search.resource == "rows"
    everything = Plan(seeds=search.seeds)
    if seconds is None:
        chooses = by_rows and task.configurations != 1
        return _with_rungs(task, task.train_rows, *_smaller_and_smaller(task)[0]) if chooses else everything
    if search.epochs == "clock":
        return _by_the_clock(task, costs, seconds, slots)
    dearest = task.dearest(costs)
    full = _on_rows(task, costs, dearest)(task.train_rows)
    left = seconds - SHARED_PARTS * costs.shared_seconds(dearest, task.train_rows, task.eval_rows)  # of all rows

    def taken(rows: int, *, alone: bool = False) -> float:
        shared = costs.shared_seconds(dearest, rows, task.validated(task.rung_of(rows)))
        return _on_rows(task, costs, dearest, alone=alone)(rows) + SHARED_PARTS * shared

    if not by_rows and (search.pruner != "auto" or _all_fit(task, costs, full, left, slots)):
        return everything if full <= left else Plan((_most_rows(task, taken, seconds),), None, search.seeds)
    if task.configurations == 1:  # there is nothing to choose: all the time is its own
        repeated = [count for count in range(search.seeds, 0, -1) if _rounds(count, slots) * full <= left]
        return Plan(seeds=repeated[0]) if repeated else Plan((task.rung_of(_most_rows(task, taken, seconds)),), None, 1)
    if (finals := _finals(task, full, FINALS_SHARE * left, slots)) is not None:
        return _with_rungs(task, task.train_rows, *finals)
    top, chooses = _top(task, taken, FINALS_SHARE * seconds, seconds, 1)  # what is left has no other use
    if chooses:
        return _with_rungs(task, top, 1, 1)
    return Plan((task.rung_of(_most_rows(task, partial(taken, alone=True), seconds)),), 1, 1)


def _all_fit(task: Task, costs: Costs, dearest: float, seconds: float, slots: int) -> bool:
    """Whether all configurations end in `seconds` with all seeds; each takes the `dearest` where they are not known."""
    seeds = task.recipe.search.seeds
    if not task.every:
        return task.configurations is not None and _rounds(task.configurations * seeds, slots) * dearest <= seconds
    each = [costs.seconds(one, task.train_rows, task.eval_rows) for one in task.every]
    waiting = max(each) if slots > 1 else 0.0  # the last may begin when the others are done
    return seeds * sum(each) / slots + waiting <= seconds


def _by_the_clock(task: Task, costs: Costs, seconds: float, slots: int) -> Plan:
    """Passes by what they take; all the time is for the configuration that comes first where none is left to choose."""
    one = task.configurations == 1
    plan = None if one or is_hurried(task, costs, seconds, slots) else _that_chooses(task, costs, seconds, slots)
    if plan is not None:
        leading = _leading_rung(plan, task, costs, LEADING_SHARE * slots * seconds)
        if leading > 0 or slots > 1 or len(plan.rungs) < TOO_FEW or not _is_of_one_model(task):
            return replace(plan, leading_rung=leading)
    at_once = min(slots, max(task.recipe.search.seeds, MORE_SEEDS)) if one else 1
    own = _each(seconds, at_once, slots)
    top = _most_rows(task, _for_a_pass(task, costs, alone=True), own)
    alone = Plan((task.rung_of(top),), 1, 1, passes(task, costs, top, own, FITTED_EPOCHS))
    return recounted(alone, task, costs, seconds, slots) if one else alone


def _that_chooses(task: Task, costs: Costs, seconds: float, slots: int) -> Plan | None:
    """Passes that let a finalist use the finals' share of `seconds`; more finalists and seeds where it can't.

    None where nothing else could be tried before it.
    """
    taken, share = _for_a_pass(task, costs), CLOCKED_SHARE * seconds
    if taken(task.train_rows) > share:
        top, chooses = _top(task, taken, share, seconds, FEWEST_COMPARED)
        return _with_rungs(task, top, 1, 1, passes(task, costs, top, max(share, taken(top)))) if chooses else None
    epochs = passes(task, costs, task.train_rows, share)
    kinds = [with_epochs(kind, epochs[cost_key(kind)]) for kind in task.kinds]
    if slots == 1 and _least_to_choose(task, costs, kinds) > seconds:
        return None
    longest = max(_on_rows(task, costs, kind)(task.train_rows) for kind in kinds)
    return _with_rungs(task, task.train_rows, *(_finals(task, longest, share, slots) or (1, 1)), epochs)


def _least_to_choose(task: Task, costs: Costs, kinds: Sequence[Configuration]) -> float:
    """What a final takes with the fewest that it is chosen of.

    And with what they make for all others, unless it has all passes that are worth it, and no use for that time. By
    kinds that were timed, where there are such: another is taken to cost as much, but not to make what these do.
    """
    rows, most = task.train_rows, most_passes(task.train_rows)
    lowest = ladder(rows, task.classes)[0]
    others = FEWEST_COMPARED - (lowest == rows)  # where the final is one of those that are compared

    def taken(kind: Configuration) -> float:
        on = _on_rows(task, costs, kind)
        trained = on(rows) + others * on(lowest)
        if kind.train.num_train_epochs >= most:
            return trained
        return trained + sum(costs.shared_seconds(kind, n, task.validated(task.rung_of(n))) for n in {lowest, rows})

    return min(map(taken, [kind for kind in kinds if costs.has_timed(kind)] or kinds))


def _for_a_pass(task: Task, costs: Costs, *, alone: bool = False) -> Callable[[int], float]:
    """What one pass over so many rows takes, of what is cheapest, with what it makes for all others.

    Where others are to be tried beside it, each is taken to be evaluated as on all rows: that leaves time for them.
    """
    once = with_epochs(min(task.kinds, key=costs.train_row_seconds), 1)
    seconds = _on_rows(task, costs, once, alone=alone)
    return lambda rows: seconds(rows) + costs.shared_seconds(once, rows, task.validated(task.rung_of(rows)))


def _on_rows(task: Task, costs: Costs, one: Configuration, *, alone: bool = False) -> Callable[[int], float]:
    """What a configuration takes on so many rows; `alone` is as for `_for_a_pass`."""

    def taken(rows: int) -> float:
        rung = task.rung_of(rows)
        return costs.seconds(on_rung(one, rung) if alone else one, rows, task.validated(rung))

    return taken


def _finals(task: Task, each: float, seconds: float, slots: int) -> tuple[int, int] | None:
    """The finalists and seeds that fit into `seconds`, where a final takes `each`; None where not even one does.

    Where all finalists have the seeds that were asked for, they have more of them before others are tried.
    """
    wanted = _smaller_and_smaller(task)
    finalists, seeds = wanted[0]
    more = [(finalists, count) for count in range(MORE_SEEDS, seeds, -1)]
    return next((one for one in more + wanted if _rounds(one[0] * one[1], slots) * each <= seconds), None)


def _leading_rung(plan: Plan, task: Task, costs: Costs, seconds: float) -> int:
    """The highest rung below the last on which a trial of each leading configuration fits into `seconds`."""
    if len(task.leading) < 2:
        return 0

    def taken(rung: int | None) -> float:
        rows, validated = task.rows(rung), task.validated(rung)
        planned = [plan.planned(configuration, rung) for configuration in task.leading]
        return sum(costs.seconds(one, rows, validated) + costs.shared_seconds(one, rows, validated) for one in planned)

    return max((number for number, rung in enumerate(plan.rungs[:-1]) if taken(rung) <= seconds), default=0)


def _is_of_one_model(task: Task) -> bool:
    """Whether what leads is one model, in several ways of adapting it."""
    return len(task.leading) > 1 and len({one.backbone.model for one in task.leading}) == 1


def _is_default_search(task: Task) -> bool:
    """Whether how it is searched, the layers and all other axes are left to it, with one model and length of texts."""
    axes, search = task.recipe.axes, task.recipe.search
    # a field that is written narrows when an axis varies, and makes it no other
    no_own = all(name in SPACE and replace(axis, when=SPACE[name].when) == SPACE[name] for name, axis in axes.items())
    return no_own and _LAYERS in axes and len(task.leading) == 2 and (search.pruner, search.n_trials) == ("auto", None)


def is_hurried(task: Task, costs: Costs, seconds: float, slots: int) -> bool:
    """Whether what comes first has all the time: of many rows its passes would leave too little for a choice.

    It is every layer, or the upper half where the cap leaves every layer a lower rank. So it is only where nothing else
    is asked for.
    """
    if slots > 1 or not _is_default_search(task):
        return False
    first, second = task.leading
    is_capped = first.lora.r > second.lora.r and foreseen(task, costs, seconds, [first]) >= EACH_SEEN * task.classes
    if first.lora.layers_to_transform is not None and not is_capped:
        return False
    planned, most = (
        passes_of(cost_key(first), passes(task, costs, task.train_rows, share * seconds, FITTED_EPOCHS))
        for share in (HURRIED_SHARE, math.inf)
    )
    return planned < most


def recounted(kept: Plan, task: Task, costs: Costs, seconds: float, slots: int) -> Plan:
    """A plan whose passes stay, with the finalists and seeds that the finals' share of `seconds` allows for by them.

    The finals of a configuration that is the only one have all of it.
    """
    rows, validated = task.rows(kept.top), task.validated(kept.top)
    each = [costs.seconds(kept.planned(kind, kept.top), rows, validated) for kind in task.kinds]
    share = 1.0 if task.configurations == 1 else CLOCKED_SHARE
    finalists, seeds = _finals(task, max(each), share * seconds, slots) or (1, 1)
    return replace(kept, finalists=finalists, seeds=seeds)


def fitted(plan: Plan, task: Task, costs: Costs, seconds: float, slots: int, *, candidates: int | None = None) -> Plan:
    """A plan whose search has ended: finals have the passes that the `seconds` left allow for, more or fewer.

    Of fewer `candidates` than finalists, where others failed, each has the time of as many as there are.
    """
    if plan.epochs is None or plan.finalists is None:
        return plan
    finalists = plan.finalists if candidates is None else max(1, min(plan.finalists, candidates))
    each = _each(seconds, finalists * plan.seeds, slots)
    return replace(plan, epochs=passes(task, costs, task.rows(plan.top), each, FITTED_EPOCHS), fitted=True)


def foreseen(task: Task, costs: Costs, seconds: float | None, leading: Sequence[Configuration]) -> float:
    """Examples that a final sees in all its passes, of the one of the `leading` that sees the fewest; 0 of none."""
    if seconds is None or task.recipe.search.epochs != "clock":
        rows, epochs = task.train_rows, [one.train.num_train_epochs for one in leading]
    else:
        taken = _for_a_pass(task, costs)
        share = max(CLOCKED_SHARE * seconds, taken(_least_rows(task)))
        rows = _most_rows(task, taken, share)  # a part, where not even the cheapest kind has a pass over all
        found = passes(task, costs, rows, share)
        epochs = [passes_of(cost_key(one), found) for one in leading]
    return rows * min(epochs, default=0.0)


def as_begun(configuration: Configuration, begun: Configuration) -> Configuration:
    """A configuration as it was planned when it was `begun`; as it is, where that is another one."""
    planned = {name: getattr(begun.train, name) for name in ("num_train_epochs", "eval_strategy", "warmup_steps")}
    found = configuration.with_fields(train=planned)
    types = {name: getattr(configuration.train, name) for name in ("bf16", "fp16")}
    return found if found == begun.with_fields(train=types) else configuration


def _each(seconds: float, trials: int, slots: int) -> float:
    """What each of so many trials has of the `seconds` that they fill; those at once begin one after the other."""
    return (seconds - BEGUN_APART * (min(trials, slots) - 1)) / _rounds(trials, slots)


def _rounds(trials: int, slots: int) -> int:
    return math.ceil(trials / slots)


def _with_rungs(task: Task, top: int, finalists: int, seeds: int, epochs: Mapping[Key, float] | None = None) -> Plan:
    rungs = ladder(top, task.classes)
    return Plan(tuple(task.rung_of(rows) for rows in rungs), finalists, seeds, epochs)


def _smaller_and_smaller(task: Task) -> list[tuple[int, int]]:
    """Finalists and seeds, from what is wanted to one of one: rather fewer finalists than fewer seeds."""
    seeds, most = task.recipe.search.seeds, min(FINALISTS, task.configurations or FINALISTS)
    return [(finalists, seeds) for finalists in range(most, 0, -1)] + [(1, s) for s in range(seeds - 1, 0, -1)]


def _least_rows(task: Task) -> int:
    return min(max(FEWEST_ROWS, task.classes), task.train_rows)


def _most_rows(task: Task, taken: Callable[[int], float], seconds: float) -> int:
    """The most rows that one trial can be trained on in `seconds`; `taken` is what it takes on so many."""
    least = _least_rows(task)
    shortest = taken(least)
    if shortest > seconds:
        raise NoTrialFitsError(least, shortest, seconds)
    return max(rows for rows in _sizes(least, task.train_rows) if rows == least or taken(rows) <= seconds)


def _top(task: Task, taken: Callable[[int], float], share: float, seconds: float, fewest: int) -> tuple[int, bool]:
    """The rows of a final that takes its `share` of the seconds, and whether others are tried before on fewer.

    Where that leaves no time for as many on the lowest rung as one is promoted of, rows are worth more than a choice:
    the final has as many as fit into all the seconds, and others are tried where it leaves time for the `fewest`.
    """
    top = _most_rows(task, taken, min(seconds, max(share, taken(_least_rows(task)))))

    def leaves(trials: int) -> bool:
        lowest = ladder(top, task.classes)[0]
        return lowest < top and taken(top) + trials * taken(lowest) <= seconds

    if not leaves(REDUCTION_FACTOR):
        top = _most_rows(task, taken, seconds)
    return top, leaves(fewest)


def _sizes(least: int, most: int) -> list[int]:
    """Numbers of rows in steps of 5 %."""
    sizes = [least]
    while sizes[-1] < most:
        sizes.append(min(most, max(sizes[-1] + 1, int(sizes[-1] * 1.05))))
    return sizes
