"""From a table of configurations to effects: one model, the comparisons along each axis, and a verdict on each.

Verdicts are simultaneous: with m comparisons that can be tested, each interval misses the truth with probability
0.04 / m (Bonferroni; Dunn 1961, "Multiple comparisons among means", section 2), and 0.01 is left for the interactions:
all that is found of effects holds together in 95 of 100 studies, whatever its dependence, and an interval excludes zero
exactly where the verdict is "effect". Rejected:
Holm for the comparisons (sharper, but its intervals do not agree with its verdicts) and no correction (with 20
comparisons, two studies in three would find something in noise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize

from loraloom.intervals import Interval, upper_t
from loraloom.report.effects.axes import Axis, Comparison, make_axis
from loraloom.report.effects.interactions import LEVEL, Interactions, interactions
from loraloom.report.effects.model import LEAST_FREEDOM, Design, Estimate, Fit, fit, make_design
from loraloom.report.effects.observations import RATIO, Table
from loraloom.report.effects.pairs import Paired, coded, groups_along, paired

TOGETHER = 0.05
"""Of all that a page finds of effects."""
ERROR_RATE = TOGETHER - LEVEL
"""Of all comparisons together: the rest is the interactions' own."""
MARGIN = 0.005
"""Half a percentage point: an effect below it is taken for none, and one of its size is planned for."""
POWER = 0.8
_ALPHA, _RANK = "lora.lora_alpha", "lora.r"

Verdict = Literal["effect", "none", "open", "confounded", "few"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One comparison along an axis, as shares: the difference of the metric, all other axes held fixed.

    `verdict`: "effect" where the interval excludes zero; "none" where it also lies within the margin; "open" where it
    allows for both; "confounded" where `with_axes` changed along with it; "few" where too few configurations had one of
    the values. `p_value` is corrected for all such tests: it is below 0.05 exactly where there is an effect.
    `needed` configurations would show an effect of the margin with a power of 80 %.
    """

    axis: str
    title: str
    verdict: Verdict
    estimate: float | None
    interval: Interval | None
    p_value: float | None
    configurations: int
    pairs: Paired
    with_axes: tuple[str, ...] = ()
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """`explained` is the model's adjusted share of the variance, `noise` the standard deviation that it leaves.

    `unknowns` are the model's, whether or not so many configurations can tell them.
    """

    effects: tuple[Effect, ...]
    comparisons: int
    configurations: int
    unknowns: int
    noise: float | None
    explained: float | None
    interactions: Interactions


@dataclass(frozen=True, slots=True)
class _Asked:
    axis: Axis
    comparison: Comparison
    estimate: Estimate | None
    with_axes: tuple[str, ...]


def analyse(table: Table, *, crossed: bool = True) -> Analysis:
    """All comparisons of a table, and the interactions of its axes where they are to be `crossed`."""
    axes = made_axes(table)
    design = make_design(axes, table.block)
    model = fit(design.matrix, table.metric, rounding=table.rounding)
    asked = [one for axis in axes for one in _asked(axis, axes, design, model, table)]
    ratio = _ratio(table)
    if ratio is not None:
        instead = [ratio if axis.name == _ALPHA else axis for axis in axes]
        of_ratio = make_design(instead, table.block)
        of_instead = fit(of_ratio.matrix, table.metric, rounding=table.rounding)
        asked += _asked(ratio, instead, of_ratio, of_instead, table)
    testable = sum(_is_testable(one.estimate) for one in asked)
    level = ERROR_RATE / max(1, testable)
    codes = coded(table)
    groups = {axis.name: groups_along(codes, table.block, axis.name) for axis in axes}
    groups[RATIO] = groups.get(_ALPHA, [])
    blocks = len(np.unique(table.block))
    spread = float(table.within @ table.within) / (table.size - blocks) if table.size > blocks else 0.0
    enough = model.freedom >= LEAST_FREEDOM
    return Analysis(
        effects=tuple(_effect(table, one, groups[one.axis.name], level, model.basis.shape[1]) for one in asked),
        comparisons=testable,
        configurations=table.size,
        unknowns=design.matrix.shape[1],
        noise=model.noise if enough else None,
        explained=max(0.0, 1 - model.noise**2 / spread) if enough and spread > 0 else None,
        interactions=interactions(table, axes, design, model) if crossed else Interactions(0, 0, ()),
    )


def made_axes(table: Table) -> list[Axis]:
    """The axes of a table that vary."""
    return [axis for name, values in table.axes.items() if (axis := make_axis(name, values))]


def _ratio(table: Table) -> Axis | None:
    """alpha / r, where both vary: it takes alpha's place, since the three can't vary freely."""
    if _ALPHA not in table.axes or _RANK not in table.axes:
        return None
    values = [alpha / rank for alpha, rank in zip(table.axes[_ALPHA], table.axes[_RANK], strict=True)]
    return make_axis(RATIO, [int(each) if float(each).is_integer() else each for each in values])


def _asked(axis: Axis, axes: Sequence[Axis], design: Design, model: Fit, table: Table) -> list[_Asked]:
    found = []
    for comparison in axis.comparisons(model.kept):
        contrast = design.contrast(axis, comparison.weights)
        if model.knows(contrast):
            found.append(_Asked(axis, comparison, model.estimate(contrast), ()))
        else:
            found.append(_Asked(axis, comparison, None, _tied(axis, comparison, axes, model, table)))
    return found


def _tied(axis: Axis, comparison: Comparison, axes: Sequence[Axis], model: Fit, table: Table) -> tuple[str, ...]:
    """The axes without which a comparison could be made; () where there are too few trials of its values themselves."""

    def known_beside(others: Sequence[Axis], *, blocks: bool = True) -> bool:
        design = make_design([axis, *others], table.block if blocks else np.zeros_like(table.block))
        alone = fit(design.matrix, table.metric)
        return alone.knows(design.contrast(axis, comparison.weights))

    others = [other for other in axes if other is not axis]
    if model.freedom < LEAST_FREEDOM or not known_beside([], blocks=False):
        return ()
    if not known_beside([]):
        return (BLOCKS,)
    singles = tuple(other.name for other in others if known_beside([each for each in others if each is not other]))
    return singles or tuple(other.name for other in others if not known_beside([other]))


BLOCKS = "how long they had been trained when they were first seen"


def decided(low: float, high: float) -> Verdict:
    """The verdict of an interval."""
    return "effect" if low > 0 or high < 0 else "none" if low >= -MARGIN and high <= MARGIN else "open"


def _is_testable(estimate: Estimate | None) -> bool:
    return estimate is not None and estimate.freedom >= LEAST_FREEDOM and estimate.error > 0


def _effect(table: Table, asked: _Asked, groups: Sequence[Sequence[int]], level: float, unknowns: int) -> Effect:
    axis, comparison, estimate = asked.axis, asked.comparison, asked.estimate
    sides = [*comparison.upper, *comparison.lower]
    pairs = paired(table, axis, comparison, groups, level)
    count = int(axis.counts[sides].sum())
    if estimate is None or not _is_testable(estimate):
        verdict: Verdict = "confounded" if asked.with_axes else "few"
        value = None if estimate is None else estimate.value
        return Effect(axis.name, comparison.title, verdict, value, None, None, count, pairs, asked.with_axes)
    low, high = estimate.interval(level)
    verdict = decided(low, high)
    return Effect(
        axis=axis.name,
        title=comparison.title,
        verdict=verdict,
        estimate=estimate.value,
        interval=(low, high),
        p_value=min(1.0, TOGETHER / level * estimate.p_value),
        configurations=count,
        pairs=pairs,
        needed=needed(estimate, table.size, level, unknowns) if verdict == "open" else None,
    )


def needed(estimate: Estimate, configurations: int, level: float, unknowns: int, margin: float = MARGIN) -> int:
    """Configurations, of the kind that were tried, by which an effect of `margin` is found with a power of 80 %.

    The error shrinks with the root of their number, and the degrees of freedom grow with it: the margin must be
    t_(level/2) + t_(1-power) errors (Lachin 1981, "Introduction to sample size determination and power analysis for
    clinical trials", equation 1, with Student's quantiles). The noncentral t itself fails in the far tail.
    Each of the model's `unknowns` takes a configuration more: points that are drawn are not as balanced as a grid's,
    and N of them tell about as much as N - p balanced ones.
    """

    def lacking(logarithm: float) -> float:
        share = math.exp(logarithm) / configurations
        freedom = max(1.0, estimate.freedom * share)
        quantiles = upper_t(level / 2, freedom) + upper_t(1 - POWER, freedom)
        return margin * math.sqrt(share) / estimate.error - quantiles

    low, high = math.log(2), math.log(1e9)
    if lacking(low) >= 0:
        return 2 + unknowns
    if lacking(high) < 0:
        return int(1e9)
    return math.ceil(math.exp(optimize.brentq(lacking, low, high, xtol=1e-3))) + unknowns
