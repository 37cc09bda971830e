"""What a plan is made for: the rows that there are, the configurations, and what differs in cost among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from loraloom.recipe import Configuration, Recipe
from loraloom.search.costs import Costs, Key, TextKey, cost_key, text_key

_EPOCHS = "train.num_train_epochs"
_VARIED = (
    "backbone.model",
    "backbone.dropout",
    "data.max_length",
    "train.per_device_train_batch_size",
    "train.optim",
    "lora.target_modules",
    "lora.layers_to_transform",
    "lora.bias",
)
"""By which kinds differ."""
LEAST_EVAL_ROWS, MOST_EVAL_ROWS = 200, 4_000
"""Validation rows of trials on a part of the rows: 4,000 leave an accuracy of 0.9 a standard error of half a point."""


@dataclass(frozen=True)
class Task:
    """What is to be planned for: the rows of both splits, the classes, and how many configurations there are.

    `configurations` is None where the time alone ends the search. `leading` are those that are tried first, `fitting`
    the models, each with its longest text, of which a point fits the budget and memory; where none are named, all do.
    """

    recipe: Recipe
    train_rows: int
    eval_rows: int
    classes: int
    configurations: int | None
    leading: tuple[Configuration, ...] = ()
    fitting: tuple[TextKey, ...] = ()
    every: tuple[Configuration, ...] = ()
    """All configurations, where a grid has few enough to look at each."""

    @cached_property
    def kinds(self) -> tuple[Configuration, ...]:
        """What differs in cost: models, lengths, batches, optimizers and trained layers; each with the most epochs."""
        return self._kinds(longest=True)

    @cached_property
    def shortest_kinds(self) -> tuple[Configuration, ...]:
        """The same, each with the fewest epochs."""
        return self._kinds(longest=False)

    def _kinds(self, *, longest: bool) -> tuple[Configuration, ...]:
        searched = self.recipe.narrowed((_EPOCHS, *_VARIED), at_ends=(_EPOCHS,))  # with what their conditions are on
        each = map(searched.configuration, searched.grid())
        every: dict[Key, Configuration] = {}
        for one in sorted(each, key=lambda one: one.train.num_train_epochs, reverse=longest):
            every.setdefault(cost_key(one), one)
        found = tuple(one for one in every.values() if text_key(one) in self.fitting)
        # What fits may be where an axis that is not varied here has another value.
        return found or tuple(every.values())

    def dearest(self, costs: Costs) -> Configuration:
        """What takes longest."""
        found = self.kinds
        return (
            max(found, key=lambda one: costs.seconds(one, self.train_rows, self.eval_rows)) if costs.known else found[0]
        )

    def rows(self, rung: int | None) -> int:
        """Training rows of a rung."""
        return self.train_rows if rung is None else min(rung, self.train_rows)

    def validated(self, rung: int | None) -> int:
        """Validation rows of a rung: all where it trains on all, else about as many as it trains on."""
        return self.eval_rows if rung is None else min(self.eval_rows, max(LEAST_EVAL_ROWS, min(rung, MOST_EVAL_ROWS)))

    def rung_of(self, rows: int | None) -> int | None:
        """Rows as a rung has them: None where it is all."""
        return None if rows is None or rows >= self.train_rows else rows
