"""A recipe as written, and what is wrong with it: each broken rule with its place, field, value and rule."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loraloom.recipe.axes import Recipe
from loraloom.recipe.fields import NOT_AXES, SECTIONS, Section

_NOT_WRITTEN = ("axes", "provenance")
"""Fields of a recipe that nobody writes."""
_OTHER_NAMES = {"lr": "learning_rate", "rank": "r"}
"""What fields are called elsewhere, where the letters would not tell."""
_WORD_OR_LIST = {
    "target_modules": "all-linear, or a list of names",
    "layers_to_transform": "top-half, or a list of numbers",
}
"""What fields take that have a word for a list: each has one of its own."""


@dataclass(slots=True)
class Source:
    """A recipe as written: nested values, and where each of them stands."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    over: set[str] = field(default_factory=set)
    """Fields by their dotted names that narrow what was written, beside those that `--set` names."""

    def place(self, path: Sequence[str]) -> str:
        """`recipe.yaml:7`, or `--set`: the place of `path`, or of the nearest part that encloses it."""
        for length in range(len(path), 0, -1):
            if place := self.places.get(tuple(path[:length])):
                return place
        return self.name

    def refuse(self, path: Sequence[str], value: Any, rule: str) -> None:
        self.problems.append(f"{self.place(path)}: {dotted(path)}: {shown(value)} {rule}")


def dotted(path: Sequence[str]) -> str:
    """`lora.r`; what a terminal would obey in a name is written as Python escapes it."""
    return ".".join(name if name.isprintable() else repr(name)[1:-1] for name in path)


def explain(source: Source, error: ValidationError, within: tuple[str, ...]) -> None:
    """One sentence for each field that broke a rule; branches of a union are one field."""
    by_field: dict[tuple[str, ...], ErrorDetails] = {}
    for detail in broken_rules(error):
        by_field[tuple(_named_path((*within, *map(str, detail["loc"]))))] = detail
    for path, detail in by_field.items():
        source.refuse(path, detail["input"], rule_of(detail, path))


def broken_rules(error: ValidationError) -> list[ErrorDetails]:
    """What pydantic found, but for a list being too short that is so without its items that broke a rule."""
    details = error.errors(include_url=False)
    return [detail for detail in details if detail["type"] != "too_short" or not detail["input"]]


def _named_path(location: tuple[str, ...]) -> Iterator[str]:
    """The part of a pydantic location that a user wrote: section and field."""
    yield location[0]
    if len(location) > 1 and location[0] in _all_sections():
        yield location[1]


def rule_of(detail: ErrorDetails, path: tuple[str, ...]) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"is not a field{nearest(path)}"
        case "greater_than_equal":
            return f"is too small; it must be {context['ge']} or more"
        case "greater_than":
            return f"is too small; it must be above {context['gt']}"
        case "less_than":
            return f"is too large; it must be below {context['lt']}"
        case "less_than_equal":
            return f"is too large; it must be {context['le']} or less"
        case "literal_error":
            alone = ", or none alone" if path == ("report_to",) else ""
            return f"is not allowed; it must be {' or '.join(_choices(path)) or context['expected']}{alone}"
        case "bool_type":
            return "is not allowed; it must be true or false"
        case "tuple_type":  # the other field's word
            return f"is not allowed; it must be {_WORD_OR_LIST[path[-1]]}"
        case "finite_number":
            return "is not a finite number"
        case "int_type" | "int_from_float" | "int_parsing":
            return f"is not a whole number{_as_yaml(detail['input'], path)}"
        case "float_type":
            return f"is not a number{_as_yaml(detail['input'], path)}"
        case "string_type":
            return "is not text; put it in quotes" if isinstance(detail["input"], int | float) else "is not text"
        case "invalid_key":  # what {max_trainable_parameters: 1,000,000} is to YAML
            return "is no field's name; a number is written without commas, as in 1000000"
        case "string_too_short" | "too_short":
            return "is empty"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "is not a section; write its fields below it, as in 'lora: {r: 4}'"
        case _:
            return f"is not allowed: {message_of(detail)}"


def _as_yaml(written: Any, path: Sequence[str]) -> str:
    """How YAML has numbers that were written otherwise, with commas say: as one, plainly, or as a list.

    The field at `path` takes a list where it may vary.
    """
    if isinstance(written, float) and written.is_integer() and abs(written) < 2**53:
        return f"; write it as {int(written)}"
    if isinstance(written, str) and re.fullmatch(r"\d+(_\d+)+", written):
        return f"; write it as {written.replace('_', '')}"
    if not isinstance(written, str) or not re.fullmatch(r"[\d., eE+-]+", written) or "," not in written:
        return ""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", written):
        return f"; write it without commas: {written.replace(',', '')}"
    varies = path[0] in SECTIONS and dotted(path) not in NOT_AXES
    return f"; several values are a list: [{written}]" if varies else "; it takes one"


def message_of(detail: ErrorDetails) -> str:
    """What pydantic says of a broken rule, without its own words before those of a validator."""
    return detail["msg"].removeprefix("Value error, ")


def reason_of(error: Exception) -> str:
    """Why a file's content is refused: the first broken rule where pydantic says so, else the error's own words."""
    return message_of(error.errors()[0]) if isinstance(error, ValidationError) else str(error)


def _choices(path: tuple[str, ...]) -> list[str]:
    annotation: Any = Recipe.model_fields[path[0]].annotation
    if len(path) > 1:
        annotation = annotation.model_fields[path[1]].annotation
    inner = get_args(annotation)
    choices = get_args(inner[0]) if get_origin(annotation) is tuple else inner
    return [str(choice).lower() for choice in choices if isinstance(choice, str | bool)]


def nearest(path: tuple[str, ...]) -> str:
    """`; did you mean lora.lora_alpha?`, or the section's fields where nothing is near."""
    sections, owners = _all_sections(), fields_called(path[-1])
    if len(path) == 1 and owners:
        return f" of the recipe itself; write {' or '.join(owners)}"
    known = sections[path[0]] if len(path) > 1 else [name for name in Recipe.model_fields if name not in _NOT_WRITTEN]
    other = [name for name in known if name == _OTHER_NAMES.get(path[-1])]
    near = other or difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join((*path[:-1], near[0]))}?"
    if owners:
        return f" of {path[0]}; it is {' or '.join(owners)}"
    if path[-1] in Recipe.model_fields and path[-1] not in _NOT_WRITTEN:
        return f" of {path[0]}; {path[-1]} is a field of the recipe itself"
    return f"; {path[0] if len(path) > 1 else 'a recipe'} has {', '.join(known)}"


def fields_called(leaf: str) -> list[str]:
    """The fields of sections that have this name, dotted."""
    return [f"{section}.{leaf}" for section, names in _all_sections().items() if leaf in names]


def _all_sections() -> dict[str, list[str]]:
    return {
        name: list(model.model_fields)
        for name, info in Recipe.model_fields.items()
        if (model := info.annotation) is not None and isinstance(model, type) and issubclass(model, Section)
    }


def shown(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    plain = list(value) if isinstance(value, tuple) else value
    text = repr(plain) if isinstance(plain, str | dict | list) else str(plain)
    return text if len(text) <= 80 else text[:77] + "..."


def kind(value: Any) -> str:
    return {list: "a list", str: "text", int: "a number", float: "a number", bool: "a truth value"}.get(
        type(value), "that"
    )
