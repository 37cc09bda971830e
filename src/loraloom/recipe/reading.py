"""Reads a recipe, refuses what breaks a rule (all of it at once, with line, field, value and rule), writes it back.

YAML is read by the 1.2 core schema (`1e-3` is a number, `off` is a word, a key stands once), without aliases or
tags. Rejected: validating the file as it stands against one model per field "or a list of it", whose errors
name union branches that no user has heard of; each value of an axis is validated as if it stood alone instead.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from loraloom.errors import RecipeError
from loraloom.recipe.axes import Axis, Choices, Range, Recipe
from loraloom.recipe.fields import Backbone, Data, Head, Lora, Section, Train

MAX_RECIPE_BYTES = 1_000_000
SECTIONS: dict[str, type[Section]] = {
    "data": Data,
    "backbone": Backbone,
    "lora": Lora,
    "head": Head,
    "train": Train,
}
NOT_AXES = {f"data.{name}" for name in Data.model_fields if name != "max_length"} | {"backbone.revision"}
LIST_FIELDS = {"data.text_column", "lora.target_modules", "lora.layers_to_transform"}
RANGE_KEYS = {"min", "max", "log"}


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the implicit types of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML copies it on the first addition


class _Yaml12Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that also quotes what YAML 1.2 would not read back as text."""


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    for _side in (_Yaml12Loader, _Yaml12Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Yaml12Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower()))
)


@dataclass(slots=True)
class _Source:
    """A recipe as written: nested values, and where each of them stands."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, path: Sequence[str]) -> str:
        """`recipe.yaml:7`, or `--set`: the place of `path`, or of the nearest part that encloses it."""
        for length in range(len(path), 0, -1):
            if place := self.places.get(tuple(path[:length])):
                return place
        return self.name

    def refuse(self, path: Sequence[str], value: Any, rule: str) -> None:
        self.problems.append(f"{self.place(path)}: {'.'.join(path)}: {_shown(value)} {rule}")


def read_recipe(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file or a mapping, with `--set` overrides (`lora.r=2,4,8`) put over it.

    Raises:
        RecipeError: the file can't be read, or breaks rules; all broken rules are named at once.
    """
    written = _from_mapping(source) if isinstance(source, Mapping) else _from_file(Path(source))
    for override in overrides:
        _override(written, override)
    recipe = _validate(written)
    if written.problems:
        raise RecipeError(*written.problems)
    assert recipe is not None
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, axes in their places; `read_recipe` of it gives an equal recipe."""
    values = recipe.model_dump(mode="json")
    for name, axis in recipe.axes.items():
        section, leaf = name.split(".")
        values[section][leaf] = axis.as_written()
    if not values["provenance"]:
        del values["provenance"]
    return yaml.dump(values, Dumper=_Yaml12Dumper, sort_keys=False, allow_unicode=True, width=100)


# -- reading -----------------------------------------------------------------------------------------------------


def _from_mapping(values: Mapping[str, Any]) -> _Source:
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

    return _Source("recipe", plain(values))


def _from_file(path: Path) -> _Source:
    text = _text(path)
    source = _Source(str(path))
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise RecipeError(f"{path}: a recipe has no aliases (*name); write the value out")
        loader = _Yaml12Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _note_places(root, (), source)
        values = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        raise RecipeError(
            f"{path}: the recipe is empty; name at least its data, as in 'data: {{train_file: rows.csv}}'"
        )
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, not {_kind(values)}")
    source.values = values
    return source


def _text(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; a recipe is a YAML file")
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise RecipeError(f"{path}: {path.stat().st_size:,} bytes is too large; a recipe has under a megabyte")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def _note_places(node: yaml.Node, path: tuple[str, ...], source: _Source) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        place = f"{source.name}:{key.start_mark.line + 1}"
        if here in source.places:
            source.problems.append(f"{place}: {'.'.join(here)}: stands twice; a field stands once")
        source.places[here] = place
        _note_places(value, here, source)


def _override(source: _Source, text: str) -> None:
    name, equals, written = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        source.problems.append(f"--set {text}: write it as section.field=value, as in --set lora.r=2,4,8")
        return
    try:
        value = _scalar_or_yaml(written, ".".join(path))
    except yaml.YAMLError:
        source.problems.append(f"--set {text}: {written!r} is not a value; write it as YAML, as in 4 or [2, 4]")
        return
    target = source.values
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[path[-1]] = value
    source.places[path] = "--set"


def _scalar_or_yaml(written: str, name: str) -> Any:
    """`2,4,8` is a list; all else is YAML."""
    bare = not set(written) & set("[]{}\"'")
    if bare and ("," in written or (name in LIST_FIELDS and written.strip() not in ("all-linear", "null"))):
        return [_Yaml12Loader(part.strip()).get_single_data() for part in written.split(",")]
    return _Yaml12Loader(written).get_single_data()


# -- validating --------------------------------------------------------------------------------------------------


def _validate(source: _Source) -> Recipe | None:
    base: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    for key, value in source.values.items():
        if key in SECTIONS and isinstance(value, dict):
            base[key] = _section(source, key, value, axes)
        else:
            base[key] = {} if value is None and key in Recipe.model_fields else value
    base.pop("axes", None) if "axes" not in source.values else None
    before = len(source.problems)
    recipe = None
    try:
        recipe = Recipe.model_validate(base)
    except ValidationError as error:
        _explain(source, error, ())
    if "axes" in source.values:
        source.refuse(("axes",), source.values["axes"], "is not a field; write a list or a range in the field itself")
    if recipe is None or len(source.problems) > before:
        return None
    recipe = recipe.model_copy(update={"axes": axes})
    _check_together(source, recipe)
    return recipe


def _section(source: _Source, section: str, values: dict[str, Any], axes: dict[str, Axis]) -> dict[str, Any]:
    """The section with the first value of each axis in its place; its axes go into `axes`."""
    single: dict[str, Any] = {}
    for leaf, value in values.items():
        name = f"{section}.{leaf}"
        candidates = _candidates(name, value)
        if candidates is None or leaf not in SECTIONS[section].model_fields:
            single[leaf] = value
        elif name in NOT_AXES:
            source.refuse((section, leaf), value, "can't vary within a search; give one value")
        elif (axis := _axis(source, section, leaf, value, candidates)) is not None:
            single[leaf] = candidates[0]
            axes[name] = axis
    return single


def _candidates(name: str, value: Any) -> list[Any] | None:
    """The values of an axis as written, or None where `value` is one value."""
    if isinstance(value, dict):
        return [value.get("min"), value.get("max")]
    if not isinstance(value, list):
        return None
    if name in LIST_FIELDS:
        is_axis = not value or any(isinstance(item, list) or item in ("all-linear", None) for item in value)
        return value if is_axis and value else None
    return value


def _axis(source: _Source, section: str, leaf: str, value: Any, candidates: list[Any]) -> Axis | None:
    path = (section, leaf)
    before = len(source.problems)
    if isinstance(value, dict):
        for key in value.keys() - RANGE_KEYS:
            source.refuse(path, value, f"is not a range: {key!r} is not one of min, max, log")
        if {"min", "max"} - value.keys():
            source.refuse(path, value, "is not a range; a range is {min: 1, max: 16, log: true}")
        if not isinstance(value.get("log", False), bool):
            source.refuse(path, value, "is not a range; log is true or false")
    elif not candidates:
        source.refuse(path, value, "is an empty axis; list at least one value")
    if len(source.problems) > before:
        return None
    checked = [_value(source, section, leaf, candidate) for candidate in candidates]
    if len(source.problems) > before:
        return None
    if isinstance(value, dict):
        return _range(source, path, value, *checked)
    if len(set(map(repr, checked))) < len(checked):
        source.refuse(path, value, "holds a value twice; list each once")
        return None
    return Choices(tuple(checked))


def _range(source: _Source, path: tuple[str, str], value: dict[str, Any], low: Any, high: Any) -> Range | None:
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float):
            source.refuse(path, value, "is a range of a field that takes no numbers; list its values")
            return None
    if not low < high:
        source.refuse(path, value, f"has min {low} not below max {high}; min must be below max")
        return None
    log = value.get("log", False)
    if log and low <= 0:
        source.refuse(path, value, "is logarithmic from 0 or below; min must be above 0")
        return None
    return Range(low, high, log)


def _value(source: _Source, section: str, leaf: str, value: Any) -> Any:
    """`value` as the field's model has it; a broken rule is noted."""
    try:
        return getattr(SECTIONS[section].model_validate({leaf: value}), leaf)
    except ValidationError as error:
        _explain(source, error, (section,))
        return None


def _check_together(source: _Source, recipe: Recipe) -> None:
    """Rules between fields."""
    data = recipe.data
    if data.dataset and data.train_file:
        source.refuse(("data", "train_file"), data.train_file, "stands beside data.dataset; name one of the two")
    for leaf in ("validation_file", "test_file"):
        if getattr(data, leaf) and not data.train_file:
            source.refuse(("data", leaf), getattr(data, leaf), "needs data.train_file beside it")
    ranges = [name for name, axis in recipe.axes.items() if isinstance(axis, Range)]
    if recipe.search.sampler == "grid" and ranges:
        source.refuse(
            ("search", "sampler"),
            "grid",
            f"has no points on a range ({', '.join(ranges)}); use random or tpe, or list values",
        )


# -- saying it ---------------------------------------------------------------------------------------------------


def _explain(source: _Source, error: ValidationError, within: tuple[str, ...]) -> None:
    """One sentence for each field that broke a rule; branches of a union are one field."""
    by_field: dict[tuple[str, ...], ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        by_field[tuple(_named_path((*within, *map(str, detail["loc"]))))] = detail
    for path, detail in by_field.items():
        source.refuse(path, detail["input"], _rule(detail, path))


def _named_path(location: tuple[str, ...]) -> Iterator[str]:
    """The part of a pydantic location that a user wrote: section and field."""
    yield location[0]
    if len(location) > 1 and location[0] in _all_sections():
        yield location[1]


def _rule(detail: ErrorDetails, path: tuple[str, ...]) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return f"is not a field{_nearest(path)}"
        case "greater_than_equal":
            return f"is too small; it must be {context['ge']} or more"
        case "greater_than":
            return f"is too small; it must be above {context['gt']}"
        case "less_than":
            return f"is too large; it must be below {context['lt']}"
        case "less_than_equal":
            return f"is too large; it must be {context['le']} or less"
        case "literal_error":
            return f"is not allowed; it must be {' or '.join(_choices(path)) or context['expected']}"
        case "finite_number":
            return "is not a finite number"
        case "int_type" | "int_from_float" | "int_parsing":
            return "is not a whole number"
        case "float_type":
            return "is not a number"
        case "string_type":
            return "is not text"
        case "string_too_short" | "too_short":
            return "is empty"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "is not a section; write its fields below it, as in 'lora: {r: 4}'"
        case _:
            return f"is not allowed: {detail['msg']}"


def _choices(path: tuple[str, ...]) -> list[str]:
    model = SECTIONS.get(path[0]) or Recipe.model_fields[path[0]].annotation
    fields = getattr(model, "model_fields", {})
    annotation = fields[path[1]].annotation if len(path) > 1 else Recipe.model_fields[path[0]].annotation
    inner = get_args(annotation)
    choices = get_args(inner[0]) if get_origin(annotation) is tuple else inner
    return [str(choice).lower() for choice in choices if isinstance(choice, str | bool)]


def _nearest(path: tuple[str, ...]) -> str:
    """`; did you mean lora.lora_alpha?`, or the section's fields where nothing is near."""
    if len(path) == 1:
        known = [name for name in Recipe.model_fields if name not in ("axes", "provenance")]
        owners = [f"{section}.{path[0]}" for section in _all_sections() if path[0] in _all_sections()[section]]
        if owners:
            return f" of the recipe itself; write {' or '.join(owners)}"
    else:
        known = _all_sections()[path[0]]
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join((*path[:-1], near[0]))}?"
    owners = [f"{section}.{path[-1]}" for section, names in _all_sections().items() if path[-1] in names]
    if owners:
        return f" of {path[0]}; it is {' or '.join(owners)}"
    return f"; {path[0] if len(path) > 1 else 'a recipe'} has {', '.join(known)}"


def _all_sections() -> dict[str, list[str]]:
    return {
        name: list(model.model_fields)
        for name, info in Recipe.model_fields.items()
        if (model := info.annotation) is not None and isinstance(model, type) and issubclass(model, Section)
    }


def _shown(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    plain = list(value) if isinstance(value, tuple) else value
    text = repr(plain) if isinstance(plain, str | dict | list) else str(plain)
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: Any) -> str:
    return {list: "a list", str: "text", int: "a number", float: "a number", bool: "a truth value"}.get(
        type(value), "that"
    )
