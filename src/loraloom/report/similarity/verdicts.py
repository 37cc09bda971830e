"""The verdicts of the similarity section in words: the size of a thing first, then whether it is more than chance."""

from __future__ import annotations

from dataclasses import dataclass

from loraloom.intervals import Interval
from loraloom.report.similarity.rank import RankSlope
from loraloom.report.similarity.trend import Slope, Trend
from loraloom.report.similarity.two_sample import FEWEST_ROWS, TwoSample
from loraloom.report.wording import LEVEL, p_value, share
from loraloom.wording import percent, plural

CHANCE, SLIGHT, MODERATE, LARGE = 0.5, 0.6, 0.75, 0.9
"""The AUC of chance, and those at which a difference is called moderate, large, and one of kind."""
TELLING_ODDS = 1.5
"""An odds ratio for a standard deviation of distance that would matter: at an accuracy of 0.95 it is 1.6 points."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in a few words, and the figures that it rests on, as sentences."""

    head: str
    figures: str

    def __str__(self) -> str:
        return f"{self.head}. {self.figures}"


def ratio(value: float) -> str:
    """An odds ratio with two or three digits that count."""
    if value >= 1000 or value < 0.001:
        return f"{value:.1e}"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def ratio_span(interval: Interval) -> str:
    return f"{ratio(interval[0])}–{ratio(interval[1])}"


def on_difference(found: TwoSample | None, p: float, rows: tuple[int, int]) -> Verdict:
    """`p` is corrected; `rows` are those of the two sets, without copies."""
    if found is None:
        there = f"there are {rows[0]:,} and {rows[1]:,} different ones"
        return Verdict("Not measured", f"Too few texts: {there}, and it takes {FEWEST_ROWS} of each.")
    low, high = found.auc_interval
    figures = (
        f"A classifier that was fitted to half of the rows ranks, of the other half, a row of the one set above a row "
        f"of the other in {percent(found.auc)} of pairs (95 % {100 * low:.0f}–{100 * high:.0f}; chance is 50). "
        f"Kernel test: MMD {found.mmd:.3f}, {p_value(p)}, {found.first:,} and {found.second:,} rows."
    )
    if p >= LEVEL and low > SLIGHT:
        return Verdict("A difference that the kernel test does not see", figures)
    if p >= LEVEL:
        pairs = f"{100 * SLIGHT:.0f} % of pairs"
        unsure = "" if high < SLIGHT else f" So few rows can't rule out a moderate difference ({pairs})."
        if round(100 * low) > 100 * CHANCE:  # as it is told
            unsure = " The classifier's interval leaves chance out; one in forty does where nothing differs." + unsure
        elif round(100 * high) < 100 * CHANCE:
            unsure = " It falls below chance where texts of the one set are in the other too; else once in forty times."
        return Verdict("No difference found", figures + unsure)
    if high < SLIGHT:
        return Verdict("A slight difference, more than chance and too small to matter much", figures)
    if found.auc < SLIGHT:
        return Verdict("A difference that is more than chance; so few rows don't tell how large", figures)
    moderate, large = "A moderate difference", "A large difference"
    size = moderate if found.auc < MODERATE else large if found.auc < LARGE else "Texts of another kind"
    return Verdict(size, figures)


def on_trend(trend: Trend, p: float) -> Verdict:
    slope = trend.slope
    if slope is None:
        return Verdict("Not measured", f"{str(trend.why_not).capitalize()}.")
    figures = (
        f"Each standard deviation of distance ({slope.unit:.2f}) multiplies the odds of a right answer by "
        f"{ratio(slope.odds_ratio)} (95 % {ratio_span(slope.interval)}, {p_value(p)}; {plural(trend.rows, 'row')}, "
        f"{trend.wrong:,} wrong)"
    )
    if p >= LEVEL:
        return Verdict(
            "No dependence on distance found", f"{figures}.{_leaves_1_out(slope.interval)}{_not_ruled_out(slope)}"
        )
    way, near, far = "falls" if slope.odds_ratio < 1 else "rises", share(slope.near), share(slope.far)
    return Verdict(
        f"Accuracy {way} with the distance from the training rows",
        f"{figures}: from {near} where a tenth of the rows is nearer to {far} where a tenth is farther.",
    )


def _leaves_1_out(interval: Interval) -> str:
    """That an interval, as it is told, is of one test and does not agree with a p that is corrected for several."""
    low, high = (float(ratio(end)) for end in interval)
    return (
        "" if low <= 1 <= high else " The interval leaves 1 out; one in twenty does where nothing depends on distance."
    )


def _not_ruled_out(slope: Slope) -> str:
    low, high = slope.interval
    if low < 1 / TELLING_ODDS or high > TELLING_ODDS:
        return f" So few errors can't rule out one that matters (odds by {1 / TELLING_ODDS:.2f} or {TELLING_ODDS:.2f})."
    return ""


def on_rank(found: RankSlope | str, p: float) -> Verdict:
    if isinstance(found, str):
        return Verdict("Not measured", f"{found[0].upper()}{found[1:]}.")
    seen = f"{found.reach:,} training and " if found.reach else ""
    trials = f"{found.trials} trials{f' of {found.configurations} configurations,' if found.configurations else ''}"
    figures = (
        f"With each doubling of the rank, the odds ratio of a standard deviation of distance is multiplied by "
        f"{ratio(found.odds_ratio)} (95 % {ratio_span(found.interval)}, {p_value(p)}; {trials} of rank "
        f"{', '.join(map(str, found.ranks))} on {seen}{plural(found.rows, 'validation row')})."
    )
    if p >= LEVEL:
        return Verdict(
            "That a higher rank helps more, or less, far from the training rows was not found",
            figures + _leaves_1_out(found.interval),
        )
    way = "far from" if found.odds_ratio > 1 else "near"
    return Verdict(
        f"A higher rank helps more {way} the training rows",
        f"{figures} What else differs between these trials is not held fixed.",
    )
