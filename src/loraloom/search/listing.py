"""What is known of a search before its trials: the points that come before any is drawn, and how many there are in all.

They are a grid's points, or the presets of `auto`. A function of the recipe, its limits, and what the pace leaves out.
With a deadline a grid is tried in a shuffled order, since in the written one time may end before the first axis's
second value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from loraloom.recipe import Configuration, Recipe
from loraloom.search.pace import Pace
from loraloom.search.points import ledger_params, point_key, point_of
from loraloom.search.presets import in_order, leading, preset_points, too_few_to_choose
from loraloom.search.tried import Tried

DEFAULT_TRIALS = 20
MOST_COUNTED = 1_000
"""Points that lists may span to be counted: of more, the time or the number of trials ends a search before they do."""

Fits = Callable[[Configuration], str | None]
"""Why a configuration is not to be trained (over the cap, say), or None."""


class Listing:
    """What a search has to try: the points that are listed, and how many configurations it will try.

    `leave_out` and `foresee` are for before the first trial of a command: `Proposals` then goes through the points.
    """

    def __init__(
        self, recipe: Recipe, tried: Tried, fits: Fits, pace: Pace, rows: tuple[int | None, int | None]
    ) -> None:
        """`fits` is asked beside the pace; `rows` are for training and held out; None: many."""
        self._recipe, self._tried, self._fits, self._pace = recipe, tried, fits, pace
        self._rows, self._held_out = rows
        self.keys: tuple[str, ...] = ()
        """The points that are tried before any is drawn, in their order, as the ledger's keys."""
        self.leading: tuple[Configuration, ...] = ()
        """The presets that are compared before all else, first in the order of trials."""
        self.every: tuple[Configuration, ...] = ()
        """All configurations of a grid that is small enough to look at each."""
        self._spanned: int | None = None
        self._list()

    @property
    def draws(self) -> bool:
        """Whether new points are drawn where none that is listed can be tried."""
        return self.samples and not self.leads_alone

    @property
    def samples(self) -> bool:
        """Whether points are drawn after those that are listed."""
        return self._recipe.search.sampler != "grid"

    @property
    def configurations(self) -> int | None:
        """How many configurations the search will try, at most; None where the time alone ends it."""
        wanted = self._recipe.search.n_trials
        if self.leads_alone:
            wanted = len(self.leading)
        elif wanted is None and self.samples and not self._pace.limited:
            wanted = DEFAULT_TRIALS
        return min((most for most in (wanted, self._spanned) if most is not None), default=None)

    @property
    def leads_alone(self) -> bool:
        """Whether the clock has no others tried than what leads: held-out rows are too few to choose by.

        Where they are all that lists span, all is tried.
        """
        few = too_few_to_choose(self._recipe, self._held_out)
        others = self._spanned is None or len(self.leading) < self._spanned
        return few and bool(self.leading) and others and self._pace.limited

    @property
    def holds_more(self) -> bool:
        """Whether there are others beyond as many configurations as the search will try."""
        most = self.configurations
        return most is not None and (self._spanned is None or most < self._spanned)

    def why_not(self, configuration: Configuration) -> str | None:
        """Why a new configuration is not tried, in a sentence; else None."""
        pace = self._pace
        return pace.leaves_out(configuration) or pace.why_not(configuration) or self._fits(configuration)

    def leave_out(self) -> None:
        """Counts and lists anew, without what `pace.left_out` names, of which no new configuration is proposed."""
        self._tried.update()
        self._list()

    def foresee(self, seen: float, *, every_layer_first: bool = False) -> None:
        """Fits what is known to be good to the texts that are tried, and to how many examples a final will see.

        These are counted in all its passes; of many, every layer is better adapted. A grid stays.
        """
        if self._recipe.search.sampler == "auto":
            if self._pace.longest is not None:
                self._count()
            ordered = in_order(every_layer_first=every_layer_first)
            presets = preset_points(self._recipe, self.why_not, ordered, rows=self._rows, seen=seen)
            self.leading = tuple(map(self._recipe.configuration, presets[: leading(presets)]))
            self.keys = self._keys(presets[: len(self.leading)] if self.leads_alone else presets)

    def _list(self) -> None:
        if self.samples:
            self._count()
            self.foresee(0.0)
        else:
            self._list_grid()

    def _list_grid(self) -> None:
        recipe = self._recipe
        points = [point for point in recipe.grid() if self.why_not(recipe.configuration(point)) is None]
        self._spanned = len(points) + self._tried_and_left_out()
        self.keys = self._keys(points)
        if len(points) <= MOST_COUNTED:
            self.every = tuple(map(recipe.configuration, points))
        if self._pace.limited:
            self.keys = _shuffled(self.keys, recipe.train.seed)

    def _count(self) -> None:
        spanned = _spanned(self._recipe, self.why_not)
        self._spanned = None if spanned is None else spanned + self._tried_and_left_out()

    def _tried_and_left_out(self) -> int:
        """How many were tried before they were left out, on another machine: they are among those that were tried."""
        points = (point_of(self._recipe, json.loads(key)) for key in self._tried.by_key)
        tried = (self._recipe.configuration(point) for point in points if point is not None)
        return sum(self._pace.leaves_out(one) is not None for one in tried)

    def _keys(self, points: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        return tuple(point_key(ledger_params(self._recipe.axes, point)) for point in points)


def _shuffled(keys: Iterable[str], seed: int) -> tuple[str, ...]:
    """Configurations in an order in which any first part of them has values of all axes: time may end in the midst."""
    return tuple(sorted(keys, key=lambda key: sha256(f"{seed} {key}".encode()).digest()))


def _spanned(recipe: Recipe, fits: Fits) -> int | None:
    """How many configurations the axes span that fit; None where one is a range, or where they are many."""
    if recipe.spans_more(MOST_COUNTED):
        return None
    return sum(fits(recipe.configuration(point)) is None for point in recipe.grid())
