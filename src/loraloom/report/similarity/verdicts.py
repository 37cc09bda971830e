"""The verdicts of the similarity section in words: the size of a thing first, then whether it is more than chance."""

from __future__ import annotations

from loraloom.metrics import Interval
from loraloom.report.similarity.rank import RankSlope
from loraloom.report.similarity.trend import Slope, Trend
from loraloom.report.similarity.two_sample import TwoSample
from loraloom.report.wording import p_value, plural

LEVEL = 0.05
SLIGHT, MODERATE, LARGE = 0.6, 0.75, 0.9
"""AUCs at which a difference is called moderate, large, and one of kind."""
TELLING_ODDS = 1.5
"""An odds ratio for a standard deviation of distance that would matter: with accuracy 0.95, 1.6 points."""


def ratio(value: float) -> str:
    """An odds ratio with two digits that count."""
    return f"{value:.1e}" if value >= 1000 or value < 0.001 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def ratio_span(interval: Interval) -> str:
    return f"{ratio(interval[0])}–{ratio(interval[1])}"


def on_difference(found: TwoSample | None, p: float, names: tuple[str, str], rows: tuple[int, int]) -> str:
    """`p` is corrected; `names` and `rows` are of the two sets."""
    if found is None:
        return f"Not measured: {names[0]} has {plural(rows[0], 'row')} and {names[1]} {rows[1]:,}; it takes 20 of each."
    low, high = found.auc_interval
    figures = (
        f"a classifier that was trained to tell them apart ranks a row of the one above a row of the other in "
        f"{found.auc:.0%} of pairs (95 % {low:.0%}–{high:.0%}; 50 % is chance). Kernel test: MMD {found.mmd:.3f}, "
        f"{p_value(p)}; {found.first:,} and {found.second:,} rows"
    )
    if p >= LEVEL and low > SLIGHT:
        return f"A difference that the kernel test does not see: {figures}."
    if p >= LEVEL:
        rest = "" if high < SLIGHT else f" A moderate difference ({SLIGHT:.0%} of pairs) can't be ruled out by so few."
        return f"No difference found: {figures}.{rest}"
    if found.auc < SLIGHT:
        return f"A slight difference, more than chance and too small to matter much: {figures}."
    size = "A moderate" if found.auc < MODERATE else "A large" if found.auc < LARGE else "A difference of kind, not a"
    return f"{size} difference: {figures}."


def on_trend(trend: Trend, p: float) -> str:
    slope = trend.slope
    if slope is None:
        return f"Not measured: {trend.why_not}."
    figures = (
        f"each standard deviation of distance ({slope.unit:.2f}) multiplies the odds of a right answer by "
        f"{ratio(slope.odds_ratio)} (95 % {ratio_span(slope.interval)}, {p_value(p)}; {plural(trend.rows, 'row')}, "
        f"{trend.wrong:,} wrong)"
    )
    if p < LEVEL:
        way = "falls" if slope.odds_ratio < 1 else "rises"
        return (
            f"Accuracy {way} with the distance from the training rows: {figures}, from {slope.near:.3f} where a tenth "
            f"of the rows is nearer to {slope.far:.3f} where a tenth is farther."
        )
    return f"No dependence on distance found: {figures}.{_not_ruled_out(slope)}"


def _not_ruled_out(slope: Slope) -> str:
    low, high = slope.interval
    if low < 1 / TELLING_ODDS or high > TELLING_ODDS:
        return f" So few errors can't rule out one that matters (odds by {1 / TELLING_ODDS:.2f} or {TELLING_ODDS:.2f})."
    return ""


def on_rank(found: RankSlope | str, p: float) -> str:
    if isinstance(found, str):
        return f"Not measured: {found}."
    figures = (
        f"for each doubling of the rank, the odds ratio of a standard deviation of distance changes by a factor of "
        f"{ratio(found.odds_ratio)} (95 % {ratio_span(found.interval)}, {p_value(p)}; {found.trials} trials of rank "
        f"{', '.join(map(str, found.ranks))} on {plural(found.rows, 'validation row')})"
    )
    if p < LEVEL:
        way = "more far from the training rows" if found.odds_ratio > 1 else "more near the training rows"
        return f"A higher rank helps {way}: {figures}. The trials' other choices are not held fixed here."
    return f"It was not found that a higher rank helps more, or less, far from the training rows: {figures}."
