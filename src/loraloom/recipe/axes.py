"""The space of a recipe: its axes, and the configurations that they span."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from loraloom.recipe.fields import Budget, Configuration, Search, Trackers

Point = Mapping[str, Any]
"""A value for each axis, by the axis's dotted name: {'lora.r': 4}."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A list: the field takes one of these values."""

    values: tuple[Any, ...]

    def as_written(self) -> list[Any]:
        return [list(value) if isinstance(value, tuple) else value for value in self.values]

    @property
    def names(self) -> tuple[str | int | float | bool | None, ...]:
        """The values as a ledger can hold them: scalars as they are, lists as JSON."""
        return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """{min, max, log}: the field takes any value between, both ends included."""

    low: int | float
    high: int | float
    log: bool

    def as_written(self) -> dict[str, Any]:
        return {"min": self.low, "max": self.high, "log": self.log}


Axis = Choices | Range


class Recipe(Configuration):
    """A whole run: a base configuration, the axes that vary it, the search, the budget and the engine."""

    search: Search = Field(default_factory=Search)
    budget: Budget = Field(default_factory=Budget)
    engine: Literal["auto", "loom", "trainer"] = Field("auto", description="What trains a trial.")
    report_to: Trackers = Field(
        (), description="Trackers that are told of the run as it goes; each needs its extra, as in loraloom[mlflow]."
    )
    provenance: dict[str, Any] = Field(
        default_factory=dict, description="Written by a run: versions, machine, revisions. Not read."
    )
    axes: dict[str, Any] = Field(default_factory=dict, exclude=True)

    def configuration(self, point: Point) -> Configuration:
        """The configuration at `point`; axes that it leaves out keep their first value."""
        sections = {name: dict(getattr(self, name)) for name in Configuration.model_fields}
        for field, value in point.items():
            section, name = field.split(".")
            sections[section][name] = value
        return Configuration.model_validate(sections)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point of the axes, the last axis moving fastest.

        Raises:
            TypeError: an axis is a range, which has no grid (`read_recipe` refuses such a recipe).
        """
        for axis in self.axes.values():
            if not isinstance(axis, Choices):
                raise TypeError("a range has no grid")
        for values in itertools.product(*(axis.values for axis in self.axes.values())):
            yield dict(zip(self.axes, values, strict=True))

    def values(self, field: str) -> tuple[Any, ...]:
        """All values that `field` (dotted) can take: an axis's choices, a range's ends, or its one value."""
        match self.axes.get(field):
            case Choices(values):
                return values
            case Range(low, high):
                return (low, high)
            case _:
                section, name = field.split(".")
                return (getattr(getattr(self, section), name),)
