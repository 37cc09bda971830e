"""The section on effects as it is told: where they were measured, a verdict on each axis, and what to run to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loraloom.report.effects.advice import Advice, advice
from loraloom.report.effects.analysis import Analysis, Effect, Verdict, analyse, made_axes
from loraloom.report.effects.importances import importances
from loraloom.report.effects.model import ALMOST, LEAST_FREEDOM
from loraloom.report.effects.observations import Observations, survivors
from loraloom.report.effects.verdicts import BADGES, ORDER, sentence_on, verdict_on
from loraloom.report.points import size
from loraloom.report.reading import RunRead
from loraloom.report.wording import duration, listed, passes
from loraloom.study.leaderboard import metric_name
from loraloom.wording import percent, plural

LEAST_SURVIVORS = 8


@dataclass(frozen=True, slots=True)
class AxisVerdict:
    """The comparisons along an axis, and what they come to."""

    name: str
    verdict: Verdict
    badge: str
    sentence: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Effects:
    """`analysis` is None where there is nothing to compare, and `where` says why.

    `survivors` are the same comparisons among what came farthest: a biased sample, of which no verdict is given.
    """

    metric_name: str
    where: tuple[str, ...]
    axes: tuple[AxisVerdict, ...] = ()
    analysis: Analysis | None = None
    importances: Mapping[str, float] | None = None
    on_model: str = ""
    on_interactions: str = ""
    advice: Advice | None = None
    survivors: Analysis | None = None
    survivor_rows: int = 0

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All comparisons, in the order of the verdicts."""
        return tuple(effect for axis in self.axes for effect in axis.effects)


def effects(run: RunRead, seen: Observations | None) -> Effects:
    """The effects of a run's axes, from its configurations as `observations.observe` saw them."""
    metric = metric_name(run.recipe.search.metric)
    if seen is None or not seen.table.axes or _all_alike(seen):
        return Effects(metric, (_nothing(run, seen),))
    found = analyse(seen.table)
    of_survivors, survivor_rows = _of_survivors(run, seen)
    return Effects(
        metric_name=metric,
        where=tuple(_where(run, seen)),
        axes=_axes(found),
        analysis=found,
        importances=importances(seen.table, made_axes(seen.table)),
        on_model=_on_model(found, seen),
        on_interactions=_on_interactions(found),
        advice=advice(run, found, max(seen.table.seeds), early=seen.selected and not _on_all_rows(run, seen)),
        survivors=of_survivors,
        survivor_rows=survivor_rows,
    )


def _of_survivors(run: RunRead, seen: Observations) -> tuple[Analysis | None, int]:
    """The comparisons among what came farthest, where there is noise to measure, and the rows that it came to."""
    late = survivors(run) if seen.selected and not _on_all_rows(run, seen) else None
    if late is None:
        return None, 0
    table, rows = late
    found = analyse(table, crossed=False) if table.size >= LEAST_SURVIVORS else None
    return (None if found is None or found.noise is None else found), rows


def _axes(found: Analysis) -> tuple[AxisVerdict, ...]:
    along: dict[str, list[Effect]] = {}
    for effect in found.effects:
        along.setdefault(effect.axis, []).append(effect)
    made = [
        AxisVerdict(
            name=name,
            verdict=(verdict := verdict_on(each)),
            badge=BADGES[verdict],
            sentence=sentence_on(name, each) + _depends(name, found),
            effects=tuple(each),
        )
        for name, each in along.items()
    ]
    return tuple(sorted(made, key=lambda axis: ORDER.index(axis.verdict)))


def _depends(name: str, found: Analysis) -> str:
    others = [
        pair.second if pair.first == name else pair.first
        for pair in found.interactions.found
        if name in (pair.first, pair.second)
    ]
    return f" That is in the mean: it depends on {listed(others)}, as shown under Interactions." if others else ""


def _all_alike(seen: Observations) -> bool:
    metric = seen.table.metric
    return seen.table.size > 1 and float(np.ptp(metric)) <= ALMOST * float(np.abs(metric).max())


def _nothing(run: RunRead, seen: Observations | None) -> str:
    if seen is not None and seen.table.axes:
        return f"The {seen.table.size:,} configurations came to the same result: there is no difference to explain."
    if seen is not None:
        return "All configurations that have a result are alike in their axes: there is nothing to compare."
    if not run.records:
        return "No trial has finished yet, so no effect can be measured."
    return "Fewer than two configurations have a result that can be compared, so no effect can be measured."


def _where(run: RunRead, seen: Observations) -> Iterator[str]:
    """Where the effects were measured, and what they are not about."""
    configurations, rows = plural(seen.table.size, "configuration"), _either(seen.rows)
    learned = run.recipe.search.sampler in ("tpe", "auto")
    unchosen = "none was given more rows or seeds for its result" if learned else "no result chose between them"
    if seen.epochs is not None:
        epochs = listed([*map(passes, seen.epochs)], "or") + (" pass" if seen.epochs == (1,) else " passes")
        yield (
            f"{configurations} are compared at their first evaluation, after {epochs}, before any trial was "
            "ended by its result: what was trained on is a selection of survivors, which would flatter."
        )
    elif seen.selected:
        on, more, but = f", on {rows} of {_most_rows(run):,} training rows", "rows or seeds", ""
        if _on_all_rows(run, seen):
            on, more = f", on {rows} training rows" if seen.rows != (0,) else "", "seeds"
        else:
            but = " What holds there need not hold on all rows."
        yield (
            f"{configurations} are compared where each was first seen{on}, before any result chose it: what was given "
            f"more {more} is a selection of survivors, which would flatter.{but}"
        )
    elif seen.rows != (0,):
        yield f"{configurations} are compared, each on {rows} training rows; {unchosen}."
    else:
        yield f"{configurations} are compared; {unchosen}."
    if learned:
        sampler = run.recipe.search.sampler
        yield f"Which were tried followed in part from earlier results, as search.sampler: {sampler} has it."
    yield from _on_passes(run, seen)
    if len(seen.rows) > 1:
        yield "Those that began on different rows are compared with those of the same rows alone."
    seeds = max(seen.table.seeds)
    of_seeds = "their one seed each" if seeds == 1 else f"the mean of up to {seeds} seeds each"
    yield f"{_validated(seen)}, with {of_seeds}: the effects are about these rows."
    if seen.failed:
        yield (
            f"{plural(seen.failed, 'trial')} failed and left no result: a value at which trainings fail looks better "
            "here than it is."
        )
    if seen.cut:
        yield f"{plural(seen.cut, 'trial')} that the clock cut short {'is' if seen.cut == 1 else 'are'} left out."
    if seen.drawn_of is not None:
        yield f"They were drawn by chance from {seen.drawn_of:,} trials."


def _on_all_rows(run: RunRead, seen: Observations) -> bool:
    """Whether all were first seen at their end, on as many rows as any: results chose who got more seeds alone."""
    return seen.epochs is None and seen.rows == (_most_rows(run),)


def _most_rows(run: RunRead) -> int:
    return max(record.train_rows or 0 for record in run.records)


def _on_passes(run: RunRead, seen: Observations) -> Iterator[str]:
    """That a clock gave each configuration passes of its own, which are not held fixed."""
    if run.recipe.search.epochs != "clock" or seen.epochs is not None:
        return
    numbers = {number for each in seen.numbers for number in each}
    compared = [record for record in run.records if record.number in numbers]
    given = {record.configuration.train.num_train_epochs for record in compared}
    took = [record.timings.seconds for record in compared if record.timings]
    if len(given) > 1:
        time = f" (in {duration(min(took))} to {duration(max(took))})" if took else ""
        yield (
            f"Each was trained with as many passes as the clock gave it when it was begun, {passes(min(given))} to "
            f"{passes(max(given))}{time}: effects are of what it reached with them, and not at equal passes."
        )
    if seen.planned_anew:
        yield (
            f"{plural(seen.planned_anew, 'trial')} {'is' if seen.planned_anew == 1 else 'are'} left out, with other "
            "passes than most that take as long: the clock had planned anew."
        )


def _either(counts: Sequence[int]) -> str:
    return listed([f"{each:,}" for each in counts], "or")


def _validated(seen: Observations) -> str:
    if len(seen.validated) == 1:
        return f"All were validated on the same {_either(seen.validated)} rows"
    if len(seen.validated) <= len(seen.rows):
        counts = listed([f"{each:,}" for each in seen.validated])
        return f"Those of one number of training rows were validated on the same rows ({counts})"
    return f"Each was validated on {_either(seen.validated)} rows"


def _on_model(found: Analysis, seen: Observations) -> str:
    if found.noise is None:
        return (
            f"{plural(found.configurations, 'configuration')} for {plural(found.unknowns, 'unknown')} leave no room to "
            f"measure noise: at least {found.unknowns + int(LEAST_FREEDOM)} are needed before anything can be said."
        )
    between = seen.table.seed_noise
    of_seeds = f"; between seeds of one configuration it is {size(between)}" if between is not None else ""
    explained = f"The model explains {percent(found.explained or 0)} of the variance between configurations"
    return f"{explained} and leaves a scatter of {size(found.noise)}{of_seeds}."


def _on_interactions(found: Analysis) -> str:
    all_pairs = found.interactions
    if not all_pairs.pairs:
        return "There is one axis, and so no interaction."
    untested = all_pairs.pairs - all_pairs.tested
    lacking = (
        f"; for {plural(untested, 'other pair')} too few configurations share values, or differ" if untested else ""
    )
    if not all_pairs.tested:
        which = "The one pair" if all_pairs.pairs == 1 else f"None of the {all_pairs.pairs:,} pairs"
        could = "could not" if all_pairs.pairs == 1 else "could"
        return f"{which} of axes {could} be tested: too few configurations share values, or differ."
    if not all_pairs.found:
        return f"No interaction was found among {plural(all_pairs.tested, 'pair')} of axes{lacking}."
    interact = "interact" if len(all_pairs.found) > 1 else "interacts"
    opening = f"{len(all_pairs.found):,} of {plural(all_pairs.tested, 'tested pair')} of axes {interact}"
    return f"{opening}: what one axis does there depends on the other{lacking}."
