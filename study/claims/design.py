"""A design: claims, the levels that each compares, and the trials that it takes, in the order of importance.

Read from a table beside this file. A trial's key names the fields in which it differs from the contest's point, so that
a configuration which several claims need is trained once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loraloom.errors import RecipeError
from loraloom.recipe import Recipe, read_recipe
from study.trials import ALL_ROWS, Trial, key_of

HERE = Path(__file__).parent
TABLES = {path.stem: path for path in sorted(HERE.glob("*.yaml")) if path.stem != "contest"}
_BESIDE = {"rows", "rates"}
"""Words of a level that are no fields."""

Measure = Literal["accuracy", "gap", "rarest"]
Expected = Literal["higher", "lower", "equal", "not higher"]
"""A verdict, or one of two: that more is not needed holds where more is no better, and where it is worse."""


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contrast(_Words):
    """What is compared: the mean over the levels `of`, less that over `to`, in what is measured.

    `said` is what the contest said of it. `gap` is training accuracy less validation accuracy, as the report has it
    (`loraloom.report.gap`), `rarest` the accuracy on rows of the class that is rarest under the skew.
    """

    name: str
    of: tuple[Any, ...] = Field(min_length=1)
    to: tuple[Any, ...] = Field(min_length=1)
    said: Expected | None = None
    measure: Measure = "accuracy"


class Claim(_Words):
    """A claim: levels by what they set over the base, or the values of one field; and what is compared."""

    name: str
    title: str
    said: str
    note: str = ""
    base: str = "contest"
    field: str | None = None
    values: tuple[Any, ...] = ()
    levels: dict[str, dict[str, Any]] = Field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if bool(self.field) == bool(self.levels) or bool(self.field) != bool(self.values):
            raise ValueError(f"claim {self.name}: has either a field with values, or levels")
        known = set(self.points)
        for contrast in self.contrasts:
            if unknown := {str(level) for level in (*contrast.of, *contrast.to)} - known:
                raise ValueError(
                    f"claim {self.name}: {contrast.name!r} names {min(unknown)!r}, which is no level of it"
                )
        return self

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        """What each level sets, by its name."""
        return self.levels or {str(value): {str(self.field): value} for value in self.values}


class RowCounts(_Words):
    """How many rows are trained on, and how many others trials are compared on."""

    train: int
    compared: int


class Table(_Words):
    """A whole design."""

    family: Literal["contest", "preset"] = "contest"
    """What its claims are about: p-values are corrected within a family."""
    rows: RowCounts
    seeds: tuple[int, ...] = Field(min_length=2)
    more_seeds: tuple[int, ...] = ()
    """By which all is trained again when it has been trained by `seeds`: a level is compared by those that it has."""
    tuning_seed: int
    bases: dict[str, dict[str, Any]]
    claims: tuple[Claim, ...] = Field(min_length=1)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return (*self.seeds, *self.more_seeds)


Accuracy = Callable[[Trial], float | None]
"""The accuracy of a trial that was trained; None of one that was not, or that failed."""


@dataclass(frozen=True, slots=True)
class Design:
    """A table over the contest's point, for one encoder."""

    table: Table
    recipe: Recipe

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The sets of rows that levels name."""
        named = (point.get("rows", ALL_ROWS) for claim in self.table.claims for point in claim.points.values())
        return tuple(dict.fromkeys((ALL_ROWS, *named)))

    def trial(self, claim: Claim, level: str, seed: int, rate: float | None = None) -> Trial:
        """The trial of a level; `rate` takes the place of its learning rate."""
        point = self.table.bases[claim.base] | claim.points[level]
        return self._trial(point if rate is None else point | {"train.learning_rate": rate}, seed)

    def base(self, name: str) -> Trial:
        """The trial of a base itself, with the first seed."""
        return self._trial(self.table.bases[name], self.table.seeds[0])

    def _trial(self, written: dict[str, Any], seed: int) -> Trial:
        rows = str(written.get("rows", ALL_ROWS))
        point = {name: value for name, value in written.items() if name not in _BESIDE}
        configuration = self.recipe.configuration(point | {"train.seed": seed})
        return Trial(key_of(configuration, self.recipe.configuration({}), rows), configuration, rows)

    def rates(self, claim: Claim, level: str) -> tuple[float, ...]:
        """The learning rates of which a level takes the best; none where its rate is given."""
        return tuple(claim.points[level].get("rates", ()))

    def best_rate(self, claim: Claim, level: str, accuracy: Accuracy) -> float | None:
        """The rate with the highest accuracy under the tuning seed, of equals the first; None before one is there."""
        seed = self.table.tuning_seed
        found = {rate: accuracy(self.trial(claim, level, seed, rate)) for rate in self.rates(claim, level)}
        known = {rate: value for rate, value in found.items() if value is not None}
        return max(known, key=lambda rate: known[rate], default=None)

    def compared(self, claim: Claim, level: str, seed: int, accuracy: Accuracy) -> Trial | None:
        """The trial by which a level is compared; None while its rate is not chosen."""
        if not self.rates(claim, level):
            return self.trial(claim, level, seed)
        rate = self.best_rate(claim, level, accuracy)
        return None if rate is None else self.trial(claim, level, seed, rate)

    def tuning(self, claim: Claim) -> Iterator[Trial]:
        """The trials by which the rates of a claim's levels are chosen."""
        for level in claim.points:
            for rate in self.rates(claim, level):
                yield self.trial(claim, level, self.table.tuning_seed, rate)

    def trials(self, accuracy: Accuracy) -> Iterator[Trial]:
        """All trials, each once: claim after claim, in each its tuning first, then seed after seed; more seeds last.

        `accuracy` is asked as trials are taken, so that a rate is chosen when those before have been trained.
        """
        seen: set[tuple[str, int]] = set()
        for trial in self._in_order(accuracy):
            if (trial.key, trial.seed) not in seen:
                seen.add((trial.key, trial.seed))
                yield trial

    def _in_order(self, accuracy: Accuracy) -> Iterator[Trial]:
        for claim in self.table.claims:
            yield from self.tuning(claim)
            yield from self._compared_by(self.table.seeds, claim, accuracy)
        for seed in self.table.more_seeds:
            for claim in self.table.claims:
                yield from self._compared_by((seed,), claim, accuracy)

    def _compared_by(self, seeds: Sequence[int], claim: Claim, accuracy: Accuracy) -> Iterator[Trial]:
        for seed in seeds:
            for level in claim.points:
                if (trial := self.compared(claim, level, seed, accuracy)) is not None:
                    yield trial


def read_design(table: str, model: str) -> Design:
    """The design of that name around the contest's point, for the encoder `model`.

    Raises:
        RecipeError: the table or the recipe breaks a rule.
    """
    path = TABLES[table]
    try:
        read = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: {error}") from None
    recipe = read_recipe(HERE / "contest.yaml", [f"backbone.model={model}"])
    return Design(read, recipe)
