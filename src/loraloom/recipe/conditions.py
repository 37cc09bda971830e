"""Where an axis varies: reads `when: {train.optim: [adamw, muon]}`, and refuses what could never hold.

An override narrows a search: the values that it takes from a field are taken from the conditions on it too, and an
axis that can no longer vary keeps its base value. So `--set train.optim=adam` needs no second `--set`, and a run's
recipe, with the overrides written into it, is read again as it was.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from loraloom.recipe.axes import Choices, Condition, Range, Recipe
from loraloom.recipe.fields import SECTIONS, holds_values
from loraloom.recipe.problems import Source, broken_rules, dotted, nearest, rule_of, shown

MOST_SHOWN = 10
"""Of the values that a field takes."""


def read_when(source: Source, path: tuple[str, str], written: Any) -> tuple[Condition, ...]:
    """The conditions of the axis at `path`; broken rules are noted."""
    if not isinstance(written, dict) or not written:
        rule = "is not a condition; it is a mapping of fields to values, as in when: {train.optim: adamw}"
        source.refuse((*path, "when"), written, rule)
        return ()
    return tuple(_condition(source, path, str(name), value) for name, value in written.items())


def _condition(source: Source, path: tuple[str, str], name: str, written: Any) -> Condition:
    section, _, leaf = name.partition(".")
    if section not in SECTIONS or not leaf:
        rule = f"is not a field of a trial; write section.field, its section one of {', '.join(SECTIONS)}"
        _refuse(source, path, name, written, rule)
    elif leaf not in SECTIONS[section].model_fields:
        _refuse(source, path, name, written, f"is not a field{nearest((section, leaf))}")
    else:
        listed = _listed(name, written)
        if not listed:
            _refuse(source, path, name, written, "names no value; name at least one")
        values = dict.fromkeys(_checked(source, path, name, value) for value in listed)
        return Condition(name, tuple(values))
    return Condition(name, ())


def _listed(name: str, written: Any) -> list[Any]:
    """The values of a condition: a list holds several, but where one value of the field may be a list itself."""
    several = isinstance(written, list) and (not written or holds_values(name, written))
    return written if several else [written]


def _checked(source: Source, path: tuple[str, str], name: str, value: Any) -> Any:
    section, leaf = name.split(".")
    try:
        return getattr(SECTIONS[section].model_validate({leaf: value}), leaf)
    except ValidationError as error:
        _refuse(source, path, name, value, rule_of(broken_rules(error)[-1], (section, leaf)))
        return None


def check_conditions(source: Source, recipe: Recipe) -> Recipe:
    """The recipe with its conditions checked against each other, and narrowed as its overrides ask."""
    graph = {name: [c.field for c in axis.when if c.field in recipe.axes] for name, axis in recipe.axes.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        first, *_ = cycle = list(reversed(error.args[1]))
        section, leaf = first.split(".")
        place = source.place((section, leaf, "when"))
        source.problems.append(f"{place}: {first}: when it varies depends on itself: {' → '.join(cycle)}")
        return recipe
    named = {condition.field for axis in recipe.axes.values() for condition in axis.when}
    over = {name for name in named if name in source.over or source.place(name.split(".")) == "--set"}
    recipe = without_impossible(recipe, over)
    for name, axis in recipe.axes.items():
        section, leaf = name.split(".")
        for condition in axis.when:
            for value in condition.values:
                if not _can_take(recipe, condition.field, value):
                    rule = f"is never taken; {_taken(recipe, condition.field)}"
                    _refuse(source, (section, leaf), condition.field, value, rule)
    return recipe


def without_impossible(recipe: Recipe, fields: Collection[str]) -> Recipe:
    """The recipe without what it can't take: in the conditions on `fields`, values that these never have.

    An axis with a condition that is left without a value is dropped, and so what depends on it is narrowed in turn.
    """
    narrowed, axes = set(fields), dict(recipe.axes)
    for name in recipe.ordered():
        recipe = recipe.model_copy(update={"axes": axes})
        when = tuple(
            replace(c, values=tuple(value for value in c.values if _can_take(recipe, c.field, value)))
            if c.field in narrowed
            else c
            for c in axes[name].when
        )
        if all(condition.values for condition in when):
            axes[name] = replace(axes[name], when=when)
        else:
            del axes[name]
            narrowed.add(name)
    return recipe.model_copy(update={"axes": axes})


def _can_take(recipe: Recipe, field: str, value: Any) -> bool:
    match recipe.axes.get(field):
        case Range(int(low), int(high), when=when):
            whole = isinstance(value, int) and low <= value <= high
            return whole or (bool(when) and value == recipe.base(field))
        case Range(when=when):  # which meets a value by chance alone
            return bool(when) and value == recipe.base(field)
        case _:
            return value in recipe.values(field)


def _taken(recipe: Recipe, field: str) -> str:
    match recipe.axes.get(field):
        case Range(int(low), int(high)):
            return f"{field} is a whole number between {low} and {high}"
        case Range(low, high):
            return f"{field} is any number between {low} and {high}, which meets one by chance alone; list its values"
        case Choices():
            values = recipe.values(field)
            more = len(values) - MOST_SHOWN
            others = [f"one of {more:,} others"] if more > 0 else []
            return f"{field} takes {' or '.join([*map(shown, values[:MOST_SHOWN]), *others])}"
        case _:
            return f"{field} is {shown(recipe.base(field))}"


def _refuse(source: Source, path: tuple[str, str], name: str, value: Any, rule: str) -> None:
    """Notes a broken rule of the condition on `name`, at its own line."""
    place = source.place((*path, "when", name))
    source.problems.append(f"{place}: {dotted(path)}: when {dotted((name,))}: {shown(value)} {rule}")
