"""Class shares: whether classes are equally common, whether splits have them alike, and whether that matters.

The last asks by the class, not by the row: rows of a class share whatever else makes it hard, so that a test by the row
would call any two unlike classes an effect of their shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from loraloom.calibration import portions
from loraloom.intervals import Floats, Interval, holm
from loraloom.report.effects.analysis import MARGIN
from loraloom.report.effects.model import Estimate, fit
from loraloom.report.failures.classes import ClassLine
from loraloom.report.failures.groups import Dependence
from loraloom.report.points import points, points_span
from loraloom.report.wording import LEVEL, p_value, told_apart
from loraloom.wording import percent

AS_GOOD_AS_EQUAL = 1.25
"""The commonest class has less than this many times the rarest's rows: nothing can hang on such shares."""
FEWEST_CLASSES = 5
"""Of four, two degrees of freedom are left for how classes differ by themselves."""
DEALS = 1_999
SMALL_DIFFERENCE, MEDIUM_DIFFERENCE = 0.1, 0.3
"""Of Cramér's V, which of two splits is Cohen's w: "Statistical power analysis" (1988), section 7.2."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Whether the classes of training are equally common.

    `evenness` is the entropy of the shares over that of equal ones (Pielou 1966), 1 where they are equal; `ratio` is
    the commonest class's rows by the rarest's, infinite where that has none.
    """

    ratio: float
    evenness: float
    p: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether two splits have the classes in like shares: `v` is Cramér's V, `moved` the rows' share to re-label.

    `by_chance` is what chance alone makes of `moved`, in the mean. `p` is corrected where there are several `tests`.
    """

    split: str
    v: float
    moved: float
    by_chance: float
    p: float
    tests: int = 1

    @property
    def verdict(self) -> str:
        corrected = f", corrected for {self.tests} tests" if self.tests > 1 else ""
        figures = f"({p_value(self.p)}{corrected}, Cramér's V {self.v:.2f})"
        if self.p > LEVEL:
            return f"Its class shares are not shown to differ from training's {figures}."
        size = "little" if self.v < SMALL_DIFFERENCE else "somewhat" if self.v < MEDIUM_DIFFERENCE else "much"
        return (
            f"Its class shares differ {size} from training's {figures}. To have the same, {percent(self.moved)} of its "
            f"rows would have to be in another class; by chance alone, {percent(self.by_chance)} would."
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether recall rises with a class's share in training.

    `slope` is the change of recall where a class is twice as common, `interval` and `p` are its own (`slope_by_class`).
    All are None where nothing can be tested.
    """

    verdict: str
    slope: float | None = None
    interval: Interval | None = None
    p: float | None = None


def balance(rows: Mapping[str, int]) -> Balance | None:
    """The training rows by class against equal shares; None for fewer than two classes.

    Pearson's chi-square: "On the criterion that a given system of deviations ... can be reasonably supposed to have
    arisen from random sampling", Philosophical Magazine 50 (1900), 157-175.
    """
    if len(rows) < 2 or not sum(rows.values()):
        return None
    counts = np.array(list(rows.values()), dtype=np.float64)
    names, total = list(rows), float(counts.sum())
    least, most = int(counts.argmin()), int(counts.argmax())
    found = stats.chisquare(counts)
    ratio = float(counts[most] / counts[least]) if counts[least] else math.inf
    shares = counts / total
    evenness = float(stats.entropy(shares) / math.log(len(counts)))
    p = float(found.pvalue)
    (called,) = told_apart((names[least], names[most]), 60)
    spread = f"from {percent(shares[least])} (“{called[0]}”) to {percent(shares[most])} (“{called[1]}”)"
    if ratio == 1:
        verdict = f"The classes are equally common: {percent(shares[0])} each."
    elif ratio < AS_GOOD_AS_EQUAL:
        verdict = f"The classes are as good as equally common: {spread}, evenness {evenness:.3f} of 1."
    elif p > LEVEL:
        verdict = (
            f"The classes are not shown to differ in their shares ({p_value(p)}): {spread}, evenness {evenness:.3f}."
        )
    else:
        times = "infinitely often" if math.isinf(ratio) else f"{ratio:.1f} times as often"
        verdict = f"The classes are not equally common ({p_value(p)}): {spread}, {times}; evenness {evenness:.3f} of 1."
    return Balance(ratio, evenness, p, verdict)


def drift(split: str, train: Mapping[str, int], other: Mapping[str, int]) -> Drift | None:
    """The classes of a split against those of training, by a test of homogeneity and its effect size.

    The statistic is Pearson's, as in `balance`; p is its rank where the rows of both are dealt to them by chance, since
    by chi-square's distribution up to three of ten such deals differ, where most classes are expected less than once. V
    is corrected for its bias (`cramers_v`), and is that of splits of equal size, each with the harmonic mean of both's
    rows (as Cohen 1988, 6.3, has it for two shares): of the same shares it is smaller the more the sizes differ.
    `moved` is the total variation distance of the shares, which of many classes and few rows is large by chance alone,
    and is told beside that.
    """
    names = [name for name in train if train[name] + other.get(name, 0)]
    table = np.array([[train[name] for name in names], [other.get(name, 0) for name in names]])
    if len(names) < 2 or not table.sum(axis=1).all():
        return None
    pooled, sizes = table.sum(axis=0), table.sum(axis=1, keepdims=True)
    generator = np.random.default_rng(0)
    expected = sizes * pooled / pooled.sum()

    def pearson(counts: NDArray[np.int64]) -> Floats:
        return np.asarray(((counts - expected[1]) ** 2 * (1 / expected).sum(axis=0)).sum(axis=-1), dtype=np.float64)

    least, as_far, moves = pearson(table[1]) * (1 - 1e-9), 0, 0.0
    for count in portions(DEALS, len(names)):
        dealt = generator.multivariate_hypergeometric(pooled, int(sizes[1, 0]), size=count, method="marginals")
        as_far += int((pearson(dealt) >= least).sum())
        moves += float(_moved(pooled - dealt, dealt).sum())
    p = (1 + as_far) / (DEALS + 1)
    v = cramers_v(table / sizes * stats.hmean(sizes))
    return Drift(split, v, float(_moved(*table)), moves / DEALS, p)


def drifts(train: Mapping[str, int], others: Mapping[str, Mapping[str, int]]) -> tuple[Drift, ...]:
    """Each of the `others`, as far as it can be compared, against training, the p-values corrected together (Holm)."""
    found = [each for split, rows in others.items() if (each := drift(split, train, rows)) is not None]
    corrected = holm([each.p for each in found])
    return tuple(replace(each, p=p, tests=len(found)) for each, p in zip(found, corrected, strict=True))


def cramers_v(table: Floats) -> float:
    """Cramér's V of two splits' rows by class (2, C), which chance alone leaves near 0.

    Without the correction it is the root of chi-square / rows, whose mean is (C - 1) / (rows - 1) of like shares.
    Source: Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", Journal of the Korean Statistical Society 42
    (2013), 323-328.
    """
    total, classes = float(table.sum()), table.shape[1]
    by_chance = (classes - 1) / (total - 1)
    association = float(stats.chi2_contingency(table, correction=False).statistic) / total - by_chance
    most = min(1 - 1 / (total - 1), (classes - 1) * (1 - by_chance))
    return math.sqrt(association / most) if min(association, most) > 0 else 0.0


def _moved(first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """(…) of counts (…, C): half the sum of what the shares differ by."""
    shares = [counts / counts.sum(axis=-1, keepdims=True) for counts in (first, second)]
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=-1) / 2, dtype=np.float64)


def share_effect(rows: Mapping[str, int], lines: Sequence[ClassLine], of_class: Dependence, split: str) -> Effect:
    """Whether rare classes are the ones that fail: recall (of `lines`) against shares in training."""
    known = [line for line in lines if rows.get(line.label) and line.recall is not None]
    counts = np.array([rows[line.label] for line in known], dtype=np.float64)
    recalls = np.array([line.recall for line in known], dtype=np.float64)
    if len(known) < 2:
        return Effect(f"Too few classes have {split} rows to compare them.")
    ratio = float(counts.max() / counts.min())
    if ratio < AS_GOOD_AS_EQUAL:
        times = f"over {math.ceil(100 * ratio) / 100:.2f} times the training rows of"
        verdict = f"Shares can't explain the errors: no class has {'more rows than' if ratio == 1 else times} another."
        return Effect(verdict)
    if np.ptp(recalls) == 0:
        return Effect("All classes have the same recall: there is nothing to explain.")
    if len(known) < FEWEST_CLASSES:
        verdict = (
            f"With {len(known)} classes it can't be told whether shares matter: it takes {FEWEST_CLASSES} or more. To "
            "know, train on as many rows of each class, and compare."
        )
        return Effect(verdict)
    found = slope_by_class(counts, recalls, np.array([line.rows for line in known]))
    slope, low, high = np.clip([found.value, *found.interval(LEVEL)], -1, 1).tolist()  # as any difference of shares
    interval, p = (low, high), found.p_value
    per = f"recall changes by {points(slope, interval)} where a class is twice as common ({points_span(interval)}, "
    per += f"{len(known):,} classes)"
    if p <= LEVEL:
        rising = slope > 0
        verdict = f"{'Rare' if rising else 'Common'} classes do worse ({p_value(p)}): {per}."
        if rising:
            verdict += " predict --class_shares balanced finds more of their rows, and fewer of common classes'."
    elif max(map(abs, interval)) > MARGIN:
        they = "Classes differ in recall, but they" if of_class.found else "Classes"
        figures = "" if interval == (-1, 1) else f": {per}"  # all that a change can be says nothing
        verdict = (
            f"{they} and their {split} rows are too few to tell whether recall goes with their shares "
            f"({p_value(p)}){figures}."
        )
    else:
        verdict = f"No effect of shares was found ({p_value(p)}): {per}."
    return Effect(verdict, slope, interval, p)


def slope_by_class(rows: Floats, recalls: Floats, judged: NDArray[np.int64]) -> Estimate:
    """The change of recall (C,) per doubling of training rows (C,), over classes of which so many (C,) were `judged`.

    Recalls differ since classes do, and by the chance of few rows: their variances are t² + p (1 - p) / judged, where p
    is the recall of all rows, and t² what makes the weighted residuals as large as they should be (Paule and Mandel,
    "Consensus values and weighting factors", Journal of Research of the National Bureau of Standards 87 (1982),
    377-385). They weigh the classes, and the error is HC2's (`effects/model.py`), or what these variances make of it
    where few wrong rows show less.

    Rejected: Spearman's correlation, permuted. Of a few rows all are right more often than not, so that among classes
    of one true recall the rare ones rank above the common ones: 150 of them, of which 2,000 rows were judged and 3 %
    wrong, were found to differ in 96 of 100 simulations.
    """
    doublings = np.log2(rows) - np.log2(rows).mean()
    design, slope = np.column_stack([np.ones_like(doublings), doublings]), np.array([0.0, 1.0])
    share = (recalls @ judged + 0.5) / (judged.sum() + 1)
    by_chance = share * (1 - share) / judged

    def weighted(between: float) -> tuple[Floats, Floats]:
        weights = 1 / np.sqrt(by_chance + between)
        return design * weights[:, None], recalls * weights

    def too_large(between: float) -> float:
        return float((fit(*weighted(between)).residuals ** 2).sum()) - (len(recalls) - 2)

    between = 0.0 if too_large(0.0) <= 0 else float(optimize.brentq(too_large, 0.0, 1.0))
    columns, values = weighted(between)
    model = fit(columns, values)
    if not model.knows(slope):  # all classes but one are as common as each other
        return Estimate(0.0, math.inf, 1.0)
    found = model.estimate(slope)
    least = math.sqrt(float(np.linalg.inv(columns.T @ columns)[1, 1]))
    return replace(found, error=max(found.error, least))
