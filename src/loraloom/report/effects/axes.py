"""An axis as the effect model sees it: columns that adjust for it, and the comparisons that are made along it.

- Names (optimizer, bias, targets, model) and flags: a column for each value but the first; each value is compared with
  the others, weighed as often as they were tried (analysis of means: Nelson, Wludyka and Copeland 2005).
- Numbers with at most `MOST_VALUES` values (rank, alpha, batch): the same columns; all higher values are compared with
  each value ("lora.r above 4"), which are Helmert's contrasts: k - 1 of them, and any shape but a flat one shows in
  one.
- Numbers with more values (a rate from a range): a polynomial of low degree, in the logarithm where the values span
  more than tenfold; compared are its heights in the middle of the lower, middle and upper third of what was tried.

A value that one configuration had takes a column of its own, so that nothing can be told of it: it is compared with the
others, which are compared without it.

Rejected: all pairs of values (k (k - 1) / 2 comparisons, each of which widens the intervals of all the others), bins as
values for ranges (what is left of the trend within a bin is noise, and leaks into other axes where TPE tied them), and
splines (knots are one more choice; a polynomial of degree 4 on the logarithm follows a rate's hump).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from loraloom.intervals import Floats
from loraloom.recipe import Choices, Range
from loraloom.recipe.axes import is_number
from loraloom.report.wording import listed, value

MOST_VALUES = 6
"""Numbers with more distinct values than this are a curve, not a list."""
MANY = 100
"""Configurations from which a curve may bend more than once."""
BENDS = 2
"""The degree of a curve through fewer than those."""
LOG_SPAN = 10
Kind = Literal["names", "values", "curve"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`weights` over the axis's levels: `upper` minus `lower`, each of which sums to one."""

    title: str
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """`columns` (N, c) adjust for the axis, `levels` (L, c) are its levels in them, `level_of` (N,) is each one's."""

    name: str
    kind: Kind
    columns: Floats
    levels: Floats
    labels: tuple[str, ...]
    level_of: NDArray[np.int64]
    numbers: Floats | None
    """The values (N,) where they are numbers, on the scale of the model."""

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.bincount(self.level_of, minlength=len(self.labels))

    def comparisons(self, fitted: NDArray[np.bool_] | None = None) -> tuple[Comparison, ...]:
        """What is compared; a level that nothing was tried at is left out.

        `fitted` (N,) marks the configurations that a model is of. Of a level that none of them has nothing can be told,
        nor of any comparison that it is a part of: so the others are compared without it, and it with them.
        """
        tried = np.flatnonzero(self.counts).tolist()
        known = set(tried if fitted is None or self.kind == "curve" else self.level_of[fitted].tolist())
        among = [level for level in tried if level in known] if len(known) > 1 else tried
        alone = [level for level in tried if level not in among]
        return (*self._among(among, alone), *(self._against_others(level, among, tried) for level in alone))

    def _among(self, levels: Sequence[int], without: Sequence[int]) -> Iterator[Comparison]:
        if self.kind != "names":
            for place, level in enumerate(levels[:-1]):
                left_out = [self.labels[other] for other in without if other > level]
                title = f"above {self.labels[level]}{', without ' if left_out else ''}{listed(left_out)}"
                yield self._comparison(title, levels[place + 1 :], level)
        elif len(levels) == 2:
            yield self._comparison(f"{self.labels[levels[1]]} against {self.labels[levels[0]]}", *levels[::-1])
        else:
            yield from (self._against_others(level, levels, [*levels, *without]) for level in levels)

    def _against_others(self, level: int, levels: Sequence[int], tried: Sequence[int]) -> Comparison:
        others = [other for other in levels if other != level]
        names = listed([self.labels[other] for other in others])
        if len(others) > 3:
            names = f"the other {len(others)}" if len(others) == len(tried) - 1 else f"{len(others)} others"
        return self._comparison(f"{self.labels[level]} against {names}", level, others)

    def _comparison(self, title: str, upper: int | Sequence[int], lower: int | Sequence[int]) -> Comparison:
        above, below = ((side,) if isinstance(side, int) else tuple(side) for side in (upper, lower))
        weights = np.zeros(len(self.labels))
        for side, sign in ((above, 1.0), (below, -1.0)):
            tried = self.counts[list(side)]
            weights[list(side)] = sign * tried / tried.sum()
        return Comparison(title, above, below, tuple(map(float, weights)))


def make_axis(name: str, values: Sequence[Any]) -> Axis | None:
    """The axis `name` with the value of each of N configurations; None where they are all the same."""
    keys = [json.dumps(each, sort_keys=True, default=str) for each in values]
    distinct = dict(zip(keys, values, strict=True))
    if len(distinct) < 2:
        return None
    numeric = all(map(is_number, distinct.values()))
    if numeric and len(distinct) > MOST_VALUES:
        return _curve(name, np.array(values, dtype=np.float64))
    order = sorted(distinct, key=lambda key: distinct[key]) if numeric else list(distinct)
    place = {key: index for index, key in enumerate(order)}
    level_of = np.array([place[key] for key in keys], dtype=np.int64)
    levels = np.vstack([np.zeros(len(order) - 1), np.eye(len(order) - 1)])
    return Axis(
        name=name,
        kind="values" if numeric else "names",
        columns=levels[level_of],
        levels=levels,
        labels=tuple(value(distinct[key]) for key in order),
        level_of=level_of,
        numbers=_scaled(np.array(values, dtype=np.float64)) if numeric else None,
    )


def columns_of(axis: Choices | Range) -> int:
    """The columns that an axis of a recipe takes where a few dozen configurations try what it has."""
    match axis:
        case Choices(values):
            return _columns(len(values), numeric=all(map(is_number, values)))
        case Range(int(low), int(high)):
            return _columns(high - low + 1, numeric=True)
        case Range():
            return BENDS


def _columns(values: int, *, numeric: bool) -> int:
    return BENDS if numeric and values > MOST_VALUES else values - 1


def _curve(name: str, values: Floats) -> Axis:
    """A range: Legendre polynomials over what was tried, and three representatives of it."""
    representatives, level_of = _thirds(values)
    scaled = _scaled(values)
    ends = scaled.min(), scaled.max()
    degree = 4 if len(values) >= MANY else BENDS

    def columns(points: Floats) -> Floats:
        unit = (2 * points - ends[0] - ends[1]) / (ends[1] - ends[0])
        return np.asarray(legendre.legvander(unit, degree)[:, 1:], dtype=np.float64)

    return Axis(
        name=name,
        kind="curve",
        columns=columns(scaled),
        levels=columns(np.log(representatives) if _by_logarithm(values) else representatives),
        labels=tuple(value(each if not each.is_integer() else int(each)) for each in representatives.tolist()),
        level_of=level_of,
        numbers=scaled,
    )


def _thirds(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The middles (3,) of the lower, middle and upper third of what was tried, and the third (N,) of each value.

    Where one value has more than a third of the configurations, a third may be empty, but two never are. A middle is
    rounded if it then still lies in its third: no two of thirds that are not empty are alike.
    """
    lower, upper = np.quantile(values, (1 / 3, 2 / 3))
    if lower == values.max():  # two thirds have the highest value: it stands against all others
        third_of = 2 * (values == lower).astype(np.int64)
    else:
        third_of = (values > lower).astype(np.int64) + (values > upper)
    middles = [_rounded(float(middle)) for middle in np.quantile(values, (1 / 6, 1 / 2, 5 / 6))]
    whole = np.bincount(third_of, minlength=3).all()
    for third in np.unique(third_of):
        inside = values[third_of == third]
        if not (whole and inside.min() <= middles[third] <= inside.max()):  # with a third empty, another has more
            middles[third] = float(np.median(inside))
    return np.array(middles), third_of


def _by_logarithm(values: Floats) -> bool:
    return bool(values.min() > 0 and values.max() / LOG_SPAN > values.min())


def _scaled(values: Floats) -> Floats:
    return np.log(values) if _by_logarithm(values) else values


def _rounded(number: float) -> float:
    """Two significant digits, as a person would name a value in between."""
    return 0.0 if number == 0 else round(number, 1 - math.floor(math.log10(abs(number))))
