"""The space of a recipe: its axes, and the configurations that they span.

An axis may be conditional: where its conditions on other fields do not hold it is inactive, its field takes its base
value, and a point leaves it out. Two points are then two configurations: they differ in an active axis, and which axes
are active depends on the values of fields alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from pydantic import Field

from loraloom.recipe.fields import Budget, Configuration, Search, Trackers

Point = Mapping[str, Any]
"""A value for each active axis, by the axis's dotted name: {'lora.r': 4}."""


def as_option(value: Any) -> str:
    """A value as the option `--set` takes it: `null`, `true`, `query,value`, 0.001."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def is_number(value: Any) -> bool:
    """Whether it is a number, and not true or false, which Python takes for 1 and 0."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds where the field (dotted) has one of these values."""

    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """A list: the field takes one of these values, where all of `when` holds."""

    values: tuple[Any, ...]
    when: tuple[Condition, ...] = ()

    @property
    def first(self) -> Any:
        return self.values[0]

    def as_written(self, *, otherwise: Any = None) -> list[Any] | dict[str, Any]:
        """As a recipe has it; `otherwise` is what the field takes where the axis does not vary."""
        values = [_plain(value) for value in self.values]
        return {"values": values, **_when_as_written(self.when, otherwise)} if self.when else values

    @property
    def names(self) -> tuple[str | int | float | bool | None, ...]:
        """The values as a ledger can hold them: scalars as they are, lists as JSON."""
        return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """{min, max, log}: the field takes any value between, both ends included, where all of `when` holds."""

    low: int | float
    high: int | float
    log: bool
    when: tuple[Condition, ...] = ()

    @property
    def first(self) -> int | float:
        return self.low

    def as_written(self, *, otherwise: Any = None) -> dict[str, Any]:
        """As a recipe has it; `otherwise` is what the field takes where the axis does not vary."""
        written = {"min": self.low, "max": self.high, "log": self.log}
        return {**written, **_when_as_written(self.when, otherwise)} if self.when else written


def _when_as_written(when: tuple[Condition, ...], otherwise: Any) -> dict[str, Any]:
    conditions = {condition.field: [_plain(value) for value in condition.values] for condition in when}
    return {"when": conditions, "otherwise": _plain(otherwise)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


Axis = Choices | Range


class Recipe(Configuration):
    """A whole run: a base configuration, the axes that vary it, the search, the budget and the engine."""

    search: Search = Field(default_factory=Search)
    budget: Budget = Field(default_factory=Budget)
    engine: Literal["auto", "loom", "trainer"] = Field(
        "auto",
        description="What trains a trial. loom: loraloom's own, which is quick; trainer: HF Trainer with PEFT; "
        "auto: loom where it knows the model, else trainer.",
    )
    report_to: Trackers = Field(
        (), description="Trackers that are told of the run as it goes; each needs its extra, as in loraloom[mlflow]."
    )
    provenance: dict[str, Any] = Field(
        default_factory=dict,
        description="Written by a run: versions, machine, revisions. Of it only revisions are read: "
        "what is of the hub is taken at them.",
    )
    axes: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @property
    def from_python(self) -> tuple[str, ...]:
        """The splits whose rows a program gives, which alone can give them again: a run's recipe says which."""
        told = self.provenance.get("from_python")
        given = list(told) if isinstance(told, list | tuple) else []
        if not (self.data.dataset or self.data.train_file):
            given.append("train")
        return tuple(split for split in ("train", "validation", "test") if split in given)

    def configuration(self, point: Point) -> Configuration:
        """The configuration at `point`; axes that it leaves out keep their first value, inactive ones their base."""
        sections = {name: dict(getattr(self, name)) for name in Configuration.model_fields}
        for field, value in self._filled(point).items():
            section, name = field.split(".")
            sections[section][name] = value
        return Configuration.model_validate(sections)

    def _filled(self, point: Point) -> dict[str, Any]:
        """`point` with the active axes that it leaves out, and without the inactive ones that it names."""
        filled = {name: value for name, value in point.items() if name not in self.axes}
        for name in self.ordered():
            if self.is_active(name, filled):
                filled[name] = point[name] if name in point else self.axes[name].first
        return filled

    def point(self, value: Callable[[str], Any]) -> dict[str, Any]:
        """The point whose active axes have what `value` gives for their names."""
        point: dict[str, Any] = {}
        for name in self.ordered():
            if self.is_active(name, point):
                point[name] = value(name)
        return self._as_written(point)

    def _as_written(self, point: Point) -> dict[str, Any]:
        """A point in the order of the axes."""
        return {name: point[name] for name in self.axes if name in point}

    def tells_seeds(self, configuration: Configuration) -> bool:
        """Whether a trial's seed tells it from others: there are several, or a clock had time for more."""
        return self.search.seeds > 1 or configuration.train.seed != self.train.seed

    def is_active(self, name: str, point: Point) -> bool:
        """Whether the axis `name` varies at `point`, which has the active ones of those that `name` depends on."""
        return all(
            (point[condition.field] if condition.field in point else self.base(condition.field)) in condition.values
            for condition in self.axes[name].when
        )

    def ordered(self) -> tuple[str, ...]:
        """The axes as they are written, but each after those that its conditions name."""
        order: dict[str, None] = {}

        def visit(name: str) -> None:
            for condition in self.axes[name].when:
                if condition.field in self.axes and condition.field not in order:
                    visit(condition.field)
            order[name] = None

        for name in self.axes:
            if name not in order:
                visit(name)
        return tuple(order)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point of the axes, inactive ones left out, the last axis moving fastest; no configuration comes twice.

        Raises:
            TypeError: an axis is a range, which has no grid (`read_recipe` refuses such a recipe).
        """
        for axis in self.axes.values():
            if not isinstance(axis, Choices):
                raise TypeError("a range has no grid")
        for point in self._points(self.ordered(), {}):
            yield self._as_written(point)

    def spans_more(self, most: int) -> bool:
        """Whether it has more than `most` points, as it has with a range; where no axis is conditional none is made."""
        if not all(isinstance(axis, Choices) for axis in self.axes.values()):
            return True
        product = math.prod(len(axis.values) for axis in self.axes.values())
        if product <= most or not any(axis.when for axis in self.axes.values()):
            return product > most
        return next(islice(self.grid(), most, None), None) is not None

    def _points(self, names: tuple[str, ...], point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every way to go on from `point` with the axes `names`."""
        if not names:
            yield point
        elif not self.is_active(names[0], point):
            yield from self._points(names[1:], point)
        else:
            for value in self.axes[names[0]].values:
                yield from self._points(names[1:], {**point, names[0]: value})

    def narrowed(self, names: Iterable[str], *, at_ends: Collection[str] = ()) -> Recipe:
        """The recipe with the axes `names` and those that they depend on alone, ranges as the values that tell.

        These are its ends, and those that a condition names; so are those of the lists of numbers `at_ends`.
        """
        kept = {name for name in names if name in self.axes}
        for name in reversed(self.ordered()):
            if name in kept:
                kept |= {condition.field for condition in self.axes[name].when}
        axes = {
            name: Choices(self._telling(name, at_ends=name in at_ends), axis.when)
            for name, axis in self.axes.items()
            if name in kept
        }
        return self.model_copy(update={"axes": axes})

    def _telling(self, name: str, *, at_ends: bool) -> tuple[Any, ...]:
        axis = self.axes[name]
        if isinstance(axis, Choices) and not at_ends:
            return axis.values
        named = (v for other in self.axes.values() for c in other.when if c.field == name for v in c.values)
        if isinstance(axis, Choices):
            ends = min(axis.values), max(axis.values)
            return tuple(dict.fromkeys((*ends, *(v for v in named if v in axis.values))))
        return tuple(dict.fromkeys((axis.low, axis.high, *(v for v in named if axis.low <= v <= axis.high))))

    def values(self, field: str) -> tuple[Any, ...]:
        """All values that `field` (dotted) can take: an axis's choices, a range's ends, its base where it has one."""
        axis = self.axes.get(field)
        if axis is None:
            return (self.base(field),)
        values = axis.values if isinstance(axis, Choices) else (axis.low, axis.high)
        return (*values, self.base(field)) if axis.when and self.base(field) not in values else values

    def renamed(self, field: str, name: Callable[[Any], Any]) -> Recipe:
        """The recipe with each value of `field` (dotted) under another name, in the conditions on it too."""
        section, leaf = field.split(".")
        base = getattr(self, section).model_copy(update={leaf: name(self.base(field))})
        axes: dict[str, Axis] = {}
        for other, axis in self.axes.items():
            when = tuple(replace(c, values=tuple(map(name, c.values))) if c.field == field else c for c in axis.when)
            if other == field and isinstance(axis, Choices):
                axes[other] = Choices(tuple(map(name, axis.values)), when)
            else:
                axes[other] = replace(axis, when=when)
        return self.model_copy(update={section: base, "axes": axes})
