"""Whether accuracy depends on something of a row: its class, its length, whether it was cut, where it comes from.

Each question is a table of groups with Wilson intervals and one test; the tests are one family, corrected together by
Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), 65-70,
and intervals of differences by Bonferroni. That nothing depends on it is said where no difference of MARGIN has room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from loraloom.calibration import Flags, portions
from loraloom.intervals import Interval, difference_interval, holm, wilson_interval
from loraloom.report.effects.analysis import MARGIN
from loraloom.report.failures.kept import Judged
from loraloom.report.points import points, points_span
from loraloom.report.wording import LEVEL, p_value, told_apart
from loraloom.wording import percent, plural

FEWEST_ERRORS = 5
"""Fewer wrong rows than these show no pattern, whatever a test says."""
MOST_SOURCES = 12
LENGTH_GROUPS = 5
DRAWS = 19_999


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that have something in common, how many are right, and Wilson's interval of that share."""

    name: str
    rows: int
    right: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Dependence:
    """Groups of rows; `p` tests "accuracy is the same", `adjusted` is Holm's, both None where nothing is tested.

    `difference` of accuracies, and its interval, are of `pair`, the first less the second. The intervals of all
    questions hold together in 95 %. `wrong_are` is "longer" or "shorter" where `p` is of the lengths of wrong rows.
    """

    groups: tuple[Group, ...]
    p: float | None = None
    adjusted: float | None = None
    pair: tuple[Group, Group] | None = None
    interval: Interval | None = None
    verdict: str = ""
    wrong_are: str | None = None

    @property
    def difference(self) -> float | None:
        return None if self.pair is None else self.pair[0].accuracy - self.pair[1].accuracy

    @property
    def found(self) -> bool:
        return self.adjusted is not None and self.adjusted <= LEVEL


def group(name: str, right: Flags) -> Group:
    """The group of rows that are `right` (N,) or not; there is one at least."""
    rows, hits = int(right.size), int(right.sum())
    return Group(name, rows, hits, hits / rows, wilson_interval(hits, rows))


def same_accuracy(groups: Sequence[Group]) -> float:
    """The p-value of "all groups have one accuracy": exact for two groups, of 19,999 drawn tables for more.

    Freeman and Halton, "Note on an exact treatment of contingency, goodness of fit and other problems of significance",
    Biometrika 38 (1951), 141-149: the chance of a table, its margins given, that is no likelier than the one seen. For
    two groups that is Fisher's test, scipy's. scipy also draws larger tables, cell by cell, which takes half a second;
    of two columns one is enough, and wrong rows fall into groups as balls from an urn.
    """
    sizes = np.array([each.rows for each in groups])
    wrong = sizes - np.array([each.right for each in groups])
    if wrong.sum() in (0, sizes.sum()):
        return 1.0
    if len(groups) == 2:
        return float(stats.fisher_exact(np.stack([wrong, sizes - wrong])).pvalue)
    generator = np.random.default_rng(0)
    counts = [np.arange(min(size, wrong.sum()) + 1) for size in sizes]
    ways_of = [-special.betaln(count + 1, size - count + 1) for count, size in zip(counts, sizes, strict=True)]

    def ways(table: NDArray[np.int64]) -> NDArray[np.float64]:
        """The logarithm of the ways to choose so many of each group, which the chance of a table is proportional to."""
        return np.asarray(sum(of[column] for of, column in zip(ways_of, table.T, strict=True)), dtype=np.float64)

    limit, as_rare = ways(wrong) + 1e-9, 0
    for count in portions(DRAWS, sizes.size):
        drawn = generator.multivariate_hypergeometric(sizes, int(wrong.sum()), size=count)
        as_rare += int((ways(drawn) <= limit).sum())
    return (1 + as_rare) / (DRAWS + 1)


def length_trend(tokens: NDArray[np.int64], right: Flags) -> float:
    """The p-value of "wrong rows are as long as right ones" by ranks of `tokens` (N,): no bins, no shape is assumed.

    Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
    Annals of Mathematical Statistics 18 (1947), 50-60. With ranks as scores it is the Cochran-Armitage trend test.
    """
    if right.all() or not right.any():
        return 1.0
    return float(stats.mannwhitneyu(tokens[~right], tokens[right], alternative="two-sided").pvalue)


def by_class(judged: Judged, labels: Sequence[str]) -> Dependence:
    """Recall by class: whether some classes are harder."""
    groups = tuple(
        group(label, judged.right[judged.labels == index])
        for index, label in enumerate(labels)
        if (judged.labels == index).any()
    )
    return Dependence(groups, None if len(groups) < 2 else same_accuracy(groups))


def by_length(judged: Judged) -> Dependence | None:
    """Accuracy by fifths of the length, or by halves where these are one group; the halves give the difference.

    Rows of one length are in one group, so fifths and halves are such as far as equal lengths allow.
    """
    if judged.tokens is None:
        return None
    tokens, right = judged.tokens, judged.right
    middle = np.median(tokens)
    long = tokens > middle if (tokens > middle).any() else tokens >= middle  # half of them may be cut at one length
    edges = np.unique(np.quantile(tokens, np.linspace(0, 1, LENGTH_GROUPS + 1), method="lower"))
    fifths = np.clip(np.searchsorted(edges, tokens, side="left") - 1, 0, max(0, len(edges) - 2))
    places = fifths if fifths.any() else long
    groups = tuple(
        group(_span(tokens[places == place]), right[places == place]) for place in np.unique(places).tolist()
    )
    if len(groups) < 2:
        return Dependence(groups)
    pair = group("the longer half", right[long]), group("the shorter half", right[~long])
    ranks = stats.rankdata(tokens)
    wrong_are = "longer" if ranks[~right].sum() > (~right).sum() * ranks.mean() else "shorter"
    return Dependence(groups, length_trend(tokens, right), pair=pair, wrong_are=wrong_are)


def by_cut(judged: Judged) -> Dependence | None:
    """Accuracy of texts that lost their end, and of those that are whole; None where either are missing."""
    cut = judged.cut
    if cut is None or cut.all() or not cut.any():
        return None
    pair = group("texts cut off", judged.right[cut]), group("whole texts", judged.right[~cut])
    return Dependence(pair, same_accuracy(pair), pair=pair)


def by_source(judged: Judged) -> Dependence | None:
    """Accuracy by the column `source`: the commonest, and the rest as one; None without such a column."""
    if judged.sources is None:
        return None
    names = [name or "(none)" for name in judged.sources]
    counts = Counter(names)
    common = [name for name, _ in counts.most_common(MOST_SOURCES if len(counts) > MOST_SOURCES + 1 else None)]
    of = np.array([common.index(name) if name in common else len(common) for name in names])
    called = [*common, f"{len(counts) - len(common):,} others"]
    groups = tuple(group(called[place], judged.right[of == place]) for place in np.unique(of).tolist())
    if len(groups) < 2 or len(counts) > judged.labels.size // 2:
        return Dependence(groups)
    return Dependence(groups, same_accuracy(groups))


def _span(tokens: NDArray[np.int64]) -> str:
    low, high = int(tokens.min()), int(tokens.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def together(found: dict[str, Dependence | None], judged: Judged) -> dict[str, Dependence | None]:
    """The same with Holm's p-values, with intervals that hold together, and with verdicts."""
    tested = {name: each.p for name, each in found.items() if each is not None and each.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    wrong, rows = int((~judged.right).sum()), int(judged.right.size)
    said: dict[str, Dependence | None] = {}
    for name, each in found.items():
        if each is None:
            said[name] = None
            continue
        p = float(adjusted[name]) if name in adjusted else None
        if p is not None and wrong < FEWEST_ERRORS:
            said[name] = replace(each, p=None, verdict=_too_few(wrong, rows, judged.split))
        else:
            corrected = replace(each, adjusted=p, interval=_difference(each.pair, 1 - LEVEL / max(1, len(tested))))
            said[name] = replace(corrected, verdict=_verdict(name, corrected, len(tested)))
    return said


def _difference(pair: tuple[Group, Group] | None, confidence: float) -> Interval | None:
    if pair is None:
        return None
    first, second = ((each.right, each.rows) for each in pair)
    return difference_interval(first, second, confidence)


def _has_room(found: Dependence, tests: int) -> bool:
    """Whether a difference of MARGIN may be there: of the pair, or of any two groups by Wilson's ends of all."""
    if found.interval is not None:
        return max(map(abs, found.interval)) > MARGIN
    ends = [wilson_interval(each.right, each.rows, 1 - LEVEL / tests / len(found.groups)) for each in found.groups]
    return max(high for _, high in ends) - min(low for low, _ in ends) > MARGIN


_QUESTIONS = {
    "class": ("Some classes are harder than others", "No difference between classes was found", "classes differ"),
    "length": ("Accuracy differs by length", "No difference by length was found", "accuracy differs by length"),
    "cut": (
        "Texts that were cut off fare differently",
        "No difference between texts cut off and whole ones was found",
        "texts that were cut off fare differently",
    ),
    "source": ("Sources differ", "No difference between sources was found", "sources differ"),
}
"""What is said where a difference is found, where there is none, and where rows are too few to tell whether.

Not that length, or cutting texts off, does it: long texts may be of other classes, and cut ones are the longest.
"""


def _verdict(name: str, found: Dependence, tests: int) -> str:
    if found.adjusted is None:
        return _why_untested(name, found)
    yes, no, whether = _QUESTIONS[name]
    sentence = yes if found.found else f"Not enough rows to tell whether {whether}" if _has_room(found, tests) else no
    corrected = f", {'both ' if found.pair else ''}corrected for {tests} tests" if tests > 1 else ""
    test = f"{p_value(found.adjusted)}{corrected}"
    if found.pair is not None and found.difference is not None and found.interval is not None:
        one, other = (each.name for each in found.pair)
        holds_zero = found.interval[0] <= 0 <= found.interval[1]
        if found.found and found.wrong_are and holds_zero:
            difference = f"{points(found.difference, found.interval)} ({points_span(found.interval)}{corrected})"
            return (
                f"Wrong rows tend to be {found.wrong_are} than right ones ({p_value(found.adjusted)}); between {one} "
                f"and {other} no difference of accuracy is shown: {difference}."
            )
        difference = f"{points(found.difference, found.interval)} ({points_span(found.interval)}, {test})"
        but = ""
        if found.found and holds_zero:
            but = " The interval holds 0, but the test is convinced."
        elif not found.found and not holds_zero:
            but = " The interval leaves out 0, but the test is not convinced."
        return f"{sentence}: the accuracy of {one} less that of {other} is {difference}.{but}"
    if not found.found:
        return f"{sentence} ({test})."
    low, high = (pick(found.groups, key=lambda each: each.accuracy) for pick in (min, max))
    (called,) = told_apart((low.name, high.name), 60)
    return (
        f"{sentence} ({test}): “{called[0]}” is right in {percent(low.accuracy)} of its "
        f"{plural(low.rows, 'row')}, “{called[1]}” in {percent(high.accuracy)} of its {high.rows:,}."
    )


def _too_few(wrong: int, rows: int, split: str) -> str:
    """Why nothing can be said of a few errors, and what it would take."""
    if not wrong:
        return f"None of {rows:,} {split} rows is wrong: there is no pattern to tell. More rows may show one."
    few = plural(wrong, "error")
    return f"Only {few} in {rows:,} {split} rows: no pattern can be told from so few. More rows would show one."


def _why_untested(name: str, found: Dependence) -> str:
    if len(found.groups) < 2:
        return "All rows are alike in this, so there is nothing to compare."
    return f"There are too many different values of {name} for so few rows to compare them."
