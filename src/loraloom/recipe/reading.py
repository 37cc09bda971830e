"""Reads a recipe, refuses what breaks a rule (all of it at once, with line, field, value and rule), writes it back.

YAML is read by the 1.2 core schema (`1e-3` is a number, `off` is a word, a key stands once), without aliases or
tags. Rejected: validating the file as it stands against one model per field "or a list of it", whose errors
name union branches that no user has heard of; each value of an axis is validated as if it stood alone instead
(`axis_reading.py`).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from loraloom.errors import RecipeError, first_line, without_path
from loraloom.machine import with_home
from loraloom.recipe.axes import Axis, Range, Recipe
from loraloom.recipe.axis_reading import base_of, candidates_of, read_axis
from loraloom.recipe.conditions import check_conditions
from loraloom.recipe.fields import (
    LIST_FIELDS,
    LIST_WORDS,
    MORE_SEEDS,
    MOST_SEEDS,
    NOT_AXES,
    SECTIONS,
    SEEDS,
    TEXT_FIELDS,
)
from loraloom.recipe.problems import Source, dotted, explain, kind
from loraloom.shipped import find_recipe, near_name
from loraloom.wording import plural

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without libyaml, which is ten times as fast
    from yaml import SafeLoader  # type: ignore[assignment]

MAX_RECIPE_BYTES = 8_000_000
"""A run's provenance has each label four times: 20,000 of 60 characters come to 6 MB."""
DEEPEST = 50
"""Mappings and lists within each other; a run's recipe has some six."""
MOST_VALUES = 500_000
"""And keys: a run's recipe has seven for each class. Each takes PyYAML some 350 bytes and 5 microseconds."""
MOST_POINTS = 100_000
"""Of a grid: before the first trial each is made a configuration and counted, in a fifth of a millisecond or more."""

MOST_PROBLEMS = 50
"""Named of a recipe at once."""
_ONE_TEXT = TEXT_FIELDS & NOT_AXES - LIST_FIELDS
"""A file's name may hold a comma, and a column's."""


class _Yaml12Loader(SafeLoader):
    """PyYAML's safe loader with the implicit types of YAML 1.2's core schema, and no others."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML copies it on the first addition


class _Yaml12Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that also quotes what YAML 1.2 would not read back as text."""


class _OneLineDumper(_Yaml12Dumper):
    """Escapes line breaks, and writes lists within brackets."""


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
_Yaml12Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str",
        text.encode("utf-8", "backslashreplace").decode(),  # a path in a run's command need not be UTF-8; YAML must
        style='"' if "\x85" in text else None,  # else written as it is, which is read as a line's end
    ),
)
_OneLineDumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)
_OneLineDumper.add_representer(
    list, lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)
)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Yaml12Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower()))
)


def read_recipe(
    source: Path | str | Mapping[str, Any], overrides: Sequence[str] = (), *, over: Collection[str] = ()
) -> Recipe:
    """Reads a recipe from a YAML file, by a shipped one's name, or from a mapping, and puts `--set` overrides over it.

    `over` names the fields of a mapping that were put over others already: they narrow a search as overrides do.

    Raises:
        RecipeError: the file can't be read, or breaks rules; all broken rules are named at once.
    """
    if isinstance(overrides, str):  # a sequence of letters to Python
        raise RecipeError(f"overrides: {overrides!r} is one text; give a list of them, such as [{overrides!r}]")
    written = _from_mapping(source) if isinstance(source, Mapping) else _from_file(find_recipe(with_home(source)))
    written.over.update(over)
    for override in overrides:
        _override(written, override)
    recipe = _validate(written)
    if written.problems:
        raise RecipeError(*_told(written.problems))
    assert recipe is not None
    return recipe


def _told(problems: Iterable[str]) -> list[str]:
    """Each problem once; of a long list whose values are all wrong, the first."""
    told = list(dict.fromkeys(problems))
    more = len(told) - MOST_PROBLEMS
    return [*told[:MOST_PROBLEMS], f"and {plural(more, 'more problem')}"] if more > 0 else told


def sections_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a mapping, axes in their places; `read_recipe` of it gives an equal recipe."""
    values = recipe.model_dump(mode="json")
    for name, axis in recipe.axes.items():
        section, leaf = name.split(".")
        values[section][leaf] = axis.as_written(otherwise=values[section][leaf])
    if not values["provenance"]:
        del values["provenance"]
    return values


def dump_recipe(recipe: Recipe) -> str:
    """The same as YAML."""
    return yaml.dump(sections_of(recipe), Dumper=_Yaml12Dumper, sort_keys=False, allow_unicode=True, width=100)


def field_line(name: str, value: Any) -> str:
    """A field as one line of YAML, whatever characters its value has: `text_column: [title, body]`."""
    line: str = yaml.dump({name: value}, Dumper=_OneLineDumper, allow_unicode=True, width=math.inf)
    return line.rstrip("\n")


def _from_mapping(values: Mapping[str, Any]) -> Source:
    return Source("recipe", plain(values))


def plain(value: Any) -> Any:
    """Python's own values in the place of numpy's, of which grids are made; a Series as a mapping, a path as text."""
    if hasattr(value, "items"):  # a mapping, or a pandas Series
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _from_file(path: Path) -> Source:
    try:
        return _read_file(path)
    except RecipeError as error:
        if not path.exists() or path.suffix in (".yaml", ".yml"):
            raise
        new = shlex.join(["loraloom", "new", "mine.yaml", "--train_file", str(path)])
        raise RecipeError(f"{error}; if it holds labelled rows, write a recipe for them: {new}") from None


def _read_file(path: Path) -> Source:
    text = _text(path)
    source = Source(str(path))
    try:
        _refuse_unfit(text)
        loader = _Yaml12Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _note_places(root, (), source)
        values = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line, problem = 1, error.problem or error.context or ""
        if (mark := error.problem_mark) is not None:  # libyaml does not say which character: often a tab
            line, character = mark.line + 1, text[mark.index : mark.index + 1]
            problem = problem.replace("found character that", f"found character {character!r} that")
        raise RecipeError(f"{path}:{line}: not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not YAML: {first_line(error)}") from None
    if values is None:
        raise RecipeError(
            f"{path}: the recipe is empty; name at least its data, as in 'data: {{train_file: rows.csv}}'"
        )
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, not {kind(values)}")
    source.values = values
    return source


def _value(written: str, name: str) -> Any:
    """As YAML; a number as it is written where the field `name` holds text, since a shell takes quotes away."""
    _refuse_unfit(written)
    value = _Yaml12Loader(written).get_single_data()
    return written.strip() if name in TEXT_FIELDS and isinstance(value, int | float) else value


def _refuse_unfit(text: str) -> None:
    """Refuses what a recipe does without, and what is too much, before anything is built of it.

    Raises:
        YAMLError: it holds such a thing, or is no YAML.
    """
    depth = values = 0
    for event in yaml.parse(text, _Yaml12Loader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "a recipe has no aliases (*name); write the value out"
        elif isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            problem = "a recipe has no tags (!!name); write the value alone, a text in quotes"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST:
            problem = f"it is nested more than {DEEPEST} deep"
        if values > MOST_VALUES:
            problem = f"it holds more than {MOST_VALUES:,} values"
        if problem is not None:
            mark = cast(yaml.Mark, event.start_mark)  # or libyaml's, which is alike
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _text(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; a recipe is a YAML file")
    try:
        if (size := path.stat().st_size) > MAX_RECIPE_BYTES:
            raise RecipeError(f"{path}: {size:,} bytes is too large; at most {MAX_RECIPE_BYTES:,} are read")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        meant = near_name(str(path))
        ways = "those that come with loraloom: loraloom recipes; to write one: loraloom new"
        raise RecipeError(f"{path}: no such recipe{meant}; {ways}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: can't be read: {without_path(error)}") from None


def _note_places(node: yaml.Node, path: tuple[str, ...], source: Source) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        place = f"{source.name}:{key.start_mark.line + 1}"
        if here in source.places and key.tag != "tag:yaml.org,2002:int":  # which is refused as a name
            source.problems.append(f"{place}: {dotted(here)}: stands twice; a field stands once")
        source.places[here] = place
        _note_places(value, here, source)


def _override(source: Source, text: str) -> None:
    name, equals, written = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not written.strip() or not all(path):  # no value is no limit: a variable that is not set
        source.problems.append(f"--set {text}: write it as section.field=value, as in --set lora.r=4")
        return
    try:
        value = _scalar_or_yaml(written, ".".join(path))
    except (yaml.YAMLError, ValueError, RecursionError):
        source.problems.append(f"--set {text}: {written!r} is not a value; write it as YAML, as in 1000, 0.5 or [2, 4]")
        return
    target = source.values
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[path[-1]] = value
    for place in [place for place in source.places if place[: len(path)] == path]:
        del source.places[place]
    source.places[path] = "--set"


def _scalar_or_yaml(written: str, name: str) -> Any:
    """`2,4,8` is a list, and a name alone is one for a field that is a list; all else is YAML, but for its comments."""
    bare = not set(written) & set("[]{}\"'")
    if bare and re.search(r"(^|\s)#", written):  # a name, of which a comment would leave another
        return [written.strip()] if name in LIST_FIELDS else written.strip()
    one = name in _ONE_TEXT or name.partition(".")[0] in ("search", "budget")  # such fields hold one value
    if bare and "," in written and not one:
        parts = [part.strip() for part in written.split(",")]
        if not all(parts):
            raise yaml.YAMLError("a value is missing beside a comma")
        if name not in LIST_FIELDS and any(re.fullmatch(r"0\d+", part) for part in parts):
            raise yaml.YAMLError("1,000 or 0,001, meant as one number")
        return [_value(part, name) for part in parts]
    value = _value(written, name)
    return [value] if bare and name in LIST_FIELDS and value is not None and value not in LIST_WORDS else value


def _validate(source: Source) -> Recipe | None:
    base: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    for key, value in source.values.items():
        if key in SECTIONS and isinstance(value, dict):
            base[key] = _section(source, key, value, axes)
        elif value is not None or key not in Recipe.model_fields:  # what is left empty has its default
            base[key] = value
    before = len(source.problems)
    recipe = None
    try:
        recipe = Recipe.model_validate(base)
    except ValidationError as error:
        explain(source, error, ())
    if "axes" in source.values:
        source.refuse(("axes",), source.values["axes"], "is not a field; write a list or a range in the field itself")
    if recipe is None or len(source.problems) > before:
        return None
    recipe = recipe.model_copy(update={"axes": axes})
    if not source.problems:  # an axis that was refused is not there to be conditioned on
        recipe = check_conditions(source, recipe)
    _check_together(source, recipe)
    return recipe


def _section(source: Source, section: str, values: dict[str, Any], axes: dict[str, Axis]) -> dict[str, Any]:
    """The section with the base value of each axis in its place; its axes go into `axes`."""
    single: dict[str, Any] = {}
    for leaf, value in values.items():
        name = f"{section}.{leaf}"
        if candidates_of(name, value) is None or leaf not in SECTIONS[section].model_fields:
            single[leaf] = value
        elif name in NOT_AXES:
            instead = "; search.seeds has each configuration trained with several" if name == "train.seed" else ""
            source.refuse((section, leaf), value, f"can't vary within a search; give one value{instead}")
        elif (axis := read_axis(source, section, leaf, value)) is not None:
            single[leaf] = base_of(section, leaf, value)
            axes[name] = axis
    return single


def _check_together(source: Source, recipe: Recipe) -> None:
    """Rules between fields."""
    data = recipe.data
    if data.dataset and data.train_file:
        source.refuse(("data", "train_file"), data.train_file, "stands beside data.dataset; name one of the two")
    for leaf in ("validation_file", "test_file"):
        if getattr(data, leaf) and not (data.train_file or data.dataset):
            source.refuse(("data", leaf), getattr(data, leaf), "needs data.train_file or data.dataset beside it")
    texts = data.text_column or ()
    if len(set(texts)) < len(texts) and not recipe.provenance:  # a run of an older version reads it twice
        source.refuse(("data", "text_column"), list(texts), "names a column twice; name each once")
    if recipe.search.seeds > MOST_SEEDS and not recipe.provenance:
        why = f"is too large; it must be {MOST_SEEDS} or less"
        source.refuse(("search", "seeds"), recipe.search.seeds, why)
    seeds = max(recipe.search.seeds, MORE_SEEDS)
    if recipe.train.seed + seeds > SEEDS:
        why = f"is too large: each configuration may be trained with {seeds} seeds, counted from it"
        source.refuse(("train", "seed"), recipe.train.seed, why)
    passes = ("train", "num_train_epochs")
    written = "num_train_epochs" in recipe.train.model_fields_set  # --set may have given the section, or a part of it
    over = (written and source.place(passes) == "--set") or dotted(passes) in source.over
    if over and recipe.search.epochs == "clock" and dotted(passes) not in recipe.axes:
        why = "would not be heeded: search.epochs is clock, by which time says how many; give search.epochs: recipe too"
        source.refuse(passes, recipe.train.num_train_epochs, why)
    if not source.problems and _names_two_types(recipe):
        source.refuse(("train", "fp16"), True, "stands beside train.bf16: true; a trial is computed in one of the two")
    if recipe.search.sampler == "grid":
        _check_grid(source, recipe)


def _names_two_types(recipe: Recipe) -> bool:
    """Whether a trial would be told bf16 and fp16, of which engines would each heed another."""
    types = recipe.narrowed(("train.bf16", "train.fp16"))
    return any(one.train.bf16 is one.train.fp16 is True for one in map(types.configuration, types.grid()))


def _check_grid(source: Source, recipe: Recipe) -> None:
    """What can't be gone through point by point; of a run that was begun its recipe has provenance, and was."""
    ranges = [name for name, axis in recipe.axes.items() if isinstance(axis, Range)]
    if ranges:
        why = f"has no points on a range ({', '.join(ranges)}); use random, tpe or auto, or list values"
        source.refuse(("search", "sampler"), "grid", why)
    elif not source.problems and not recipe.provenance and recipe.spans_more(MOST_POINTS):
        why = f"spans more than {MOST_POINTS:,} points, each of which is looked at; use random, tpe or auto"
        source.refuse(("search", "sampler"), "grid", why)
