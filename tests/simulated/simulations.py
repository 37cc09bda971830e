"""How often the report's statistics are right, by simulation with known truth.

Each function is one question and returns counts; the tests ask it with few studies and honest bounds,
`python -m tests.simulated.page` with many, and writes docs/statistics.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from loraloom.calibration import at_temperature, confidence_of, coverage_curve
from loraloom.intervals import mcnemar, mean_interval, paired_bootstrap, wilson_interval
from loraloom.report.effects.analysis import Analysis, analyse, needed
from loraloom.report.effects.model import Estimate
from loraloom.report.effects.observations import Table, observe, survivors
from loraloom.report.failures.calibrated import confidence_gap
from loraloom.report.failures.selective import selective
from loraloom.report.gap import _Curve, _of_epochs, _of_rank
from loraloom.report.reading import RunRead
from tests.report.failures.judged_rows import drawn_rows
from tests.simulated.studies import (
    LEVEL,
    NOISE,
    SCATTER,
    Generator,
    alike,
    chosen,
    coarse,
    diverging,
    drawn,
    grid,
    halved,
    latest,
    nothing,
    study,
    table,
    unlike,
)

MUON = 0.02
"""What Muon adds where an effect is planted."""
LITTLE = 0.008
"""What it adds where results promote: more, and nothing else would be promoted."""


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`, with Wilson's interval."""

    hits: int
    of: int

    def __float__(self) -> float:
        return int(self.hits) / int(self.of)

    def __str__(self) -> str:
        low, high = wilson_interval(self.hits, self.of)
        return f"{100 * float(self):.1f} % ({100 * low:.1f}–{100 * high:.1f})"

    def at_most(self, share: float, doubt: float = 1e-3) -> bool:
        """Whether as many hits are to be expected, but once in 1 / `doubt` times, where the truth is `share`."""
        return float(stats.binom.sf(self.hits - 1, self.of, share)) > doubt

    def at_least(self, share: float, doubt: float = 1e-3) -> bool:
        return float(stats.binom.cdf(self.hits, self.of, share)) > doubt


NULLS: Mapping[str, Callable[[Generator], Table]] = {
    "a grid of 36": lambda g: study(grid(), nothing, alike(g, grid())),
    "the same, Muon and rank 2 scatter wider": lambda g: study(grid(), nothing, unlike(g, grid())),
    "a grid of 36, accuracies one validation row apart": lambda g: coarse(g, grid()),
    "24 drawn, values unbalanced": lambda g: _drawn(g, 24, alike, skewed=True),
    "40 drawn from a space of nine axes": lambda g: _drawn(g, 40, alike),
    "60 drawn, unbalanced, scatter differs": lambda g: _drawn(g, 60, unlike, skewed=True),
    "60 drawn, one in twelve diverges": lambda g: _drawn(g, 60, diverging),
    "60 chosen by what was seen, as TPE does": lambda g: table(*chosen(g, 60, nothing)),
}


def _drawn(generator: Generator, number: int, noise: Any, *, skewed: bool = False) -> Table:
    points = drawn(generator, number, skewed=skewed)
    return study(points, nothing, noise(generator, points))


def false_findings(make: Callable[[Generator], Table], studies: int, seed: int = 0) -> dict[str, Share]:
    """Of studies in which no axis does anything, those with a verdict of an effect, or an interaction."""
    found = Counter[str]()
    for number in range(studies):
        analysis = analyse(make(np.random.default_rng([seed, number])))
        effect = any(each.verdict == "effect" for each in analysis.effects)
        crossed = bool(analysis.interactions.found)
        found.update(effects=effect, interactions=crossed, any=effect or crossed)
    return {name: Share(found[name], studies) for name in ("effects", "interactions", "any")}


@dataclass(frozen=True, slots=True)
class Recovered:
    """Of a planted effect: how often it was found, its mean error, and how often its interval held the truth."""

    found: Share
    bias: float
    error_of_bias: float
    covered: Share
    others: Share
    """Studies in which another axis, that does nothing, had a verdict of an effect."""


def recovered(make: Callable[[Generator], Table], truth: float, studies: int, seed: int = 1) -> Recovered:
    """What becomes of Muon's planted effect."""
    estimates, hits, covered, others, told = [], 0, 0, 0, 0
    for number in range(studies):
        analysis = analyse(make(np.random.default_rng([seed, number])), crossed=False)
        muon = _muon(analysis)
        others += any(e.verdict == "effect" and e.axis != "train.optim" for e in analysis.effects)
        if muon is None:
            continue
        estimate, (low, high), verdict = muon
        told += 1
        estimates.append(estimate)
        hits += verdict == "effect" and (estimate > 0) == (truth > 0)
        covered += low <= truth <= high
    spread = float(np.std(estimates, ddof=1)) / math.sqrt(len(estimates)) if len(estimates) > 1 else math.nan
    mean = float(np.mean(estimates)) if estimates else math.nan
    return Recovered(Share(hits, studies), mean - truth, spread, Share(covered, told), Share(others, studies))


def _muon(analysis: Analysis) -> tuple[float, tuple[float, float], str] | None:
    for effect in analysis.effects:
        if effect.title.startswith("muon against") and effect.interval and effect.estimate is not None:
            return effect.estimate, effect.interval, effect.verdict
    return None


def with_little(point: Mapping[str, Any]) -> float:
    return LEVEL + (LITTLE if point["train.optim"] == "muon" else 0.0)


def with_muon(point: Mapping[str, Any]) -> float:
    return LEVEL + (MUON if point["train.optim"] == "muon" else 0.0)


def _planted(generator: Generator, number: int) -> Table:
    points = drawn(generator, number, skewed=True)
    return study(points, with_muon, alike(generator, points))


def _tied(generator: Generator) -> Table:
    """An unbalanced grid that looks as if rank 8 were good: Muon was tried there, and hardly elsewhere."""
    points = [p for p in grid() if (p["train.optim"] == "muon") == (p["lora.r"] == 8) or generator.random() < 0.35]
    return study(points, with_muon, alike(generator, points))


PLANTED: Mapping[str, Callable[[Generator], Table]] = {
    "a grid of 36": lambda g: study(grid(), with_muon, alike(g, grid())),
    "60 drawn, values unbalanced": lambda g: _planted(g, 60),
    "Muon nearly always with rank 8": _tied,
    "60 chosen by what was seen, as TPE does": lambda g: table(*chosen(g, 60, with_muon)),
}


# Promoted by results


def as_wide(_: Mapping[str, Any]) -> float:
    return SCATTER


def muon_wide(point: Mapping[str, Any]) -> float:
    """Muon is no better in the mean, but its configurations differ more: its best are the best of all."""
    return SCATTER * (5 if point["train.optim"] == "muon" else 1)


def as_first_seen(run: RunRead) -> Table:
    seen = observe(run, [])
    assert seen is not None
    return seen.table


def among_survivors(run: RunRead) -> Table:
    late = survivors(run)
    assert late is not None
    return late[0]


def promoting(
    view: Callable[[RunRead], Table],
    truth: Callable[[Mapping[str, Any]], float],
    scatter: Callable[[Mapping[str, Any]], float],
    *,
    hyperband: bool = False,
) -> Callable[[Generator], Table]:
    """Studies that promote by results, as `view` looks at them."""
    return lambda generator: view(halved(generator, truth, scatter=scatter, hyperband=hyperband))


VIEWS: Mapping[str, Callable[[RunRead], Table]] = {
    "ours: as first seen": as_first_seen,
    "naive: survivors only": among_survivors,
    "naive: last results of all": latest,
}


# Power


def power_as_advised(studies: int, margin: float = 0.005, seed: int = 2) -> tuple[Share, int]:
    """How often an effect of `margin` is found with as many configurations as `needed` says of a pilot of 72."""
    pilot = np.random.default_rng(seed)
    points = grid() * 2
    analysis = analyse(study(points, nothing, pilot.normal(0, 2 * NOISE, len(points))), crossed=False)
    bias = next(effect for effect in analysis.effects if effect.axis == "lora.bias")
    assert bias.interval is not None
    level = 0.04 / analysis.comparisons
    freedom = len(points) - analysis.unknowns
    error = 2 * 2 * NOISE / math.sqrt(len(points))  # of a difference of two halves, the noise as it is
    number = needed(Estimate(0.0, error, freedom), len(points), level, analysis.unknowns, margin)
    whole = [point for _ in range(math.ceil(number / 36)) for point in grid()]
    hits = 0
    for each in range(studies):
        generator = np.random.default_rng([seed, each])
        kept = [whole[place] for place in generator.permutation(len(whole))[:number]]
        values = np.array([LEVEL + margin * (p["lora.bias"] == "lora_only") for p in kept])
        found = analyse(table(kept, values + generator.normal(0, 2 * NOISE, number)), crossed=False)
        hits += any(e.axis == "lora.bias" and e.verdict == "effect" for e in found.effects)
    return Share(hits, studies), number


# Intervals


def wilson_coverage(rows: int, accuracy: float) -> float:
    """Exact: the probability of all counts whose interval holds the truth."""
    middle, reach = rows * accuracy, 12 * math.sqrt(rows * accuracy * (1 - accuracy)) + 12
    counts = np.arange(max(0, math.floor(middle - reach)), min(rows, math.ceil(middle + reach)) + 1)
    held = [low <= accuracy <= high for low, high in (wilson_interval(int(count), rows) for count in counts)]
    return float(stats.binom.pmf(counts, rows, accuracy)[held].sum())


def interval_coverage(rows: int, accuracy: float, method: str) -> float:
    """The same of another interval; `method` is statsmodels' name of it."""
    counts = np.arange(rows + 1)
    low, high = proportion_confint(counts, rows, method=method)
    chances = stats.binom.pmf(counts, rows, accuracy)
    return float(chances[(low <= accuracy) & (accuracy <= high)].sum())


def paired_coverage(
    rows: int, accuracy: float, difference: float, discordant: float, times: int
) -> tuple[Share, float]:
    """Of paired bootstraps that were given, those that hold the truth; and the share that was refused.

    Of all rows `discordant` have one classifier right alone. `accuracy` is the worse one's.
    """
    generator = np.random.default_rng([rows, round(1e6 * accuracy), round(1e6 * difference), round(1e6 * discordant)])
    only_a, only_b = (discordant + difference) / 2, (discordant - difference) / 2
    both = accuracy - only_b
    assert min(only_b, both, 1 - both - discordant) >= -1e-12, "no two classifiers are like that"
    shares = np.maximum(0, [only_a, only_b, both, 1 - discordant - both])
    known: dict[tuple[int, int], tuple[float, float] | None] = {}
    hits = given = 0
    for a, b, right, wrong in generator.multinomial(rows, shares / shares.sum(), size=times):
        if (a, b) not in known:
            first = np.repeat([True, False, True, False], [a, b, right, wrong])
            second = np.repeat([False, True, True, False], [a, b, right, wrong])
            known[a, b] = paired_bootstrap(first, second)
        interval = known[a, b]
        if interval is not None:
            given += 1
            hits += interval[0] <= difference <= interval[1]
    return Share(hits, max(1, given)), 1 - given / times


def gap_findings(studies: int, widening: float = 0.0, seed: int = 5) -> tuple[Share, Share]:
    """Of studies of 24 drawn configurations over four epochs, those that find the gap wider by rank, and by epoch.

    It widens by as much with each doubling of the rank, and with each epoch. Each configuration has a gap of its own,
    and each evaluation scatters about it.
    """
    hits = Counter[str]()
    for number in range(studies):
        generator = np.random.default_rng([seed, number])
        points, epochs = drawn(generator, 24), np.arange(1, 5)
        seen: Any = SimpleNamespace(table=table(points, np.zeros(len(points))), epochs=None)
        recipe: Any = SimpleNamespace(search=SimpleNamespace(epochs="auto"))
        own = 0.03 + generator.normal(0, 2 * NOISE, len(points))
        curves = []
        for row, point in enumerate(points):
            gaps = own[row] + widening * (epochs + np.log2(point["lora.r"])) + generator.normal(0, NOISE, len(epochs))
            lines = tuple(zip(epochs.tolist(), gaps.tolist(), strict=True))
            curves.append(_Curve(row, point["lora.r"], lines, float(epochs[-1])))
        for name, claim in (("rank", _of_rank(seen, curves, recipe)), ("epoch", _of_epochs(seen, curves, recipe))):
            hits[name] += claim.verdict == "effect"
    return Share(hits["rank"], studies), Share(hits["epoch"], studies)


def mcnemar_level(rows: int, discordant: float, times: int) -> Share:
    """Of test sets on which two classifiers are equally good, those on which McNemar's p is 0.05 or less."""
    generator = np.random.default_rng([rows, round(1e6 * discordant)])
    hits = 0
    for a, b, _ in generator.multinomial(rows, [discordant / 2, discordant / 2, 1 - discordant], size=times):
        hits += mcnemar(np.repeat([1, 0], [a, rows - a]), np.repeat([0, 1, 0], [a, b, rows - a - b])) <= 0.05
    return Share(hits, times)


def area_coverage(rows: int, times: int) -> Share:
    """Of the bootstrap's intervals of AURC, on a calibrated model of four classes, those that hold the truth."""
    whole = drawn_rows(0, rows=200_000)
    truth = coverage_curve(whole.right, confidence_of(whole.probabilities)).area
    found = (selective(drawn_rows(1 + each, rows=rows), None).area_interval for each in range(times))
    intervals = [interval for interval in found if interval is not None]
    return Share(sum(low <= truth <= high for low, high in intervals), len(intervals))


@dataclass(frozen=True, slots=True)
class GapCovered:
    """The rows expected wrong, the gap of confidence and accuracy, and the intervals that hold it."""

    wrong: float
    gap: float
    ours: Share
    students: Share


def confidence_gap_coverage(rows: int, spread: float, temperature: float, times: int) -> GapCovered:
    """Of a model whose logits have this standard deviation, and are `temperature` times too large."""
    whole = drawn_rows(0, 200_000, temperature, spread=spread)
    chances = confidence_of(at_temperature(whole.probabilities, temperature))
    truth = float((confidence_of(whole.probabilities) - chances).mean())
    hits = Counter[str]()
    for each in range(times):
        judged = drawn_rows(1 + each, rows, temperature, spread=spread)
        sure = confidence_of(judged.probabilities)
        _, (low, high) = confidence_gap(judged.right, sure)
        student = mean_interval((sure - judged.right).tolist())
        assert student is not None
        hits.update(ours=low <= truth <= high, student=student[0] <= truth <= student[1])
    wrong = rows * float((1 - chances).mean())
    return GapCovered(wrong, truth, Share(hits["ours"], times), Share(hits["student"], times))


def seeds_coverage(
    rows: int, accuracy: float, seeds: int, spread_rows: float, times: int, *, rounding: bool = True
) -> Share:
    """Of intervals of a few seeds' mean, those that hold the truth; seeds differ by `spread_rows` rows (one sigma).

    The truth lies anywhere between two counts near `accuracy`; with `rounding`, rounding counts as noise.
    """
    generator = np.random.default_rng([rows, round(1e6 * accuracy), seeds, round(100 * spread_rows)])
    truths = rows * accuracy + generator.uniform(-0.5, 0.5, times)
    right = np.rint(generator.normal(truths[:, None], spread_rows, (times, seeds))).clip(0, rows)
    hits = 0
    for truth, each in zip(truths / rows, right / rows, strict=True):
        interval = mean_interval(each.tolist(), rows=rows if rounding else None)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    return Share(hits, times)
